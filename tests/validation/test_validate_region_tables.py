"""Tables of counts, regions and cells: numbers are computed again, and a damaged table is one finding."""

from __future__ import annotations

import gzip
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from validate_damage import Damage, append, remove, replace, write

from catnip2bids.validation import Severity
from catnip2bids.validation.cross_checks import cross_check
from catnip2bids.validation.findings import Finding
from catnip2bids.validation.tree import read_tree
from good_dataset import BASE, CELLS_COLUMNS, LABELS, dataset, good

__all__ = ["dataset", "good"]

FOLDER = "derivatives/catnip-counts"
LONG, REGIONS, DSEG = f"{FOLDER}/counts.tsv", f"{FOLDER}/regions.tsv", "derivatives/catnip/dseg.tsv"
_OF_SAMPLE = f"{FOLDER}/sub-45670ko/micr/{BASE}_desc-FRSTseg10000"
COUNTS, CELLS, UNCOUNTED = (f"{_OF_SAMPLE}_{ending}" for ending in ("counts.tsv", "cells.tsv.gz", "uncounted.tsv.gz"))
MIB = 2**20


def found(dataset: Path) -> list[Finding]:
    findings = cross_check(read_tree(dataset))
    assert {finding.severity for finding in findings} <= {Severity.ERROR}
    return findings


def repack(file: str, change: Callable[[str], str]) -> Damage:
    """Change the text of a packed table."""

    def damage(dataset: Path) -> None:
        text = gzip.decompress((dataset / file).read_bytes()).decode()
        changed = change(text)
        assert changed != text
        (dataset / file).write_bytes(gzip.compress(changed.encode()))

    return damage


def replaced(file: str, old: str, new: str) -> Damage:
    return repack(file, lambda text: text.replace(old, new, 1))


def packed(file: str, content: bytes) -> Damage:
    return lambda dataset: (dataset / file).write_bytes(content)


def all_of(*damages: Damage) -> Damage:
    return lambda dataset: [damage(dataset) for damage in damages]


def test_the_good_dataset_has_no_finding(good: Path) -> None:
    assert found(good) == []


DENSITIES: dict[str, tuple[Damage, str, str]] = {
    "density": (replace(COUNTS, "9739.46920", "9739.47"), COUNTS, "row 2 has density_per_mm3 9739.47 for cell_count 2"),
    "density of all": (replace(LONG, "9739.46920", "97394692"), LONG, "row 2 has density_per_mm3 97394692"),
    "count": (replace(LONG, "\t2\t3000", "\t3\t3000"), LONG, "for cell_count 3 in volume_mm3 0.00020535"),
    "volume that the voxels of the images do not make": (
        all_of(replace(COUNTS, "0.00020535", "0.00041070"), replace(COUNTS, "9739.46920", "4869.7346")),
        COUNTS,
        "row 2 has volume_mm3 0.00041070 for label_volume 3000, which does not fit the voxels of the images",
    ),
    "volume without voxels": (
        replace(COUNTS, "n/a\tn/a\tn/a\tn/a", "n/a\tn/a\t0.1\tn/a"),
        COUNTS,
        "row 3 has volume_mm3 0.1 for label_volume n/a",
    ),
    "density without a count": (replace(COUNTS, "n/a\tn/a\tn/a\tn/a", "n/a\tn/a\tn/a\t1"), COUNTS, "density_per_mm3 1"),
    "no density": (replace(COUNTS, "9739.46920", "n/a"), COUNTS, "row 2 has density_per_mm3 n/a"),
    "no number": (replace(COUNTS, "9739.46920", "many"), COUNTS, "row 2 has a value that is not a number: 2 3000"),
    "not a number": (replace(COUNTS, "9739.46920", "nan"), COUNTS, "row 2 has density_per_mm3 nan"),
    "several rows": (
        all_of(*(append(LONG, f"sub-45670ko\t{index}\ta\t1\t1\t0\t1\n") for index in (3, 4, 5))),
        LONG,
        "row 4 has density_per_mm3 1 for cell_count 1 in volume_mm3 0; so have 2 other rows",
    ),
}


@pytest.mark.parametrize(("damage", "file", "says"), DENSITIES.values(), ids=DENSITIES)
def test_wrong_volumes_and_densities_are_one_finding(dataset: Path, damage: Damage, file: str, says: str) -> None:
    damage(dataset)
    (finding,) = found(dataset)
    assert (finding.code, finding.file) == ("COUNTS_DENSITY", file)
    assert says in finding.message


def joined(dataset: Path) -> None:
    """Let counts.tsv say which rows are from which table of counts, as packaging does."""
    header, *rows = (dataset / COUNTS).read_text().splitlines(keepends=True)
    of_sample = "sub-45670ko\tsample-LeftHemisphere\t10000\tfalse\t"
    columns = "participant_id\tsample_id\tthreshold\tcorrected\t"
    (dataset / LONG).write_text(columns + header + "".join(of_sample + row for row in rows))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (replace(LONG, "Inferior_colliculus", "Pons"), f"row 3 differs from {COUNTS}"),
        (replace(LONG, "\t10000\t", "\t9000\t"), f"row 2 differs from {COUNTS}"),
        (replace(COUNTS, "Inferior_colliculus", "Pons"), f"row 3 differs from {COUNTS}"),
        (lambda dataset: (dataset / LONG).write_text((dataset / LONG).read_text().splitlines()[0] + "\n"), "row 2"),
        (remove(COUNTS), "row 2 is in no table of counts"),
    ],
)
def test_rows_that_are_not_those_of_the_joined_tables_are_one_finding(dataset: Path, damage: Damage, says: str) -> None:
    joined(dataset)
    damage(dataset)
    (finding,) = (finding for finding in found(dataset) if finding.code == "COUNTS_JOINED")
    assert finding.file == LONG
    assert says in finding.message


TREES: dict[str, tuple[Damage, str, str]] = {
    "parent without a row": (replace(REGIONS, "\t557\t1", "\t558\t1"), "REGIONS_TREE", "558 is the parent of 1"),
    "wrong depth": (replace(REGIONS, "\t557\t1", "\t557\t2"), "REGIONS_TREE", "has depth 2 for 1, and its parent 557"),
    "circle": (replace(REGIONS, "TM\tn/a\t0", "TM\t1\t2"), "REGIONS_TREE", "has depth 1 for 1, and its parent 557"),
    "its own parent": (replace(REGIONS, "\t557\t1", "\t1\t1"), "REGIONS_TREE", "its parent 1 makes it 2"),
    "depth without an end": (replace(REGIONS, "TM\tn/a\t0", f"TM\tn/a\t{'9' * 5000}"), "REGIONS_TREE", "has depth"),
    "twice": (append(REGIONS, "1\ta\tA\tn/a\t0\t#000000\n"), "REGIONS_TREE", "more than one row for an index"),
    "no column": (replace(REGIONS, "\tparent\t", "\tabove\t"), "REGIONS_COLUMNS", "has no column parent"),
    "region that the atlas has not": (
        append(REGIONS, "7\ta\tA\tn/a\t0\t#000000\n"),
        "REGIONS_ATLAS",
        f"and {DSEG} do not list the same regions: 7 is in one of them only",
    ),
    "region of the atlas missing": (append(DSEG, "8\tanother\n"), "REGIONS_ATLAS", "8 is in one of them only"),
    "region as a group": (replace(REGIONS, "#ff98ff", "n/a"), "REGIONS_ATLAS", "2 is in one of them only"),
    "other name": (replace(DSEG, "Inferior", "Superior"), "REGIONS_ATLAS", "has name Inferior_colliculus for 2, and"),
    "no atlas": (remove(DSEG), "REGIONS_ATLAS_MISSING", "has no dseg.tsv in derivatives/catnip"),
    "no atlas of its own": (
        lambda dataset: (dataset / REGIONS).rename(dataset / FOLDER / "atlas-CATNIPv2_regions.tsv"),
        "REGIONS_ATLAS_MISSING",
        "has no atlas-CATNIPv2_dseg.tsv",
    ),
}


@pytest.mark.parametrize(("damage", "code", "says"), TREES.values(), ids=TREES)
def test_a_table_of_regions_that_is_no_tree_or_not_of_the_atlas_is_one_finding(
    dataset: Path, damage: Damage, code: str, says: str
) -> None:
    damage(dataset)
    (finding,) = found(dataset)
    assert finding.code == code
    assert finding.file.endswith("regions.tsv")
    assert says in finding.message


CELL = "1.5\t2\t3\t7.5\t7.4\t11.1\t9\t616.05"
MANY_CELLS = "".join(
    f"{CELL}\t{n + 1}\t{LABELS[n + 1]}\t{proven}\n" for _ in range(5000) for n, proven in enumerate(("true", "false"))
)
HEADER = "\t".join(CELLS_COLUMNS) + "\n"
TABLES_OF_CELLS: dict[str, tuple[Damage, str, str, str]] = {
    "cell missing": (
        repack(CELLS, lambda text: "".join(text.splitlines(keepends=True)[:2])),
        CELLS,
        "CELLS_COUNT",
        f"has 1 cells of region 1, and {Path(COUNTS).name} counts 2, although that region is called proven",
    ),
    "region without a count called proven": (
        replaced(CELLS, "\tfalse", "\ttrue"), CELLS, "CELLS_COUNT", "has 1 cells of region 2, and"
    ),
    "not proven, although the numbers agree": (
        repack(CELLS, lambda text: text.replace("true", "false")), CELLS, "CELLS_COUNT", "region is called not proven"
    ),
    "proven by no counts": (remove(COUNTS), CELLS, "CELLS_UNREADABLE", "row 2 has proven 'true', and no table"),
    "proven in part": (replaced(CELLS, "\ttrue", "\tfalse"), CELLS, "CELLS_UNREADABLE", "row 3 has proven 'true'"),
    "perhaps proven": (replaced(CELLS, "\tfalse", "\tmaybe"), CELLS, "CELLS_UNREADABLE", "row 4 has proven 'maybe'"),
    "unknown region": (
        replaced(CELLS, "\t2\tInferior", "\t3\tInferior"), CELLS, "CELLS_UNREADABLE", "row 4 has a cell of region '3'"
    ),
    "place": (replaced(CELLS, "\n1.5\t", "\nnan\t"), CELLS, "CELLS_UNREADABLE", "row 2 has a cell without a place"),
    "negative place": (replaced(CELLS, "\n1.5\t", "\n-1\t"), CELLS, "CELLS_UNREADABLE", "row 2 has a cell without"),
    "outside of the image": (
        replaced(CELLS, "\n1.5\t", "\n99\t"), CELLS, "CELLS_UNREADABLE", "row 2 has a cell outside of the image"
    ),
    "outside of the image, uncounted": (
        replaced(UNCOUNTED, "\n1.5\t2\t", "\n1.5\t99\t"), UNCOUNTED, "CELLS_UNREADABLE", "outside of the image"
    ),
    "micrometers": (
        replaced(CELLS, "\t7.5\t", "\t8.5\t"), CELLS, "CELLS_UNREADABLE", "row 2 has a place of 8.5 um and 1.5 voxels"
    ),
    "volume in micrometers": (
        replaced(CELLS, "616.05", "61.605"), CELLS, "CELLS_UNREADABLE", "a volume of 61.605 um3 and 9 voxels"
    ),
    "name of another region": (
        replaced(CELLS, LABELS[2], LABELS[1]), CELLS, "CELLS_UNREADABLE", f"row 4 has name {LABELS[1]!r} for region 2"
    ),
    "no volume": (replaced(CELLS, "\t9\t", "\t0\t"), CELLS, "CELLS_UNREADABLE", "row 2 has a cell without a place or"),
    "text as volume": (replaced(CELLS, "\t9\t", "\tx\t"), CELLS, "CELLS_UNREADABLE", "could not convert"),
    "columns": (replaced(CELLS, "z\ty\tx", "x\ty\tz"), CELLS, "CELLS_UNREADABLE", "its columns are not z y x z_um"),
    "row too short": (replaced(CELLS, "\ttrue", ""), CELLS, "CELLS_UNREADABLE", "row 2 has 10 values, and there"),
    "not UTF-8": (packed(CELLS, gzip.compress(b"\xff\n")), CELLS, "CELLS_UNREADABLE", "codec can't decode"),
    "quote that is not closed": (
        replaced(CELLS, LABELS[1], '"core of X'), CELLS, "CELLS_UNREADABLE", "the quotes of a line do not match"
    ),
    "no line end": (repack(CELLS, str.rstrip), CELLS, "CELLS_UNREADABLE", "has a line without an end"),
    "not packed": (packed(CELLS, HEADER.encode()), CELLS, "CELLS_UNREADABLE", "Not a gzipped file"),
    "cut off": (
        lambda dataset: (dataset / CELLS).write_bytes((dataset / CELLS).read_bytes()[:-20]),
        CELLS,
        "CELLS_UNREADABLE",
        "ended before the end-of-stream marker",
    ),
    "damaged": (
        lambda dataset: (dataset / CELLS).write_bytes((dataset / CELLS).read_bytes()[:20] + b"\xff" * 99),
        CELLS,
        "CELLS_UNREADABLE",
        "is damaged: ",
    ),
    "empty": (packed(CELLS, gzip.compress(b"")), CELLS, "CELLS_UNREADABLE", "its columns are not z y x"),
    "reason": (
        replaced(UNCOUNTED, "outside", "somewhere"), UNCOUNTED, "CELLS_UNREADABLE", "row 2 has reason 'somewhere'"
    ),
    "columns of uncounted": (
        replaced(UNCOUNTED, "reason", "why"), UNCOUNTED, "CELLS_UNREADABLE", "its columns are not z y x z_um"
    ),
    "endless line": (
        packed(CELLS, gzip.compress(bytes(100 * MIB), 1)), CELLS, "CELLS_UNREADABLE", "without an end within 4 KiB"
    ),
    "endless line after the header": (
        packed(UNCOUNTED, gzip.compress(("\t".join(CELLS_COLUMNS[:8]) + "\treason\n").encode() + b"1" * 100 * MIB, 1)),
        UNCOUNTED,
        "CELLS_UNREADABLE",
        "without an end within 4 KiB",
    ),
    "bomb": (
        packed(CELLS, gzip.compress(HEADER.encode()) + gzip.compress(MANY_CELLS.encode(), 9) * 99),
        CELLS,
        "CELLS_UNREADABLE",
        "100 times its size",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "file", "code", "says"), TABLES_OF_CELLS.values(), ids=TABLES_OF_CELLS)
def test_a_damaged_table_of_cells_is_one_finding(
    dataset: Path, damage: Damage, file: str, code: str, says: str
) -> None:
    damage(dataset)
    (finding,) = found(dataset)
    assert (finding.code, finding.file) == (code, file)
    assert says in finding.message


def test_memory_does_not_grow_with_a_table_of_cells(dataset: Path) -> None:
    n_cells = 20_000
    rows = "".join(
        f"{n % 4}\t2\t3\t{n % 4 * 5}\t7.4\t11.1\t{n + 9}\t{(n + 9) * 68.45:.6g}\t1\t{LABELS[1]}\ttrue\n"
        for n in range(n_cells)
    )
    (dataset / CELLS).write_bytes(gzip.compress((HEADER + rows).encode(), 1))
    del rows
    tree = read_tree(dataset)
    tracemalloc.start()
    findings = cross_check(tree)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [finding.message.split(",")[0] for finding in findings] == [f"has {n_cells} cells of region 1"]
    assert peak < 3 * MIB


def without_new_columns(dataset: Path) -> None:
    for file in (COUNTS, LONG):
        rows = (line.split("\t") for line in (dataset / file).read_text().splitlines())
        (dataset / file).write_text("".join("\t".join(row[:-2]) + "\n" for row in rows))


def recorded(n_cells: int) -> Damage:
    """Let provenance say how many cells there are."""
    document = {"decisions": [], "runs": {BASE: {"cells": {CELLS: {"n_cells": n_cells}}}}}
    return lambda dataset: (dataset / "code/catnip2bids/provenance.json").write_text(json.dumps(document))


@pytest.mark.parametrize("gone", [CELLS, UNCOUNTED])
def test_a_table_of_cells_that_was_packaged_and_is_gone_is_named(dataset: Path, gone: str) -> None:
    all_of(recorded(3), remove(gone))(dataset)
    (finding,) = found(dataset)
    assert (finding.code, finding.file) == ("CELLS_MISSING", gone)


def test_a_table_of_cells_has_as_many_as_when_it_was_packaged(dataset: Path) -> None:
    recorded(4)(dataset)
    (finding,) = found(dataset)
    assert (finding.code, finding.file) == ("CELLS_UNREADABLE", CELLS)
    assert "it has 3 cells, and had 4 when it was packaged" in finding.message


def renamed(name: str) -> Damage:
    """Give region 1 another name in all tables."""
    tables = (replace(file, LABELS[1], name) for file in (COUNTS, LONG, REGIONS, DSEG))
    return all_of(*tables, repack(CELLS, lambda text: text.replace(LABELS[1], name)))


FINE: dict[str, Damage] = {
    "as many cells as provenance says": recorded(3),
    "dataset of an earlier version": all_of(remove(REGIONS), remove(CELLS), remove(UNCOUNTED), without_new_columns),
    "no cells of a region": repack(CELLS, lambda text: "".join(text.splitlines(keepends=True)[:3])),
    "cells without counts": all_of(remove(COUNTS), repack(CELLS, lambda text: text.replace("true", "false"))),
    "tables of somebody else": all_of(
        write("derivatives/other/regions.tsv", "name\tregion\na\tb\n"),
        write("derivatives/other/x_cells.tsv.gz", "not packed"),
        write(f"{FOLDER}/sub-45670ko/regions.tsv", "name\nx\n"),
    ),
    "group of a group": all_of(
        replace(REGIONS, "TM\tn/a\t0", "TM\t9\t1"),
        replace(REGIONS, "\t557\t1", "\t557\t2"),
        append(REGIONS, "9\tHY\tHY\tn/a\t0\tn/a\n"),
    ),
    "joined": joined,
    "joined, saved again with quotes": all_of(joined, replace(COUNTS, LABELS[1], f'"{LABELS[1]}"')),
    "name that begins with a quote": renamed('"""x"" nucleus"'),
    "name with quotes": renamed('the "x" nucleus'),
    "names in quotes in one table only": replaced(CELLS, LABELS[1], f'"{LABELS[1]}"'),
    "named as with --naming dseg": lambda dataset: [
        shutil.move(dataset / FOLDER / name, dataset / "derivatives/catnip" / name)
        for name in ("regions.tsv", "counts.tsv")
    ],
    "table of counts without its image": lambda dataset: [
        (dataset / path).rename(dataset / path.replace("stain-cFos", "stain-NeuN"))
        for path in (COUNTS, CELLS, UNCOUNTED)
    ],
}  # fmt: skip


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
def test_what_is_allowed_is_no_finding(dataset: Path, change: Damage) -> None:
    change(dataset)
    assert found(dataset) == []


def test_a_table_that_cannot_be_read_has_one_finding(dataset: Path) -> None:
    for file in (DSEG, REGIONS, COUNTS):
        append(file, "1\n")(dataset)
    codes = {(finding.code, finding.file) for finding in found(dataset)}
    assert codes == {("TABLE_UNREADABLE", file) for file in (DSEG, REGIONS, COUNTS)}


@pytest.mark.parametrize(
    ("name", "says"),
    [('"core of X', "row 2 has a quote that is not closed in its line"), ('"x" nucleus', "cannot be read: ")],
)
def test_a_table_with_quotes_that_do_not_match_has_one_finding(dataset: Path, name: str, says: str) -> None:
    replace(COUNTS, LABELS[1], name)(dataset)
    n_others = (dataset / COUNTS).read_text().splitlines()[0].count("\t") - 1
    append(COUNTS, '9"' + "\tn/a" * n_others + "\n")(dataset)  # so that the lines together are one row
    (finding,) = found(dataset)
    assert (finding.code, finding.file) == ("TABLE_UNREADABLE", COUNTS)
    assert says in finding.message
