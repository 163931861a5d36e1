"""What cannot be chosen is refused at once, by errors of the one family, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catnip2bids
from catnip2bids import Cluster, Format, Kind, Settings
from catnip2bids.enums import check_resources, parse_choice, parse_voxel_size, voxel_size_unit_warning
from catnip2bids.errors import UsageError
from catnip2bids.reporting import report
from demo_cohort import demo_cohort, demo_dataset
from in_process import called

__all__ = ["demo_cohort", "demo_dataset"]

SIZE = (3.7, 3.7, 5.0)
WRONG_WORK: list[dict[str, Any]] = [
    {"jobs": 0},
    {"jobs": -1},
    {"jobs": 1.5},
    {"jobs": True},
    {"memory_bytes": 0},
    {"memory_bytes": "2GiB"},
    {"cluster": "slurm"},
    {"cluster": Cluster("local")},
]


@pytest.mark.parametrize(
    ("size", "asked"),
    [
        ((0.0037, 0.0037, 0.005), "millimetres? Then give 3.7 3.7 5"),
        ((3700.0, 3700.0, 5000.0), "nanometres? Then give 3.7 3.7 5"),
        ((0.2, 0.2, 0.05), None),
        ((3.7, 3.7, 1000.0), None),
    ],
)
def test_a_voxel_size_in_another_unit_is_asked_about(size: tuple[float, float, float], asked: str | None) -> None:
    doubt = voxel_size_unit_warning(size)
    assert doubt is asked is None or (doubt and asked and doubt.endswith(asked))


def test_text_is_taken_for_choices() -> None:
    settings = Settings(image_format="ome-tiff", compression="deflate", naming="dseg")  # type: ignore[arg-type]
    assert settings.image_format is Format.OME_TIFF
    assert parse_choice(Kind, "labels") is Kind.LABELS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"image_format": "OME-ZARR"}, "'OME-ZARR' is not a valid choice; choose one of ome-zarr, ome-tiff"),
        ({"naming": "nonsense"}, "choose one of bids, dseg"),
        ({"ome_zarr_version": "0.6"}, "choose one of 0.5, 0.4"),
        ({"compression": "zstd"}, "choose one of keep, deflate, none"),
        ({"compression": "deflate"}, "--compression is for --format ome-tiff; leave it out"),
        ({"image_format": "ome-tiff", "ome_zarr_version": "0.4"}, "--ome-zarr-version is for --format ome-zarr"),
        ({"image_format": "ome-tiff", "embed_labels": True}, "--embed-labels"),
        ({"voxel_size_um": (3.7, 3.7)}, "the voxel size"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings(**wrong)


@pytest.mark.parametrize(
    "size", [(3.7, 3.7), (1, 2, 3, 4), (), 5.0, None, "3.7", (1, 1, 0), (1, 1, float("nan")), ("a",) * 3]
)
def test_a_voxel_size_is_three_numbers_above_0(size: Any) -> None:
    with pytest.raises(UsageError, match="give X Y Z in micrometers, all above 0"):
        parse_voxel_size(size)


def test_numbers_of_numpy_are_numbers() -> None:
    assert parse_voxel_size(np.array(SIZE)) == SIZE
    assert parse_voxel_size([np.float32(0.5), np.float64(3.7), np.int64(5)]) == (0.5, 3.7, 5)  # type: ignore[list-item]
    assert json.dumps(Settings(voxel_size_um=np.array(SIZE)).voxel_size_um) == "[3.7, 3.7, 5.0]"  # type: ignore[arg-type]
    check_resources(np.int64(2), np.int64(2**30))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", WRONG_WORK)
def test_work_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is not possible; give"):
        check_resources(**({"jobs": None} | wrong))
    with pytest.raises(UsageError, match="is not possible; give"):
        Settings(**wrong)


@pytest.mark.parametrize("wrong", WRONG_WORK)
@pytest.mark.parametrize("name", ["convert", "compare", "verify", "restore", "report"])
def test_every_function_refuses_it_and_writes_nothing(
    demo_cohort: Path, demo_dataset: Path, tmp_path: Path, name: str, wrong: dict[str, Any]
) -> None:
    slices = next(demo_cohort.glob("*/*/640_N4"))
    calls: dict[str, Callable[..., object]] = {
        "convert": lambda **work: catnip2bids.convert(slices, tmp_path / "a.ome.zarr", SIZE, **work),
        "compare": lambda **work: catnip2bids.compare(slices, slices, **work),
        "verify": lambda **work: catnip2bids.verify(demo_dataset, **work),
        "restore": lambda **work: catnip2bids.restore(demo_dataset, tmp_path / "restored", **work),
        "report": lambda **work: report(demo_dataset, **work),
    }
    taken = {"restore": ("jobs", "memory_bytes"), "report": ("jobs",)}.get(name)
    if taken is not None and not set(wrong) <= set(taken):
        pytest.skip("this function does not take it")
    with pytest.raises(UsageError, match="is not possible; give"):
        calls[name](**wrong)
    assert not list(tmp_path.iterdir())


def test_a_kind_that_there_is_not_is_refused_before_the_source_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'volume' is not a valid choice; choose one of image, labels, mask"):
        catnip2bids.convert(tmp_path / "nowhere", tmp_path / "a.ome.zarr", SIZE, "volume")


def test_no_source_at_all_is_refused(tmp_path: Path) -> None:
    for call in (lambda: catnip2bids.scan([]), lambda: catnip2bids.package([], tmp_path / "dataset")):
        with pytest.raises(UsageError, match="no source folder is given"):
            call()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--compression", "deflate"], "--compression is for --format ome-tiff"),
        (["--dry-run", "--workers", "3"], "give --cluster too"),
        (["--memory", "0"], "is not a valid size"),
    ],
)
def test_the_command_refuses_it(demo_cohort: Path, tmp_path: Path, options: list[str], said: str) -> None:
    done = called("package", demo_cohort, "-o", tmp_path / "dataset", "--voxel-size", *map(str, SIZE), *options)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (2, True)
    assert not (tmp_path / "dataset").exists()


def test_only_what_applies_is_published() -> None:
    tiff, zarr = Settings(image_format=Format.OME_TIFF, pyramid=True).published(), Settings(pyramid=True).published()
    assert (tiff["pyramid"], tiff["compression"]) == (True, "keep")
    assert zarr["ome_zarr_version"] == "0.5"
    assert not {"ome_zarr_version", "embed_labels"} & set(tiff)
    assert not {"pyramid", "compression"} & set(zarr)
