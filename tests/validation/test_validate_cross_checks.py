from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from validate_damage import (
    ATLAS,
    FRST,
    HEATMAP,
    RAW,
    RAW_ZARR,
    Damage,
    append,
    edit_json,
    move_and_link,
    remove,
    replace,
    set_key,
    truncate,
    write,
)

from catnip2bids.catnip.run_name import SAMPLES
from catnip2bids.documents import oversized
from catnip2bids.validation import Severity
from catnip2bids.validation.cross_checks import cross_check
from catnip2bids.validation.tables import HEMISPHERES
from catnip2bids.validation.tree import read_tree
from good_dataset import dataset, good

__all__ = ["dataset", "good"]

CATNIP = "derivatives/catnip"
RECORDS = "code/catnip2bids"
RAW_JSON = f"sub-45670ko/micr/{RAW}.json"
SCANS = "sub-45670ko/sub-45670ko_scans.tsv"
SAMPLE_ROW = "sample-LeftHemisphere\tsub-45670ko\ttissue\n"


def errors(dataset: Path) -> set[tuple[str, str]]:
    findings = cross_check(read_tree(dataset))
    return {(finding.code, finding.file) for finding in findings if finding.severity == Severity.ERROR}


def link_to_nowhere(dataset: Path) -> None:
    (dataset / RAW_JSON).unlink()
    (dataset / RAW_JSON).symlink_to("nowhere")


def rename(old: str, new: str) -> Damage:
    return lambda dataset: (dataset / old).rename(dataset / new)


def both(*damages: Damage) -> Damage:
    return lambda dataset: [damage(dataset) for damage in damages]


def generated(**run: object) -> Damage:
    """Record a run with the fields that packaging generated for FRST."""
    fields = {"Sources": [SOURCE], "SpatialReference": "orig", "Threshold": 10000, "Description": "FRST"}
    record = {"sidecars": {f"{FRST}.json": fields}, **run}
    recorded = write(f"{RECORDS}/provenance.json", json.dumps({"runs": {"a": record}}))
    return both(recorded, set_key(f"{FRST}.json", "Threshold", 10000))


def sample_row(sample: str, hemisphere: str) -> str:
    return f"sample_id\tparticipant_id\tsample_type\themisphere\n{sample}\tsub-45670ko\ttissue\t{hemisphere}\n"


def test_good_dataset_has_no_finding(good: Path) -> None:
    assert cross_check(read_tree(good)) == []


DEEP = f"{RAW_ZARR}/a/b/c/d/e/f/g/h"
DELETED = "sub-45670ko/micr/sub-45670ko_sample-RightHemisphere_stain-cFos_SPIM.ome.zarr"
SOURCE = f"bids:raw:sub-45670ko/micr/{RAW}.ome.zarr"
BROKEN: dict[str, tuple[Damage, str, str]] = {
    "samples.tsv missing": (remove("samples.tsv"), "SAMPLES_MISSING", "samples.tsv"),
    "samples.tsv of the derivative missing": (
        remove(f"{CATNIP}/samples.tsv"),
        "SAMPLES_MISSING",
        f"{CATNIP}/samples.tsv",
    ),
    "sample not listed": (
        replace("samples.tsv", "sample-Left", "sample-Right"),
        "SAMPLES_ROW_MISSING",
        "samples.tsv",
    ),
    "sample listed twice": (append("samples.tsv", SAMPLE_ROW), "SAMPLES_DUPLICATE", "samples.tsv"),
    "hemisphere that is not that of the label": (
        write("samples.tsv", sample_row("sample-LeftHemisphere", "R")),
        "SAMPLES_HEMISPHERE",
        "samples.tsv",
    ),
    "the same in the derivative": (
        write(f"{CATNIP}/samples.tsv", sample_row("sample-LeftHemisphere", "B")),
        "SAMPLES_HEMISPHERE",
        f"{CATNIP}/samples.tsv",
    ),
    "negative age": (
        write("participants.tsv", "participant_id\tage\nsub-45670ko\t-12.5\n"),
        "PARTICIPANTS_AGE",
        "participants.tsv",
    ),
    "participants.tsv missing": (remove("participants.tsv"), "PARTICIPANTS_MISSING", "participants.tsv"),
    "participant not listed": (
        replace("participants.tsv", "45670ko", "45671ko"),
        "PARTICIPANTS_ROW_MISSING",
        "participants.tsv",
    ),
    "participant only in the derivative": (
        write(f"{CATNIP}/sub-2/x.json", "{}"),
        "PARTICIPANTS_ROW_MISSING",
        "participants.tsv",
    ),
    "participant listed twice": (
        append("participants.tsv", "sub-45670ko\tn/a\n"),
        "PARTICIPANTS_DUPLICATE",
        "participants.tsv",
    ),
    "table with a short row": (append(SCANS, "micr\n"), "TABLE_UNREADABLE", SCANS),
    "list of samples with a long row": (append("samples.tsv", 140_000 * "a" + "\n"), "TABLE_UNREADABLE", "samples.tsv"),
    "table without a header": (write(SCANS, ""), "TABLE_UNREADABLE", SCANS),
    "counts with a row too long": (
        append("derivatives/catnip-counts/counts.tsv", "1\t2\t3\t4\n"),
        "TABLE_UNREADABLE",
        "derivatives/catnip-counts/counts.tsv",
    ),
    "scan that is not there": (replace(SCANS, "SPIM.ome.zarr", "SPIM.ome.tif"), "SCANS_FILE_MISSING", SCANS),
    "scan with an impossible name": (replace(SCANS, "SPIM.ome.zarr", "a" * 300), "SCANS_FILE_MISSING", SCANS),
    "source with an impossible name": (
        set_key(RAW_JSON, "Sources", [f"bids::{'a' * 300}"]),
        "SOURCE_NOT_FOUND",
        RAW_JSON,
    ),
    "invalid link": (
        lambda dataset: [
            change(dataset)
            for change in (
                set_key("dataset_description.json", "DatasetLinks", {"bad": "http://["}),
                set_key(RAW_JSON, "Sources", ["bids:bad:x"]),
            )
        ],
        "SOURCE_NOT_FOUND",
        RAW_JSON,
    ),
    "huge PixelSize": (set_key(RAW_JSON, "PixelSize", [10**400, 3.7, 5]), "PIXEL_SIZE_MISSING", RAW_JSON),
    "invalid PixelSize": (
        set_key(RAW_JSON, "PixelSize", [3.7, 3.7, float("nan")]),
        "PIXEL_SIZE_MISSING",
        RAW_JSON,
    ),
    "region index twice": (
        append(f"{CATNIP}/dseg.tsv", "1\tanother\n"),
        "DSEG_INDEX_DUPLICATE",
        f"{CATNIP}/dseg.tsv",
    ),
    "region index of one atlas twice": (
        write(f"{CATNIP}/atlas-CATNIPv2_dseg.tsv", "index\tname\n1\ta\n1\tb\n"),
        "DSEG_INDEX_DUPLICATE",
        f"{CATNIP}/atlas-CATNIPv2_dseg.tsv",
    ),
    "no sidecar": (remove(RAW_JSON), "SIDECAR_MISSING", RAW_ZARR),
    "sidecar that is no JSON": (truncate(RAW_JSON, 1), "JSON_UNREADABLE", RAW_JSON),
    "sidecar that is a list": (write(RAW_JSON, "[]"), "JSON_UNREADABLE", RAW_JSON),
    "no PixelSize": (edit_json(RAW_JSON, lambda sidecar: sidecar.pop("PixelSize")), "PIXEL_SIZE_MISSING", RAW_JSON),
    "PixelSize of two": (set_key(RAW_JSON, "PixelSize", [3.7, 3.7]), "PIXEL_SIZE_MISSING", RAW_JSON),
    "unit of the pixel size": (set_key(RAW_JSON, "PixelSizeUnits", "µm"), "PIXEL_SIZE_MISSING", RAW_JSON),
    "PixelSize as Z Y X": (set_key(RAW_JSON, "PixelSize", [5.0, 3.7, 3.7]), "PIXEL_SIZE_MISMATCH", RAW_JSON),
    "PixelSize of other units": (set_key(RAW_JSON, "PixelSizeUnits", "nm"), "PIXEL_SIZE_MISMATCH", RAW_JSON),
    "PixelSize of an OME-TIFF": (
        set_key(f"{HEATMAP}.json", "PixelSize", [25.0, 25.0, 25.1]),
        "PIXEL_SIZE_MISMATCH",
        f"{HEATMAP}.json",
    ),
    "source that is not there": (
        set_key(f"{FRST}.json", "Sources", [SOURCE.replace("ome.zarr", "ome.tif")]),
        "SOURCE_NOT_FOUND",
        f"{FRST}.json",
    ),
    "source of an unknown dataset": (
        set_key(f"{FRST}.json", "Sources", [SOURCE.replace("raw", "cooked")]),
        "SOURCE_NOT_FOUND",
        f"{FRST}.json",
    ),
    "source that is no URI": (
        set_key(f"{FRST}.json", "Sources", [f"sub-45670ko/micr/{RAW}.ome.zarr"]),
        "SOURCE_NOT_FOUND",
        f"{FRST}.json",
    ),
    "source of a table": (
        set_key(f"{CATNIP}/dseg.json", "Sources", ["bids::nowhere"]),
        "SOURCE_NOT_FOUND",
        f"{CATNIP}/dseg.json",
    ),
    "sources that are no list": (set_key(f"{FRST}.json", "Sources", SOURCE), "SOURCE_INVALID", f"{FRST}.json"),
    **{
        f"{key} that packaging did not write": (
            both(generated(), set_key(f"{FRST}.json", key, value)),
            "SIDECAR_FIELD",
            f"{FRST}.json",
        )
        for key, value in {
            "Sources": ["bids:archive:x"],
            "SpatialReference": "https://example.org",
            "Threshold": 15000,
        }.items()
    },
    "no field of those that packaging wrote": (
        both(generated(), edit_json(f"{FRST}.json", lambda sidecar: sidecar.pop("Sources"))),
        "SIDECAR_FIELD",
        f"{FRST}.json",
    ),
    "empty file": (write("derivatives/catnip-counts/a.txt", ""), "FILE_EMPTY", "derivatives/catnip-counts/a.txt"),
    "empty shard": (write(f"{RAW_ZARR}/0/c/0/0/0", ""), "FILE_EMPTY", f"{RAW_ZARR}/0/c/0/0/0"),
    "link to nowhere": (link_to_nowhere, "BROKEN_LINK", RAW_JSON),
    "link to a folder": (move_and_link("derivatives/catnip-counts"), "FOLDER_LINK", "derivatives/catnip-counts"),
    "image in two formats": (write(f"{ATLAS}.ome.btf", "x"), "IMAGE_TWICE", f"{ATLAS}.ome.btf"),
    "names that differ in case": (write("derivatives/catnip/README.MD", "x"), "NAME_CASE", f"{CATNIP}/README.MD"),
    "Zarr that is too deep": (write(DEEP, "x"), "ZARR_TOO_DEEP", RAW_ZARR),
    "leftover file": (write(f"{CATNIP}/.x.tsv.partial", "x"), "LEFTOVER_PARTIAL", f"{CATNIP}/.x.tsv.partial"),
    "leftover folder": (
        write(f"{CATNIP}/.x.ome.zarr.partial/a", "x"),
        "LEFTOVER_PARTIAL",
        f"{CATNIP}/.x.ome.zarr.partial",
    ),
    "packaged image missing": (
        write(f"{RECORDS}/provenance.json", f'{{"runs": {{"a": {{"images": {{"{DELETED}": {{}}}}}}}}}}'),
        "IMAGE_MISSING",
        DELETED,
    ),
    "no provenance": (
        remove(f"{RECORDS}/provenance.json"),
        "PROVENANCE_MISSING",
        f"{RECORDS}/provenance.json",
    ),
    "provenance cut off": (
        truncate(f"{RECORDS}/provenance.json", 2),
        "PROVENANCE_INVALID",
        f"{RECORDS}/provenance.json",
    ),
    "no table of planes": (remove(f"{RECORDS}/pixels/{RAW}.ome.zarr.tsv"), "PIXELS_MISSING", RAW_ZARR),
    "table of planes without one plane": (
        replace(f"{RECORDS}/pixels/{RAW}.ome.zarr.tsv", f"0\tZ0000.tif\t{'0' * 64}\n", ""),
        "PIXELS_ROWS",
        f"{RECORDS}/pixels/{RAW}.ome.zarr.tsv",
    ),
    "table of planes of an OME-TIFF with one too many": (
        append(f"{RECORDS}/pixels/{Path(HEATMAP).name}.tsv", "12\tZ\tsha\n"),
        "PIXELS_ROWS",
        f"{RECORDS}/pixels/{Path(HEATMAP).name}.tsv",
    ),
}


@pytest.mark.parametrize(("damage", "code", "file"), BROKEN.values(), ids=BROKEN)
def test_damage_is_found(dataset: Path, damage: Damage, code: str, file: str) -> None:
    damage(dataset)
    assert (code, file) in errors(dataset)


FINE: dict[str, Damage] = {
    "Zarr as deep as allowed": write(DEEP.removesuffix("/h"), "x"),
    "PixelSize of the right other unit": lambda dataset: [
        damage(dataset)
        for damage in (
            set_key(RAW_JSON, "PixelSize", [3700, 3700, 5000]),
            set_key(RAW_JSON, "PixelSizeUnits", "nm"),
        )
    ],
    "inherited unit": lambda dataset: [
        damage(dataset)
        for damage in (
            edit_json(RAW_JSON, lambda sidecar: sidecar.pop("PixelSizeUnits")),
            set_key("SPIM.json", "PixelSizeUnits", "um"),
        )
    ],
    "PixelSize of the dataset that an image replaces": set_key("SPIM.json", "PixelSize", [1.0, 1.0, 1.0]),
    "version control": write(".git/index", ""),
    "dataset of another program": lambda dataset: shutil.rmtree(dataset / "code"),
    "more samples than images": append("samples.tsv", "sample-RightHemisphere\tsub-45670ko\ttissue\n"),
    "hemisphere of the label": write("samples.tsv", sample_row("sample-LeftHemisphere", "L")),
    "unknown hemisphere": write("samples.tsv", sample_row("sample-LeftHemisphere", "n/a")),
    "hemisphere of a sample that a person named": write(
        "samples.tsv", sample_row("sample-LeftHemisphere", "L") + "sample-x\tsub-45670ko\ttissue\tR\n"
    ),
    "unknown age": write("participants.tsv", "participant_id\tage\nsub-45670ko\tn/a\n"),
    "sidecar with the fields that packaging wrote": generated(),
    "text and sources of a person": both(
        generated(),
        set_key(f"{FRST}.json", "Description", "mine"),
        set_key(f"{FRST}.json", "Sources", ["bids:archive:x", SOURCE]),
    ),
    "sidecar that no record describes": both(generated(sidecars={}), set_key(f"{FRST}.json", "Threshold", 7)),
}


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_what_is_allowed_is_no_error(dataset: Path, change: Damage) -> None:
    change(dataset)
    assert errors(dataset) == set()


def test_labels_of_samples_are_those_that_package_writes() -> None:
    assert {f"sample-{label}": letter for letter, label in SAMPLES.items()} == HEMISPHERES


def test_sidecars_of_an_interrupted_run_are_not_compared(dataset: Path) -> None:
    both(generated(unfinished=True), set_key(f"{FRST}.json", "Threshold", 7))(dataset)
    assert {code for code, _ in errors(dataset)} == {"RUN_UNFINISHED"}


def test_a_field_that_packaging_did_not_write_is_shown_in_short(dataset: Path) -> None:
    both(generated(), set_key(f"{FRST}.json", "SpatialReference", 1000 * "x"))(dataset)
    (finding,) = cross_check(read_tree(dataset))
    assert (finding.code, len(finding.message) < 400) == ("SIDECAR_FIELD", True)
    assert finding.message.endswith(
        '; packaging wrote "orig"; correct it, or remove SpatialReference and package its run again'
    )


def test_an_empty_source_file_is_a_warning(dataset: Path) -> None:
    write("sourcedata/catnip/log.txt", "")(dataset)
    (finding,) = cross_check(read_tree(dataset))
    assert (finding.severity, finding.code, finding.file) == (
        Severity.WARNING,
        "FILE_EMPTY",
        "sourcedata/catnip/log.txt",
    )


def test_a_sample_without_a_raw_image_is_a_warning(dataset: Path) -> None:
    append("samples.tsv", "sample-RightHemisphere\tsub-45670ko\ttissue\n")(dataset)
    (finding,) = cross_check(read_tree(dataset))
    assert (finding.severity, finding.code, finding.file) == (Severity.WARNING, "RAW_IMAGE_MISSING", "samples.tsv")
    assert "sub-45670ko sample-RightHemisphere" in finding.message


def test_a_deleted_raw_image_is_found_once(dataset: Path) -> None:
    append("samples.tsv", "sample-RightHemisphere\tsub-45670ko\ttissue\n")(dataset)
    write(f"{RECORDS}/provenance.json", f'{{"runs": {{"a": {{"images": {{"{DELETED}": {{}}}}}}}}}}')(dataset)
    assert [finding.code for finding in cross_check(read_tree(dataset))] == ["IMAGE_MISSING"]


COUNTS = "derivatives/catnip-counts/counts.tsv"
COUNTS_IN_DERIVATIVE = "derivatives/catnip/counts.tsv"


@pytest.mark.parametrize(
    ("table", "ignored", "is_read"),
    [(COUNTS, "", False), (COUNTS_IN_DERIVATIVE, "counts.tsv\n", False), (COUNTS_IN_DERIVATIVE, "", True)],
)
def test_the_counts_of_many_animals_are_no_fault(tmp_path: Path, table: str, ignored: str, is_read: bool) -> None:
    """No validator reads them, where they are packaged."""
    write("derivatives/catnip/dataset_description.json", "{}")(tmp_path)
    write("derivatives/catnip/.bidsignore", ignored)(tmp_path)
    write(table, "a\tb\tc\td\te\n" + "1\t2\t3\t4\t5\n" * 200_001)(tmp_path)
    tree = read_tree(tmp_path)
    assert [path.as_posix() for path, _ in oversized(tmp_path, tree.documents)] == ([table] if is_read else [])
    assert not [finding for finding in cross_check(tree) if finding.code == "TABLE_UNREADABLE"]


DIFFERENT = [f"{plane:064x}" for plane in range(12)]


@pytest.mark.parametrize(
    ("hashes", "others", "is_found"),
    [
        (DIFFERENT, DIFFERENT, True),
        (DIFFERENT, [*DIFFERENT[:-1], "f" * 64], False),
        (["0" * 64] * 12, ["0" * 64] * 12, False),  # images of one value
    ],
)
def test_the_same_raw_image_of_two_animals_is_a_warning(
    dataset: Path, hashes: list[str], others: list[str], is_found: bool
) -> None:
    other = RAW_ZARR.replace("45670ko", "45760ko")
    shutil.copytree(dataset / RAW_ZARR, dataset / other)
    for image, sha256 in ((RAW_ZARR, hashes), (other, others)):
        rows = [f"{plane}\tZ{plane}.tif\t{one}\n" for plane, one in enumerate(sha256)]
        write(f"{RECORDS}/pixels/{Path(image).name}.tsv", "plane\tsource\tsha256\n" + "".join(rows))(dataset)
    found = [one for one in cross_check(read_tree(dataset)) if one.code == "RAW_IMAGE_REPEATED"]
    assert [(one.severity, one.file) for one in found] == ([(Severity.WARNING, other)] if is_found else [])
    assert all(RAW_ZARR in one.message for one in found)
