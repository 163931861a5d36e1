"""A dataset of OME-TIFFs: the same names, sidecars and hashes as with OME-Zarr, and the pixels of the source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import ome_types
import pytest
import tifffile

import catnip2bids
from catnip2bids import Compression, Format, Naming, package
from catnip2bids.errors import UsageError
from runs import (
    KO,
    TALL,
    TODAY,
    command,
    dataset_files,
    images_of,
    partials_of,
    plane_hash,
    planes_behind,
    read_json,
    read_tsv,
    settings,
    state_of,
    write_l0,
    write_l2,
)

TIFF = {"image_format": Format.OME_TIFF}


def stem(path: str) -> str:
    return path.partition(".")[0]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    write_l0(folder, KO, shape=TALL)
    write_l2(folder, TODAY, shape=TALL, seed=3)
    return folder


@pytest.fixture(scope="module")
def zarr_dataset(cohort: Path) -> Path:
    dataset = cohort.parent / "zarr"
    assert package([cohort], dataset, settings()).ok
    return dataset


@pytest.fixture(scope="module", params=["plain", "pyramid", "dseg"])
def dataset(cohort: Path, request: pytest.FixtureRequest) -> Path:
    dataset = cohort.parent / str(request.param)
    naming = Naming.DSEG if request.param == "dseg" else Naming.BIDS
    result = package([cohort], dataset, settings(**TIFF, naming=naming, pyramid=request.param == "pyramid"))
    assert result.ok, result.problems
    return dataset


def sources(dataset: Path, cohort: Path) -> Iterator[tuple[Path, Path]]:
    """Each image, and what it was made of."""
    for run in read_json(dataset / "code/catnip2bids/provenance.json")["runs"].values():
        (folder,) = (path for path in cohort.rglob(run["name"]) if path.is_dir())
        for image, record in run["images"].items():
            yield dataset / image, folder / record["source"]


def test_every_plane_is_the_one_of_the_source(dataset: Path, cohort: Path) -> None:
    pairs = list(sources(dataset, cohort))
    assert len(pairs) == len(images_of(dataset)) > 10
    for image, source in pairs:
        expected = planes_behind(image.name, source)
        with tifffile.TiffFile(image) as file:
            assert file.series[0].axes == "ZYX"
            assert file.asarray().tobytes() == expected.tobytes()
            assert file.asarray().dtype == expected.dtype
            assert file.is_bigtiff == (image.suffix == ".btf") == ("heatmap" not in image.name)
        rows = read_tsv(dataset / f"code/catnip2bids/pixels/{image.name}.tsv")
        assert [row["sha256"] for row in rows] == [plane_hash(plane) for plane in expected]


def test_what_the_files_say_is_what_the_sidecars_say(dataset: Path, cohort: Path) -> None:
    for image, _ in sources(dataset, cohort):
        ome_types.validate_xml(str(tifffile.tiffcomment(image)))
        (described,) = ome_types.from_tiff(image).images
        sidecar = read_json(image.with_name(f"{stem(image.name)}.json"))
        pixels = described.pixels
        sizes = [pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z]
        assert np.allclose(np.array(sizes, float), sidecar["PixelSize"])
        assert described.description == sidecar["Description"]
        assert described.name == stem(image.name)


def test_it_is_valid(dataset: Path) -> None:
    report = catnip2bids.validate(dataset)
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


def test_all_else_is_as_with_ome_zarr(cohort: Path, zarr_dataset: Path) -> None:
    dataset = cohort.parent / "as-zarr"
    package([cohort], dataset, settings(**TIFF))
    assert {stem(path) for path in images_of(dataset)} == {stem(path) for path in images_of(zarr_dataset)}
    ours, theirs = dataset_files(dataset), dataset_files(zarr_dataset)
    texts = {path for path in ours.keys() | theirs.keys() if ".ome." not in path and not path.endswith("README.md")}
    sidecars = {path for path in texts if "/micr/" in path and path.endswith(".json")}
    assert len(sidecars) > 10
    scans = {path for path in texts if path.endswith("_scans.tsv")}
    assert {path for path in texts - sidecars - scans if ours.get(path) != theirs.get(path)} == set()
    for path in scans:
        one, other = read_tsv(dataset / path), read_tsv(zarr_dataset / path)
        assert [row | {"filename": stem(row["filename"])} for row in one] == [
            row | {"filename": stem(row["filename"])} for row in other
        ]
    for path in sidecars:
        one, other = read_json(dataset / path), read_json(zarr_dataset / path)
        assert [stem(source) for source in one.pop("Sources", [])] == [
            stem(source) for source in other.pop("Sources", [])
        ]
        assert one == other


def test_provenance_says_which_way_the_pixels_went(dataset: Path) -> None:
    runs = read_json(dataset / "code/catnip2bids/provenance.json")["runs"]
    ways = {image: record["how"] for run in runs.values() for image, record in run["images"].items()}
    assert {way for image, way in ways.items() if "hemispheremask" not in image} <= {
        "pixels copied as they are stored (Deflate)",
        "pixels copied as they are stored (uncompressed)",
    }
    assert "pixels encoded anew (Deflate)" in ways.values()  # of the mask that is in no file


def test_again_nothing_is_done(cohort: Path, dataset: Path) -> None:
    recorded = read_json(dataset / "code/catnip2bids/provenance.json")["settings"]
    choices = settings(**TIFF, naming=Naming(recorded["naming"]), pyramid=recorded["pyramid"])
    before = {path: state for path, state in state_of(dataset).items() if ".ome." in path}
    assert package([cohort], dataset, choices).made == []
    assert {path: state for path, state in state_of(dataset).items() if ".ome." in path} == before
    assert partials_of(dataset) == []


def test_another_format_takes_the_place_of_the_first(cohort: Path, zarr_dataset: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort], dataset, settings(**TIFF, compression=Compression.DEFLATE))
    (scans,) = dataset.glob("sub-45670ko/*_scans.tsv")
    header, row = scans.read_text(encoding="utf-8").splitlines()
    scans.write_text(f"{header}\toperator\n{row}\tJane\n", encoding="utf-8")
    package([cohort], dataset, settings())
    assert [row["operator"] for row in read_tsv(scans)] == ["Jane"]
    assert dataset_files(dataset).keys() == dataset_files(zarr_dataset).keys()
    package([cohort], dataset, settings(**TIFF))
    assert not list(dataset.rglob("*.ome.zarr*"))
    assert catnip2bids.validate(dataset).ok


def test_labels_cannot_be_put_inside(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an OME-TIFF has no place for them"):
        package([cohort], tmp_path / "dataset", settings(**TIFF, embed_labels=True))
    assert not (tmp_path / "dataset").exists()


def test_the_command_writes_them_too(cohort: Path, tmp_path: Path) -> None:
    words = ["package", cohort / KO, "-o", tmp_path / "dataset", "--voxel-size", 3.7, 3.7, 5]
    done = command(*words, "--format", "ome-tiff", "--pyramid", "--compression", "deflate")
    assert done.returncode == 0, done.stderr
    assert "_SPIM.ome.btf: pixels " in done.stderr
    recorded = read_json(tmp_path / "dataset/code/catnip2bids/provenance.json")
    assert "--format ome-tiff --ome-zarr-version 0.5 --pyramid --compression deflate" in recorded["command"]
    (image,) = (tmp_path / "dataset").glob("sub-*/micr/*_SPIM.ome.btf")
    with tifffile.TiffFile(image) as file:
        assert file.pages[0].aspage().compression == tifffile.COMPRESSION.ADOBE_DEFLATE
