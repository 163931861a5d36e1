"""Datasets of OME-TIFFs: the same as of OME-Zarr but for the images."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import tifffile

import catnip2bids
from catnip2bids import Naming, PackageResult, package
from catnip2bids.enums import Format
from catnip2bids.errors import UsageError
from catnip2bids.progress import Progress
from catnip2bids.validation.ome_tiff import check_ome_tiff
from catnip2bids.validation.tree import read_tree
from catnip2bids.volume import Kind
from in_process import called, no_dandi
from ome_tiffs import halved, levels_of, libtiff, needs_libtiff, ome_of, pages_of, same_bits, segments_of
from runs import (
    CHECKSUMS,
    KO,
    KO_PREFIX,
    PROVENANCE,
    TALL,
    TODAY,
    TODAY_PREFIX,
    Array,
    dataset_files,
    files_of,
    images_of,
    level,
    mentions,
    partials_of,
    planes_behind,
    read_json,
    read_tsv,
    settings,
    slices_of,
    state_of,
    write_l0,
    write_l2,
)

__all__ = ["no_dandi"]

TIFF = {"image_format": Format.OME_TIFF}
PIXELS = "code/catnip2bids/pixels"
_KO = f"derivatives/catnip/sub-45670ko/micr/{KO_PREFIX}"
_TODAY = f"derivatives/catnip/sub-46001wt/micr/{TODAY_PREFIX}"
_CELLS = "FRSTseg_00010000_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"
IMAGES = {
    f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.btf": f"{KO}/640_N4",
    f"{_KO}_desc-FRST_SPIM.ome.btf": f"{KO}/640_FRST",
    f"{_KO}_space-orig_desc-atlas_SPIM.ome.btf": f"{KO}/atlaslabel_def_origspace",
    f"{_KO}_space-orig_desc-hemispheremask_SPIM.ome.btf": f"{KO}/atlaslabel_def_origspace_masked",
    f"{_KO}_space-orig_desc-FRSTseg10000_SPIM.ome.btf": f"{KO}/640_FRST_seg/FRSTseg_00010000.tif",
    f"{_KO}_space-CATNIP_desc-heatmap10000_SPIM.ome.tif": f"{KO}/heatmaps_atlasspace/FRSTseg_00010000.tif",
    f"sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.btf": f"{TODAY}/N4_masked",
    f"{_TODAY}_desc-FRST_SPIM.ome.btf": f"{TODAY}/FRST",
    f"{_TODAY}_space-orig_desc-atlas_SPIM.ome.btf": f"{TODAY}/atlaslabel_def_origspace",
    f"{_TODAY}_space-orig_desc-hemispheremask_SPIM.ome.btf": f"{TODAY}/hemispheremask_origspace",
    f"{_TODAY}_space-orig_desc-FRSTseg10000_SPIM.ome.btf": f"{TODAY}/FRST_seg/FRSTseg_00010000",
    f"{_TODAY}_space-orig_desc-FRSTsegfiltered10000_SPIM.ome.btf": f"{TODAY}/FRST_seg/FRSTseg_00010000_filtered",
    f"{_TODAY}_space-CATNIPv2_desc-heatmap10000_SPIM.ome.tif": f"{TODAY}/heatmaps_atlasspace/{_CELLS}",
}
"""Every image of the dataset, and what it is made from: BigTIFF on the native grid, classic on the atlas grid."""
every_image = pytest.mark.parametrize("image", IMAGES, ids=[name.split("/")[-1] for name in IMAGES])


def stem(image: str) -> str:
    return image.removesuffix(image[image.index(".ome.") :])


@dataclass(frozen=True)
class Both:
    """A cohort, and the datasets of both formats that were made of it."""

    cohort: Path
    tiff: Path
    zarr: Path
    result: PackageResult


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("both")
    write_l0(folder / "cohort", KO, shape=TALL)
    write_l2(folder / "cohort", TODAY, shape=TALL, seed=3)
    zarr = package([folder / "cohort"], folder / "zarr", settings())
    assert zarr.ok, zarr.problems
    result = package([folder / "cohort"], folder / "tiff", settings(**TIFF))
    return Both(folder / "cohort", folder / "tiff", folder / "zarr", result)


# ---- what is in it


def test_packaging_is_done(both: Both) -> None:
    assert both.result.ok, both.result.problems
    assert {str(target) for target in both.result.made} == set(IMAGES)
    assert not partials_of(both.tiff)


def test_images_have_the_promised_names(both: Both) -> None:
    assert images_of(both.tiff) == set(IMAGES)
    assert {stem(image) for image in images_of(both.zarr)} == {stem(image) for image in IMAGES}


def test_all_other_files_are_those_of_a_dataset_of_ome_zarr(both: Both) -> None:
    """Sidecars name other endings in their Sources; nothing else differs but what tells of the format."""
    endings = {f"{stem(image)}.ome.zarr": image for image in IMAGES}
    names = {Path(zarr).name: Path(image).name for zarr, image in endings.items()}
    ours = {path for path in files_of(both.tiff) if path not in IMAGES}
    theirs = {path for path in files_of(both.zarr) if ".ome.zarr/" not in path}
    tables = {f"{PIXELS}/{zarr}.tsv": f"{PIXELS}/{image}.tsv" for zarr, image in names.items()}
    assert {tables.get(path, path) for path in theirs} == ours

    def renamed(content: bytes) -> bytes:
        for zarr, image in names.items():
            content = content.replace(zarr.encode(), image.encode())
        return content

    different = {
        path
        for path in theirs
        if not path.startswith("sourcedata/")
        and renamed((both.zarr / path).read_bytes()) != (both.tiff / tables.get(path, path)).read_bytes()
    }
    assert not different - {
        PROVENANCE,
        CHECKSUMS,
        "README.md",
        "derivatives/catnip/README.md",
        "code/catnip2bids/plan.toml",
    }
    for path in ("README.md", "derivatives/catnip/README.md"):
        assert "OME-Zarr" not in (both.tiff / path).read_text(encoding="utf-8"), path
        assert ".ome.zarr" not in (both.tiff / path).read_text(encoding="utf-8"), path


@every_image
def test_pixels_are_what_was_read(both: Both, image: str) -> None:
    planes = planes_behind(image, both.cohort / IMAGES[image])
    (only,) = levels_of(both.tiff / image)
    assert same_bits(only, planes)
    assert same_bits(only, level(both.zarr / f"{stem(image)}.ome.zarr"))
    with tifffile.TiffFile(both.tiff / image) as tiff:
        assert tiff.is_bigtiff == image.endswith(".btf")


@needs_libtiff
@every_image
def test_libtiff_has_nothing_to_complain_of(both: Both, image: str, tmp_path: Path) -> None:
    libtiff("tiffinfo", both.tiff / image)
    libtiff("tiffcp", "-c", "none", both.tiff / image, tmp_path / "copy.tif")


@every_image
def test_plane_hashes_are_those_of_ome_zarr(both: Both, image: str) -> None:
    ours = both.tiff / PIXELS / f"{Path(image).name}.tsv"
    theirs = both.zarr / PIXELS / f"{Path(stem(image)).name}.ome.zarr.tsv"
    assert len(read_tsv(ours)) == len(levels_of(both.tiff / image)[0])
    assert ours.read_bytes() == theirs.read_bytes()


@every_image
def test_the_xml_says_what_the_sidecar_says(both: Both, image: str) -> None:
    described = ome_of(both.tiff / image)
    sidecar, pixels = read_json(both.tiff / f"{stem(image)}.json"), described.pixels
    assert [pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z] == sidecar["PixelSize"]
    assert described.description == sidecar["Description"]
    assert described.name == Path(stem(image)).name


@every_image
def test_provenance_tells_how_pixels_got_there(both: Both, image: str) -> None:
    records = {name: record for run in read_json(both.tiff / PROVENANCE)["runs"].values()
               for name, record in run["images"].items()}  # fmt: skip
    source = both.cohort / IMAGES[image]
    copied = "pixels copied as they are stored (" in records[image]["how"]
    if "hemispheremask" in image and source.name != "hemispheremask_origspace":
        assert not copied  # no file holds these pixels
    if copied:
        files = slices_of(source) if source.is_dir() else [source]
        assert segments_of(both.tiff / image) == [segments for file in files for segments in segments_of(file)]
    else:
        assert records[image]["how"] == "pixels encoded again (Deflate)"
    assert not [
        record["how"]
        for run in read_json(both.zarr / PROVENANCE)["runs"].values()
        for record in run["images"].values()
        if record.get("how")
    ]


def test_nearly_all_images_are_copied(both: Both) -> None:
    records = [run["images"] for run in read_json(both.tiff / PROVENANCE)["runs"].values()]
    anew = {name for images in records for name, record in images.items() if "anew" in record["how"]}
    assert anew <= {f"{_KO}_space-orig_desc-hemispheremask_SPIM.ome.btf"}


def test_decisions_name_the_images(both: Both) -> None:
    decided = {decision["target"] for decision in read_json(both.tiff / PROVENANCE)["decisions"]}
    assert set(IMAGES) - decided <= {f"{_KO}_space-orig_desc-hemispheremask_SPIM.ome.btf"}
    assert ".ome.zarr" not in (both.tiff / PROVENANCE).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_the_dataset_is_valid(both: Both) -> None:
    report = catnip2bids.validate(both.tiff)
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


# ---- again, and differently


def test_a_second_run_makes_nothing(both: Both) -> None:
    before = {path: state for path, state in state_of(both.tiff).items() if path in IMAGES}
    again = package([both.cohort], both.tiff, settings(**TIFF))
    assert (again.ok, list(again.made)) == (True, [])
    assert {str(target) for target in again.kept} == set(IMAGES)
    assert {path: state for path, state in state_of(both.tiff).items() if path in IMAGES} == before


@pytest.mark.parametrize("first", [Format.OME_ZARR, pytest.param(Format.OME_TIFF, marks=pytest.mark.slow)])
def test_another_format_replaces_all_images_but_not_what_a_person_added(
    both: Both, tmp_path: Path, first: Format
) -> None:
    there, expected = (both.tiff, both.zarr) if first == Format.OME_TIFF else (both.zarr, both.tiff)
    shutil.copytree(there, tmp_path / "out")
    raw = f"sub-45670ko/micr/{KO_PREFIX}_SPIM.json"
    sidecar = tmp_path / "out" / raw
    sidecar.write_text(json.dumps({**read_json(sidecar), "Immersion": "ethyl cinnamate"}), encoding="utf-8")
    second = next(other for other in Format if other != first)
    result = package([both.cohort], tmp_path / "out", settings(image_format=second))
    assert result.ok, result.problems
    assert {str(target) for target in result.made} == images_of(expected)
    one, two = dataset_files(tmp_path / "out"), dataset_files(expected)
    assert set(one) == set(two)
    assert [path for path in one if one[path] != two[path]] == [raw]
    assert read_json(sidecar) == {**read_json(expected / raw), "Immersion": "ethyl cinnamate"}
    records = [run["images"] for run in read_json(tmp_path / "out" / PROVENANCE)["runs"].values()]
    assert {image for images in records for image in images} == images_of(expected)


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_lower_levels_are_those_of_the_kind_and_asking_for_them_makes_images_anew(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.ome.ome_tiff.LARGEST_LAST_LEVEL", 3)
    shutil.copytree(both.tiff, tmp_path / "out")
    result = package([both.cohort], tmp_path / "out", settings(**TIFF, pyramid=True))
    assert {str(target) for target in result.made} == set(IMAGES)
    for image, source in IMAGES.items():
        masks = "FRSTseg" in image or "mask" in image
        kind = Kind.LABELS if "desc-atlas" in image else Kind.MASK if masks else Kind.IMAGE
        levels = levels_of(tmp_path / "out" / image)
        assert len(levels) > 1
        planes: Array = planes_behind(image, both.cohort / source)
        for found, expected in zip(levels, halved(planes, kind, len(levels)), strict=True):
            assert same_bits(found, expected), image
        assert all(int(lower.subfiletype) == 1 for _, *below in pages_of(tmp_path / "out" / image) for lower in below)
    tables = {path: data for path, data in files_of(tmp_path / "out").items() if path.startswith(PIXELS)}
    assert tables == {path: data for path, data in files_of(both.tiff).items() if path.startswith(PIXELS)}
    report = catnip2bids.validate(tmp_path / "out")
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


@pytest.mark.slow
def test_names_of_dandi_001362_are_valid(both: Both, tmp_path: Path) -> None:
    result = package([both.cohort], tmp_path / "out", settings(**TIFF, naming=Naming.DSEG))
    assert result.ok, result.problems
    images = images_of(tmp_path / "out")
    assert f"{_KO}_space-orig_dseg.ome.btf" in images
    assert f"{_KO}_space-orig_desc-FRSTseg10000_mask.ome.btf" in images
    assert f"{_TODAY}_space-CATNIPv2_desc-heatmap10000_SPIM.ome.tif" in images
    assert len(images) == len(IMAGES)
    report = catnip2bids.validate(tmp_path / "out")
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


# ---- the command


def test_labels_cannot_be_embedded(both: Both, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--embed-labels is for --format ome-zarr; leave it out"):
        package([both.cohort], tmp_path / "out", settings(**TIFF, embed_labels=True))
    words = ["package", both.cohort, "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5]
    done = called(*words, "--format", "ome-tiff", "--embed-labels")
    assert done.returncode == 2
    assert "--embed-labels" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_embedded_labels_go_with_the_format(both: Both, tmp_path: Path) -> None:
    package([both.cohort], tmp_path / "out", settings(embed_labels=True))
    package([both.cohort], tmp_path / "out", settings(**TIFF))
    assert dataset_files(tmp_path / "out").keys() == dataset_files(both.tiff).keys()
    assert images_of(tmp_path / "out") == set(IMAGES)


@pytest.mark.slow
def test_the_command_packages_ome_tiff(both: Both, tmp_path: Path) -> None:
    words = ["package", both.cohort, "-o", tmp_path / "out", "--voxel-size", 3.7, 3.7, 5, "--format", "ome-tiff"]
    words += ["--no-report"]
    dry = called(*words, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "_SPIM.ome.btf" in dry.stderr
    assert not (tmp_path / "out").exists()
    done = called(*words)
    assert done.returncode == 0, done.stderr
    assert dataset_files(tmp_path / "out") == dataset_files(both.tiff)
    assert "--format ome-tiff" in read_json(tmp_path / "out" / PROVENANCE)["command"]


# ---- what goes wrong


class _Interrupting(Progress):
    """Interrupts when so many planes are written."""

    def __init__(self, n_planes: int) -> None:
        self._n_left = n_planes

    def advance(self, n_voxels: int) -> None:
        del n_voxels
        self._n_left -= 1
        if self._n_left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def marked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.engine.sequential_writer.BYTES_PER_MARKER", 1)


@pytest.mark.usefixtures("marked_often")
@pytest.mark.slow
@pytest.mark.parametrize("n_planes", [1, 15, 60, 100])
def test_an_interrupted_dataset_is_the_same_in_the_end(both: Both, tmp_path: Path, n_planes: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        package([both.cohort], tmp_path / "out", settings(**TIFF), progress=_Interrupting(n_planes))
    for image in images_of(tmp_path / "out"):
        assert files_of(tmp_path / "out" / image) == files_of(both.tiff / image)
    assert package([both.cohort], tmp_path / "out", settings(**TIFF)).ok
    assert dataset_files(tmp_path / "out") == dataset_files(both.tiff)
    assert not partials_of(tmp_path / "out")


@pytest.mark.slow
def test_black_and_white_masks_are_kept_and_restored(tmp_path: Path) -> None:
    """MATLAB writes logical arrays with one bit a pixel."""
    cells = write_l0(tmp_path / "cohort", KO) / "640_FRST_seg/FRSTseg_00010000.tif"
    planes = tifffile.imread(cells) > 0
    tifffile.imwrite(cells, planes, photometric="minisblack", metadata=None)
    result = package([tmp_path / "cohort"], tmp_path / "out", settings(pyramid=True, **TIFF))
    assert result.ok, result.problems
    (image,) = (tmp_path / "out").rglob("*desc-FRSTseg10000_SPIM.ome.btf")
    assert same_bits(levels_of(image)[0], planes)
    assert ome_of(image).pixels.type.value == "bit"
    assert catnip2bids.verify(tmp_path / "out", tmp_path / "cohort").ok
    assert list(check_ome_tiff(read_tree(tmp_path / "out"))) == []
    catnip2bids.restore(tmp_path / "out", tmp_path / "restored")
    (restored,) = (tmp_path / "restored").rglob("640_FRST_seg/FRSTseg_00010000.tif")
    assert same_bits(tifffile.imread(restored), planes)


def test_a_damaged_slice_is_a_problem_of_its_image_only(tmp_path: Path) -> None:
    """Pixels are always looked at in packaging, since their hashes are written down."""
    run = write_l0(tmp_path / "cohort", KO)
    bad = slices_of(run / "640_FRST")[3]
    with tifffile.TiffFile(bad) as tiff:
        at, n_bytes = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    data = bytearray(bad.read_bytes())
    data[at : at + n_bytes] = bytes(n_bytes)
    bad.write_bytes(data)
    result = package([tmp_path / "cohort"], tmp_path / "out", settings(**TIFF))
    assert not result.ok
    assert mentions(result.problems, str(bad))
    expected = {image for image in IMAGES if "45670" in image and "desc-FRST_" not in image}
    assert images_of(tmp_path / "out") == expected
    assert not partials_of(tmp_path / "out")
