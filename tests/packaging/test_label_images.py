"""Label images of a dataset: which types of labels and masks become some, and what becomes of those that cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catnip2bids
from catnip2bids import build_image
from catnip2bids.enums import OmeZarrVersion
from catnip2bids.ome import Display, OmeZarrImage, choose_display, image_metadata
from catnip2bids.packaging import PackageResult
from catnip2bids.validation.ome_zarr import check_ome_zarr
from catnip2bids.validation.tree import read_tree
from in_process import no_dandi, no_plots
from runs import (
    CHECKSUMS,
    PROVENANCE,
    TODAY_PREFIX,
    change_slices,
    files_of,
    level,
    mentions,
    ome,
    read_json,
    read_tsv,
    settings,
    source_planes,
    write_l2,
)

__all__ = ["no_dandi", "no_plots"]

RAW = f"sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr"
ATLAS, MASK, CELLS = (
    f"derivatives/catnip/sub-46001wt/micr/{TODAY_PREFIX}_space-orig_desc-{desc}_SPIM.ome.zarr"
    for desc in ("atlas", "hemispheremask", "FRSTseg10000")
)


VERSIONS = [OmeZarrVersion.V05, pytest.param(OmeZarrVersion.V04, marks=pytest.mark.slow)]


@dataclass(frozen=True)
class Packaged:
    """A run with embedded labels, some of which are of types that OME-Zarr does not allow."""

    run: Path
    dataset: Path
    result: PackageResult


def write_run(source: Path) -> Path:
    """Write a run without the masked labels, which are those of the atlas again."""
    run = write_l2(source)
    shutil.rmtree(run / "atlaslabel_def_origspace_masked")
    return run


@pytest.fixture(scope="module", params=VERSIONS)
def packaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Labels as CATNIP's first atlases hold them, and a mask of bits as MATLAB writes logical values."""
    folder = tmp_path_factory.mktemp("types")
    run = write_run(folder / "source")
    change_slices(run / "atlaslabel_def_origspace", lambda plane: plane.astype("float32"))
    change_slices(run / "hemispheremask_origspace", lambda plane: plane > 0)
    choices = settings(embed_labels=True, ome_zarr_version=request.param)
    return Packaged(run, folder / "out", catnip2bids.package([folder / "source"], folder / "out", choices))


def test_only_integers_become_label_images(packaged: Packaged) -> None:
    assert packaged.result.ok
    sections = {image: {"omero", "image-label"} & set(ome(packaged.dataset / image)) for image in (ATLAS, MASK, CELLS)}
    assert sections == {ATLAS: {"omero"}, MASK: {"omero"}, CELLS: {"image-label"}}
    for image, source in ((ATLAS, "atlaslabel_def_origspace"), (MASK, "hemispheremask_origspace")):
        expected = source_planes(packaged.run / source)
        found = level(packaged.dataset / image)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_labels_that_lose_their_names_are_warned_of(packaged: Packaged) -> None:
    assert mentions(
        packaged.result.warnings, "atlaslabel_def_origspace: labels are stored as float32", "no label names"
    )
    assert not mentions(packaged.result.warnings, "no label names", "hemispheremask_origspace")


def test_what_cannot_be_embedded_is_left_out_with_a_warning(packaged: Packaged) -> None:
    folder = packaged.dataset / RAW / "labels"
    assert ome(folder)["labels"] == ["FRSTseg10000"]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["FRSTseg10000"]
    for source, dtype in (("atlaslabel_def_origspace", "float32"), ("hemispheremask_origspace", "bool")):
        assert mentions(packaged.result.warnings, f"{source}: is stored as {dtype}", "not embedded")


def test_what_is_left_is_verified(packaged: Packaged) -> None:
    assert list(check_ome_zarr(read_tree(packaged.dataset))) == []
    assert catnip2bids.verify(packaged.dataset).ok


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_what_is_left_is_valid(packaged: Packaged) -> None:
    found = catnip2bids.validate(packaged.dataset).findings
    assert [finding for finding in found if finding.check == "ome-zarr" or finding.severity == "error"] == []


@pytest.mark.slow
def test_with_nothing_to_embed_there_is_no_group_of_labels(tmp_path: Path) -> None:
    run = write_run(tmp_path / "source")
    catnip2bids.package([tmp_path / "source"], tmp_path / "out", settings(embed_labels=True))
    for name in ("atlaslabel_def_origspace", "hemispheremask_origspace", "FRST_seg/FRSTseg_00010000"):
        change_slices(run / name, lambda plane: plane.astype("float32"))
    assert catnip2bids.package([tmp_path / "source"], tmp_path / "out", settings(embed_labels=True)).ok
    assert not (tmp_path / "out" / RAW / "labels").exists()
    assert catnip2bids.verify(tmp_path / "out").ok


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi", "no_plots")
def test_negative_labels_have_names_and_colours_everywhere(tmp_path: Path) -> None:
    run = write_run(tmp_path / "source")
    change_slices(run / "atlaslabel_def_origspace", lambda plane: np.where(plane == 0, np.int32(-3), plane))
    result = catnip2bids.package([tmp_path / "source"], tmp_path / "out", settings(report=True))
    assert result.ok
    (row,) = (row for row in read_tsv(tmp_path / "out/derivatives/catnip/dseg.tsv") if row["index"] == "-3")
    labels = ome(tmp_path / "out" / ATLAS)["image-label"]
    (color,) = (color["rgba"] for color in labels["colors"] if color["label-value"] == -3)
    assert "#" + bytes(color[:3]).hex() == row["color"]
    (page,) = (tmp_path / "out/docs/report").glob("sub-*.html")
    assert "unlisted -3" in page.read_text(encoding="utf-8")
    assert catnip2bids.validate(tmp_path / "out").ok
    assert catnip2bids.package([tmp_path / "source"], tmp_path / "out", settings()).ok


# ---- datasets of earlier versions, whose label images had a display window too


@pytest.fixture(params=VERSIONS)
def earlier(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Package as earlier versions did; returns how to package the same again."""
    write_run(tmp_path / "source")
    choices = settings(embed_labels=True, ome_zarr_version=request.param)

    def package(dataset: str = "out") -> PackageResult:
        return catnip2bids.package([tmp_path / "source"], tmp_path / dataset, choices)

    def with_both(name: str, levels: Any, kind: Any, values: Any) -> dict[str, Any]:
        display = values if isinstance(values, Display) else choose_display(name, kind, (0.0, 1.0), np.zeros((1, 1, 1)))
        return image_metadata(name, levels, kind, values) | image_metadata(name, levels, kind, display)

    with monkeypatch.context() as patch:
        patch.setattr(build_image, "image_metadata", with_both)
        patch.setattr(build_image.ImageSpec.fingerprint, "__kwdefaults__", {"metadata_format": 1})
        package()
    return package


def found_by_validate(dataset: Path) -> set[tuple[str, str, str]]:
    return {(found.severity.value, found.code, found.file) for found in check_ome_zarr(read_tree(dataset))}


@pytest.mark.slow
def test_metadata_of_an_earlier_version_is_found_and_replaced(tmp_path: Path, earlier: Callable[..., Any]) -> None:
    dataset = tmp_path / "out"
    embedded = [f"{RAW}/labels/{name}" for name in ("atlas", "hemispheremask", "FRSTseg10000")]
    wrong = {("warning", "OME_ZARR_LABEL_OMERO", image) for image in (ATLAS, MASK, CELLS, *embedded)}
    assert found_by_validate(dataset) == wrong
    pixels = {path: path.stat().st_mtime_ns for path in (dataset / RAW / "0").rglob("*")}
    again = earlier()
    assert (again.made, len(again.kept)) == ((), 7)
    assert {path: path.stat().st_mtime_ns for path in (dataset / RAW / "0").rglob("*")} == pixels
    assert found_by_validate(dataset) == set()
    assert catnip2bids.verify(dataset).ok
    earlier("fresh")
    changing = (PROVENANCE, CHECKSUMS)
    there, fresh = (
        {k: v for k, v in files_of(tmp_path / name).items() if k not in changing} for name in ("out", "fresh")
    )
    assert there == fresh
    records = [read_json(tmp_path / name / PROVENANCE)["runs"] for name in ("out", "fresh")]
    assert records[0] == records[1]
    assert not earlier().copied


def test_an_image_of_an_earlier_version_that_lost_a_file_is_made_again(
    tmp_path: Path, earlier: Callable[..., Any]
) -> None:
    document = tmp_path / "out" / ATLAS / "0"
    chunk = next(path for path in document.rglob("*") if path.is_file() and not path.name.endswith(("json", "array")))
    chunk.unlink()
    assert [path.as_posix() for path in earlier().made] == [ATLAS]
    assert catnip2bids.verify(tmp_path / "out").ok


def test_images_that_an_earlier_version_compressed_otherwise_are_kept(tmp_path: Path) -> None:
    write_run(tmp_path / "source")

    def package() -> PackageResult:
        return catnip2bids.package([tmp_path / "source"], tmp_path / "out", settings())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmeZarrImage, "_shuffles_bits", True)
        patch.setattr(build_image.ImageSpec.fingerprint, "__kwdefaults__", {"metadata_format": 2})
        n_made = len(package().made)
    before = files_of(tmp_path / "out")
    again = package()
    assert (again.made, len(again.kept)) == ((), n_made)
    after = files_of(tmp_path / "out")
    assert {name for name in before if before[name] != after.get(name)} == {PROVENANCE, CHECKSUMS}
    assert catnip2bids.verify(tmp_path / "out").ok
    assert not package().copied
