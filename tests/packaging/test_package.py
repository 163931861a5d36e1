"""The dataset of a small cohort, held against its source and against the names it is promised to have."""

from __future__ import annotations

import getpass
import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import tifffile
import zarr

import catnip2bids
from catnip2bids import PackageResult, package
from catnip2bids.demo import write_atlas_table
from catnip2bids.demo.regions import REGIONS
from catnip2bids.scanning import scan
from in_process import no_dandi
from runs import (
    CHECKSUMS,
    FLOX,
    KO,
    KO_PREFIX,
    PROVENANCE,
    TALL,
    TODAY,
    TODAY_PREFIX,
    column,
    dataset_files,
    decisions,
    files_of,
    images_of,
    level,
    mentions,
    ome,
    partials_of,
    plane_hash,
    planes_behind,
    read_json,
    read_tsv,
    rewrite_slice,
    scales,
    settings,
    slices_of,
    state_of,
    write_l0,
    write_l2,
)

__all__ = ["no_dandi"]


@dataclass(frozen=True)
class Packaged:
    """A cohort and the dataset that was made of it."""

    source: Path
    atlas_table: Path
    dataset: Path
    result: PackageResult


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Three animals of both generations; labels 512 and 12009 as in CATNIP's own atlas; a few files of other origin."""
    folder = tmp_path_factory.mktemp("packaged")
    source = folder / "cohort"
    ko = write_l0(source, KO, shape=TALL, thresholds=(10000, 15000))
    write_l0(source, FLOX, shape=TALL, seed=2, exclusion=True)
    today = write_l2(source, TODAY, shape=TALL, seed=3, exclusion=True)
    plane = slices_of(ko / "atlaslabel_def_origspace")[4]
    labels = tifffile.imread(plane)
    labels[0, :2] = 512, 12009
    rewrite_slice(plane, labels)
    (today / "notes").mkdir()
    (today / "notes/bench.txt").write_text("felt well")
    (today / ".DS_Store").write_bytes(b"x")
    write_atlas_table(folder / "atlas_v2/atlas_info.txt")
    result = package([source], folder / "dataset", settings(atlas_table=folder / "atlas_v2/atlas_info.txt"))
    return Packaged(source, folder / "atlas_v2/atlas_info.txt", folder / "dataset", result)


FLOX_PREFIX = "sub-45925floxed_sample-RightHemisphere_stain-cFos"
_DERIVATIVE = "derivatives/catnip"
_CELLS = "FRSTseg_00010000_cellpixelIDlist_heatmap_imagespace_atlasspace.tif"


def _named(prefix: str, run: str, parts: dict[str, str]) -> dict[str, str]:
    """Write out the names of a run's images: ends of names and what they are made from."""
    subject = prefix.split("_")[0]
    raw = {"_SPIM"}
    return {
        f"{'' if end in raw else f'{_DERIVATIVE}/'}{subject}/micr/{prefix}{end}": f"{run}/{path}"
        for end, path in parts.items()
    }


_OLD = {
    "_SPIM": "640_N4",
    "_desc-FRST_SPIM": "640_FRST",
    "_space-orig_desc-atlas_SPIM": "atlaslabel_def_origspace",
    "_space-orig_desc-hemispheremask_SPIM": "atlaslabel_def_origspace_masked",
    "_space-orig_desc-FRSTseg10000_SPIM": "640_FRST_seg/FRSTseg_00010000.tif",
    "_space-CATNIP_desc-heatmap10000_SPIM": "heatmaps_atlasspace/FRSTseg_00010000.tif",
}
_MORE = {
    "_space-orig_desc-FRSTseg15000_SPIM": "640_FRST_seg/FRSTseg_00015000.tif",
    "_space-CATNIP_desc-heatmap15000_SPIM": "heatmaps_atlasspace/FRSTseg_00015000.tif",
}
_CORRECTED = {"_space-CATNIP_desc-heatmapcorrected10000_SPIM": "heatmaps_atlasspace_corrected/FRSTseg_00010000.tif"}
_NEW = {
    "_SPIM": "N4_masked",
    "_desc-FRST_SPIM": "FRST",
    "_space-orig_desc-atlas_SPIM": "atlaslabel_def_origspace",
    "_space-orig_desc-hemispheremask_SPIM": "hemispheremask_origspace",
    "_space-orig_desc-FRSTseg10000_SPIM": "FRST_seg/FRSTseg_00010000",
    "_space-orig_desc-FRSTsegfiltered10000_SPIM": "FRST_seg/FRSTseg_00010000_filtered",
    "_space-CATNIPv2_desc-heatmap10000_SPIM": f"heatmaps_atlasspace/{_CELLS}",
    "_space-CATNIPv2_desc-heatmapcorrected10000_SPIM": f"heatmaps_atlasspace_corrected/{_CELLS}",
}
IMAGES = {
    **_named(KO_PREFIX, KO, _OLD | _MORE),
    **_named(FLOX_PREFIX, FLOX, _OLD | _CORRECTED),
    **_named(TODAY_PREFIX, TODAY, _NEW),
}
"""Every image of the dataset, and what it is made from."""

_KO, _FLOX, _TODAY = "sub-45670ko/micr", "sub-45925floxed/micr", "sub-46001wt/micr"
COUNTS = {
    f"{_KO}/{KO_PREFIX}_desc-FRSTseg10000_counts": f"{KO}/640_FRST_seg/FRSTseg_00010000.csv",
    f"{_KO}/{KO_PREFIX}_desc-FRSTseg15000_counts": f"{KO}/640_FRST_seg/FRSTseg_00015000.csv",
    f"{_FLOX}/{FLOX_PREFIX}_desc-FRSTseg10000_counts": f"{FLOX}/640_FRST_seg/FRSTseg_00010000.csv",
    f"{_FLOX}/{FLOX_PREFIX}_desc-FRSTsegcorrected10000_counts": f"{FLOX}/640_FRST_seg_corr/FRSTseg_00010000.csv",
    f"{_TODAY}/{TODAY_PREFIX}_desc-FRSTseg10000_counts": f"{TODAY}/FRST_seg/FRSTseg_00010000.csv",
    f"{_TODAY}/{TODAY_PREFIX}_desc-FRSTsegcorrected10000_counts": f"{TODAY}/FRST_seg_corrected/FRSTseg_00010000.csv",
}

_IDS = [name.split("/")[-1] for name in IMAGES]
every_image = pytest.mark.parametrize("image", IMAGES, ids=_IDS)
every_image_with_source = pytest.mark.parametrize(("image", "source"), IMAGES.items(), ids=_IDS)


def is_label(image: str) -> bool:
    return "desc-atlas" in image


def is_mask(image: str) -> bool:
    return bool(re.search(r"desc-(FRSTseg|hemispheremask)", image))


# ---- names


def test_packaging_is_done(packaged: Packaged) -> None:
    assert packaged.result.ok, packaged.result.problems
    assert not partials_of(packaged.dataset)


def test_images_have_the_promised_names(packaged: Packaged) -> None:
    assert images_of(packaged.dataset) == {f"{name}.ome.zarr" for name in IMAGES}
    assert {str(target) for target in packaged.result.made} == images_of(packaged.dataset)


def test_every_other_file_has_the_promised_name(packaged: Packaged) -> None:
    files = {path for path in files_of(packaged.dataset) if ".ome.zarr/" not in path}
    expected = {f"{name}.json" for name in IMAGES}
    expected |= {f"code/catnip2bids/pixels/{name.split('/')[-1]}.ome.zarr.tsv" for name in IMAGES}
    expected |= {f"derivatives/catnip-counts/{name}.tsv" for name in COUNTS}
    of_cells = [name.removesuffix("counts") for name in COUNTS if "corrected" not in name]
    expected |= {
        f"derivatives/catnip-counts/{name}{kind}.tsv.gz" for name in of_cells for kind in ("cells", "uncounted")
    }
    expected |= {f"sub-{subject}/sub-{subject}_scans.{ending}" for subject in ("45670ko", "45925floxed", "46001wt")
                 for ending in ("tsv", "json")}  # fmt: skip
    expected |= {"dataset_description.json", "README.md", "CHANGES", ".bidsignore", "SPIM.json", PROVENANCE, CHECKSUMS}
    expected |= {"participants.tsv", "participants.json", "samples.tsv", "samples.json", "code/catnip2bids/plan.toml"}
    expected |= {
        f"{_DERIVATIVE}/{name}" for name in
        ("dataset_description.json", "README.md", "samples.tsv", "samples.json", "descriptions.tsv",
         "descriptions.json", "dseg.tsv", "dseg.json")
    }  # fmt: skip
    counts_files = ("README.md", "counts.tsv", "counts.json", "regions.tsv", "regions.json")
    expected |= {f"derivatives/catnip-counts/{name}" for name in counts_files}
    assert {path for path in files if not path.startswith("sourcedata/")} == expected


# ---- pixels


@every_image_with_source
def test_level_0_is_what_was_read(packaged: Packaged, image: str, source: str) -> None:
    planes = planes_behind(image, packaged.source / source)
    pixels = level(packaged.dataset / f"{image}.ome.zarr")
    assert pixels.dtype == planes.dtype.newbyteorder("=")
    np.testing.assert_array_equal(pixels, planes)


@every_image_with_source
def test_tensorstore_reads_the_same(packaged: Packaged, image: str, source: str) -> None:
    array = packaged.dataset / f"{image}.ome.zarr" / "0"
    read = ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(array)}}, read=True).result()
    np.testing.assert_array_equal(np.asarray(read), planes_behind(image, packaged.source / source))
    assert read.domain.labels == ("z", "y", "x")


@every_image
def test_lower_levels_are_of_the_right_kind(packaged: Packaged, image: str) -> None:
    folder = packaged.dataset / f"{image}.ome.zarr"
    datasets = ome(folder)["multiscales"][0]["datasets"]
    assert len(datasets) == (1 if "space-CATNIP" in image else 2)
    base = level(folder)
    for number in range(1, len(datasets)):
        lower = level(folder, number)
        assert lower.dtype == base.dtype
        if is_label(image):
            assert set(np.unique(lower)) <= set(np.unique(base))
        elif is_mask(image):
            step = [-(-base.shape[axis] // lower.shape[axis]) for axis in range(3)]
            padded = np.pad(base, [(0, -n % s) for n, s in zip(base.shape, step, strict=True)])
            blocks = padded.reshape(*[part for n, s in zip(padded.shape, step, strict=True) for part in (n // s, s)])
            np.testing.assert_array_equal(lower, blocks.max(axis=(1, 3, 5)))
        else:
            assert base.min() <= lower.min() <= lower.max() <= base.max()


@every_image_with_source
def test_plane_hashes_are_right_and_name_the_source(packaged: Packaged, image: str, source: str) -> None:
    rows = read_tsv(packaged.dataset / "code/catnip2bids/pixels" / f"{image.split('/')[-1]}.ome.zarr.tsv")
    planes = planes_behind(image, packaged.source / source)
    assert list(rows[0]) == ["plane", "source", "sha256"]
    assert column(rows, "plane") == [str(plane) for plane in range(len(planes))]
    assert column(rows, "sha256") == [plane_hash(plane) for plane in planes]
    assert column(rows, "sha256") == [plane_hash(plane) for plane in level(packaged.dataset / f"{image}.ome.zarr")]
    if source.endswith("_masked") and "hemispheremask" in image:
        assert {row["source"] for row in rows} == {"n/a"}  # no file holds these pixels
        return
    for row in rows:
        (found,) = [
            file for file in packaged.source.rglob(Path(row["source"]).name) if str(file).endswith(row["source"])
        ]
        assert found.is_relative_to(packaged.source / source)


# ---- what stands beside and in the images


@every_image_with_source
def test_sidecars_say_what_the_image_says(packaged: Packaged, image: str, source: str) -> None:
    sidecar = read_json(packaged.dataset / f"{image}.json")
    on_atlas = "space-CATNIP" in image
    assert sidecar["PixelSize"] == ([25, 25, 25] if on_atlas else [3.7, 3.7, 5])
    assert sidecar["PixelSize"] == scales(packaged.dataset / f"{image}.ome.zarr")[0][::-1]
    assert sidecar["PixelSizeUnits"] == "um"
    assert source.split("/")[-1] in sidecar["Description"]
    if not image.startswith("sub-"):
        assert sidecar["Sources"]
        if on_atlas:
            assert "CATNIP" in sidecar["SpatialReference"]
        else:
            assert sidecar["SpatialReference"] == "orig"
    threshold = re.search(r"(\d{5})_SPIM$", image)
    assert sidecar.get("Threshold") == (int(threshold[1]) if threshold else None)


@every_image
def test_sources_exist(packaged: Packaged, image: str) -> None:
    if image.startswith("sub-"):
        return
    derivative = packaged.dataset / _DERIVATIVE
    links = read_json(derivative / "dataset_description.json")["DatasetLinks"]
    for uri in read_json(packaged.dataset / f"{image}.json")["Sources"]:
        scheme, name, path = uri.split(":", 2)
        assert scheme == "bids"
        assert (derivative / (links[name] if name else "") / path).is_dir(), uri
        assert (derivative / (links[name] if name else "") / path) != packaged.dataset / f"{image}.ome.zarr"


@every_image
def test_metadata_of_the_image(packaged: Packaged, image: str) -> None:
    folder = packaged.dataset / f"{image}.ome.zarr"
    document = ome(folder)
    (multiscale,) = document["multiscales"]
    assert document["version"] == "0.5"
    assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in multiscale["axes"]} == {"micrometer"}
    pixels = level(folder)
    for number, dataset in enumerate(multiscale["datasets"]):
        scale, translation = (step[step["type"]] for step in dataset["coordinateTransformations"])
        base = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        np.testing.assert_allclose(translation, (np.array(scale) - base) / 2)
        array = zarr.open_array(folder / str(number), mode="r")
        assert np.prod(array.chunks) * array.dtype.itemsize <= 4 * 2**20
    if is_label(image) or (is_mask(image) and "filtered" not in image):  # volumes of cells are measured
        labels = document["image-label"]
        assert "omero" not in document
        values = {int(value) for value in np.unique(pixels)} - {0}
        assert {color["label-value"] for color in labels["colors"]} == values
        assert {described["label-value"] for described in labels["properties"]} == values
        assert all(len(color["rgba"]) == 4 for color in labels["colors"])
    else:
        window = document["omero"]["channels"][0]["window"]
        assert "image-label" not in document
        assert (window["min"], window["max"]) == (pixels.min(), max(pixels.max(), pixels.min() + 1))
        assert window["min"] <= window["start"] < window["end"] <= window["max"]


def test_label_images_name_their_regions_and_their_colours(packaged: Packaged) -> None:
    image = packaged.dataset / f"{_DERIVATIVE}/{_KO}/{KO_PREFIX}_space-orig_desc-atlas_SPIM.ome.zarr"
    labels = ome(image)["image-label"]
    names = {described["label-value"]: described["name"] for described in labels["properties"]}
    abbreviations = {described["label-value"]: described.get("abbreviation") for described in labels["properties"]}
    colors = {color["label-value"]: color["rgba"] for color in labels["colors"]}
    assert names[821] == "Primary_visual_area_layer_2/3"
    assert abbreviations[821] == "VISp2/3"
    assert colors[821] == [20, 90, 150, 255]
    assert (names[512], names[12009]) == ("unlisted_512", "unlisted_12009")


@pytest.mark.slow
@pytest.mark.usefixtures("no_dandi")
def test_the_dataset_is_valid(packaged: Packaged) -> None:
    report = catnip2bids.validate(packaged.dataset)
    assert report.ok, [finding for finding in report.findings if finding.severity.value == "error"]


# ---- tables


def test_participants(packaged: Packaged) -> None:
    rows = read_tsv(packaged.dataset / "participants.tsv")
    assert list(rows[0]) == ["participant_id", "species", "sex", "age", "strain", "genotype"]
    assert [tuple(row.values()) for row in rows] == [
        ("sub-45670ko", "mus musculus", "F", "n/a", "n/a", "ko"),
        ("sub-45925floxed", "mus musculus", "M", "n/a", "n/a", "floxed"),
        ("sub-46001wt", "mus musculus", "n/a", "n/a", "n/a", "wt"),
    ]


def test_samples(packaged: Packaged) -> None:
    for folder in (packaged.dataset, packaged.dataset / _DERIVATIVE):
        rows = read_tsv(folder / "samples.tsv")
        assert [(row["sample_id"], row["participant_id"], row["sample_type"]) for row in rows] == [
            ("sample-LeftHemisphere", "sub-45670ko", "tissue"),
            ("sample-RightHemisphere", "sub-45925floxed", "tissue"),
            ("sample-LeftHemisphere", "sub-46001wt", "tissue"),
        ]


def test_scans(packaged: Packaged) -> None:
    for prefix, time in (
        (KO_PREFIX, "2021-08-10T14:48:50"),
        (FLOX_PREFIX, "2021-08-16T16:09:53"),
        (TODAY_PREFIX, "n/a"),
    ):
        subject = prefix.split("_")[0]
        (row,) = read_tsv(packaged.dataset / subject / f"{subject}_scans.tsv")
        assert row == {"filename": f"micr/{prefix}_SPIM.ome.zarr", "acq_time": time}
        assert (packaged.dataset / subject / row["filename"]).is_dir()


def test_descriptions_say_what_every_desc_is(packaged: Packaged) -> None:
    rows = read_tsv(packaged.dataset / _DERIVATIVE / "descriptions.tsv")
    used = {f"desc-{name}" for path in [*IMAGES, *COUNTS] for name in re.findall(r"_desc-([^_]+)_", path)}
    assert set(column(rows, "desc_id")) == used
    assert all(len(row["description"]) > 10 for row in rows)
    assert len(set(column(rows, "description"))) == len(rows)


def test_the_table_of_regions(packaged: Packaged) -> None:
    rows = {row["index"]: row for row in read_tsv(packaged.dataset / _DERIVATIVE / "dseg.tsv")}
    assert list(rows["821"])[:4] == ["index", "name", "abbreviation", "color"]
    for region in REGIONS:
        row = rows[str(region.id)]
        assert (row["name"], row["abbreviation"]) == (region.name, region.acronym)
        assert row["color"] == f"#{bytes(region.rgb).hex()}"
        assert row["structure_order"] == str(region.structure_order)
    assert rows["997"]["parent_id"] == "n/a"
    assert rows["512"]["name"] == "unlisted_512"
    assert rows["12009"]["name"] == "unlisted_12009"
    assert set(rows) == {str(region.id) for region in REGIONS} | {"512", "12009"}
    assert [int(index) for index in rows] == sorted(int(index) for index in rows)


def test_unlisted_labels_are_warned_of(packaged: Packaged) -> None:
    assert mentions(packaged.result.warnings, "512", "12009", "atlaslabel_def_origspace")
    assert len([text for text in packaged.result.warnings if "label value" in text]) == 1


def csv_rows(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text(encoding="ascii").splitlines()[1:]]


COUNTS_COLUMNS = ["index", "name", "abbreviation", "cell_count", "label_volume", "volume_mm3", "density_per_mm3"]


@pytest.mark.parametrize(("table", "source"), COUNTS.items(), ids=[name.split("/")[-1] for name in COUNTS])
def test_counts_are_those_of_catnip(packaged: Packaged, table: str, source: str) -> None:
    rows = read_tsv(packaged.dataset / f"derivatives/catnip-counts/{table}.tsv")
    assert list(rows[0]) == COUNTS_COLUMNS
    expected = [["n/a" if cell == "-1" else cell for cell in row] for row in csv_rows(packaged.source / source)]
    shown = [list(row.values())[:5] for row in rows]
    assert [row[:2] + row[3:] for row in shown] == [row[:2] + row[3:] for row in expected]
    assert [row[2] for row in shown if row[1] != "root"] == [row[2] for row in expected if row[1] != "root"]


def test_an_acronym_that_is_the_name_is_kept_where_the_others_are_not(packaged: Packaged) -> None:
    """Since fe938f0 CATNIP repeats the name in every row of some atlases; root is simply called root."""
    rows = read_tsv(packaged.dataset / f"derivatives/catnip-counts/{_KO}/{KO_PREFIX}_desc-FRSTseg10000_counts.tsv")
    (root,) = [row for row in rows if row["name"] == "root"]
    assert root["abbreviation"] == "root"


def test_excluded_regions_are_not_available(packaged: Packaged) -> None:
    rows = read_tsv(
        packaged.dataset / f"derivatives/catnip-counts/{_FLOX}/{FLOX_PREFIX}_desc-FRSTsegcorrected10000_counts.tsv"
    )
    excluded = [row for row in rows if row["cell_count"] == "n/a"]
    assert excluded
    assert all(row["label_volume"] == "n/a" for row in excluded)


def test_the_long_table_holds_every_row_of_every_table(packaged: Packaged) -> None:
    rows = read_tsv(packaged.dataset / "derivatives/catnip-counts/counts.tsv")
    columns = set(COUNTS_COLUMNS)
    assert set(rows[0]) == columns | {"participant_id", "sample_id", "threshold", "corrected"}
    assert len(rows) == len(COUNTS) * len(REGIONS)
    for table in COUNTS:
        subject, sample = re.findall(r"(sub-\w+?)_(sample-\w+?)_", table)[0]
        corrected, threshold = re.findall(r"FRSTseg(corrected)?(\d+)", table)[0]
        part = [
            {key: row[key] for key in row if key in columns}
            for row in rows
            if (row["participant_id"], row["sample_id"], row["threshold"]) == (subject, sample, threshold)
            and row["corrected"].lower() == ("true" if corrected else "false")
        ]
        assert part == read_tsv(packaged.dataset / f"derivatives/catnip-counts/{table}.tsv")


@pytest.mark.parametrize(
    "table",
    ["participants", "samples", "sub-45670ko/sub-45670ko_scans", f"{_DERIVATIVE}/samples", f"{_DERIVATIVE}/dseg",
     "derivatives/catnip-counts/counts", "derivatives/catnip-counts/regions"],
)  # fmt: skip
def test_columns_are_described(packaged: Packaged, table: str) -> None:
    described = read_json(packaged.dataset / f"{table}.json")
    columns = read_tsv(packaged.dataset / f"{table}.tsv")[0]
    usual = {"index", "name", "abbreviation", "color"} if table.endswith("dseg") else set()
    for name in set(columns) - usual:
        assert described[name]["Description"], name


# ---- what was kept, what was left out, and why


def test_small_files_are_kept_as_they_are(packaged: Packaged) -> None:
    folder = packaged.dataset / "sourcedata/catnip"
    for prefix, run in ((KO_PREFIX, KO), (FLOX_PREFIX, FLOX), (TODAY_PREFIX, TODAY)):
        kept = folder / prefix.rpartition("_")[0]
        originals = {
            path.relative_to(packaged.source / run): path.read_bytes()
            for path in (packaged.source / run).rglob("*")
            if path.is_file() and path.suffix in {".csv", ".txt", ".mat"}
        }
        assert {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*") if path.is_file()} == originals


def test_there_is_one_decision_for_every_entry(packaged: Packaged) -> None:
    made = decisions(packaged.dataset)
    found = scan([packaged.source])
    assert set(made) == {run.source_of(entry) for run in found.runs for entry in run.entries}
    for source, decision in made.items():
        assert (packaged.source / source).exists()
        assert set(decision) >= {"source", "action", "target", "reason", "evidence"}
        assert decision["action"] in {"convert", "copy", "exclude"}
        assert decision["reason"]
        if decision["action"] == "exclude":
            assert decision["target"] is None
        else:
            assert (packaged.dataset / decision["target"]).exists()
    images = {decision["target"]: source for source, decision in made.items() if decision["action"] == "convert"}
    images |= {
        decision["evidence"]["mask"]: source
        for source, decision in made.items()
        if "mask" in (decision["evidence"] or {}) and "product_with" not in decision["evidence"]
    }
    named = {f"{image}.ome.zarr": source for image, source in IMAGES.items()}
    assert {target: source for target, source in images.items() if target.endswith(".ome.zarr")} == named


def test_the_provenance_tells_versions_command_settings_and_log(packaged: Packaged) -> None:
    document = read_json(packaged.dataset / PROVENANCE)
    assert {"versions", "command", "settings", "runs", "decisions"} <= set(document)
    assert document["versions"]["catnip2bids"] == catnip2bids.__version__
    logs = [run["log"] for run in document["runs"].values()]
    assert mentions([json.dumps(log) for log in logs], "Downsampling factor", "v2")


def test_nothing_private_is_published(packaged: Packaged) -> None:
    """Not the folders of this machine, nor its users; CATNIP's own files in sourcedata are as they are."""
    words = {
        str(packaged.source.parent),
        str(Path.home()),
        socket.gethostname(),
        "/opt/CATNIP",
        "/data/input",
        "/data/out",
    }
    if getpass.getuser() != "root":  # which is also a region
        words.add(getpass.getuser())
    words = {word for word in words if len(word) > 2}
    for path in packaged.dataset.rglob("*"):
        if path.is_file() and path.suffix not in {".mat"} and "sourcedata" not in path.parts:
            content = path.read_bytes()
            assert not [word for word in words if word.encode() in content], path
            if path.suffix in {".json", ".toml", ".md", ".tsv"}:
                assert not re.search(rb'[\s"=(`](/[a-z]+){2,}', content), path


def test_the_readme_says_what_is_where_and_what_was_left_out(packaged: Packaged) -> None:
    readme = (packaged.dataset / "README.md").read_text(encoding="utf-8")
    assert "atlaslabel_def_origspace_masked" in readme
    assert "hemisphere mask" in readme
    assert ".DS_Store" in readme
    assert "45670ko" in readme
    assert "derivatives/catnip" in readme


def test_unknown_small_entries_are_copied_and_named(packaged: Packaged) -> None:
    decision = decisions(packaged.dataset)[f"{TODAY}/notes"]
    assert decision["action"] == "copy"
    assert "not known" in decision["reason"]
    assert (packaged.dataset / decision["target"] / "bench.txt").read_text() == "felt well"


def test_descriptions_of_the_datasets(packaged: Packaged) -> None:
    root = read_json(packaged.dataset / "dataset_description.json")
    derivative = read_json(packaged.dataset / _DERIVATIVE / "dataset_description.json")
    assert (root["DatasetType"], derivative["DatasetType"]) == ("raw", "derivative")
    assert root["BIDSVersion"] == derivative["BIDSVersion"]
    assert derivative["GeneratedBy"][0]["Name"] == "catnip"
    assert derivative["DatasetLinks"]["raw"] == "../.."
    assert root["GeneratedBy"]
    assert derivative["SourceDatasets"]
    assert not (packaged.dataset / "derivatives/catnip-counts/dataset_description.json").exists()


def test_what_bids_must_not_see_is_ignored(packaged: Packaged) -> None:
    assert "dandiset.yaml" in (packaged.dataset / ".bidsignore").read_text(encoding="utf-8").splitlines()


def test_a_dandiset_may_lie_around_it(packaged: Packaged) -> None:
    keys = [str(path.relative_to(packaged.dataset)) for path in packaged.dataset.rglob("*") if path.is_symlink()]
    assert not keys


# ---- again


def test_a_second_time_nothing_is_made_anew(packaged: Packaged) -> None:
    before = {path: state for path, state in state_of(packaged.dataset).items() if path not in (PROVENANCE, CHECKSUMS)}
    content, source = dataset_files(packaged.dataset), state_of(packaged.source)
    result = package([packaged.source], packaged.dataset, settings(atlas_table=packaged.atlas_table))
    assert result.ok
    assert not result.made
    assert {str(target) for target in result.kept} == images_of(packaged.dataset)
    assert dataset_files(packaged.dataset) == content
    after = {path: state for path, state in state_of(packaged.dataset).items() if path not in (PROVENANCE, CHECKSUMS)}
    changed = {path for path in before if before[path] != after.get(path)}
    changed -= {".", "code/catnip2bids"}  # the lock, and provenance while it is written
    assert not changed
    assert state_of(packaged.source) == source


@pytest.mark.slow
def test_the_plan_of_the_dataset_makes_the_same_again(packaged: Packaged, tmp_path: Path) -> None:
    plan = packaged.dataset / "code/catnip2bids/plan.toml"
    choices: dict[str, Any] = {"atlas_table": packaged.atlas_table}
    result = package([packaged.source], tmp_path / "again", settings(**choices, voxel_size_um=None), plan)
    assert result.ok, result.problems
    assert dataset_files(tmp_path / "again") == dataset_files(packaged.dataset)
    assert "--plan plan.toml --format" in read_json(tmp_path / "again" / PROVENANCE)["command"]
