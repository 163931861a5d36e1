"""Tables of a dataset: what they list is compared with the files, in both directions.

Invariant: a table that cannot be read has one finding that says so, and no other check trips over it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from catnip2bids.delimited import other_separator
from catnip2bids.documents import open_without_waiting, read_bytes
from catnip2bids.errors import DatasetError, reason_of
from catnip2bids.formatting import format_bytes, format_count
from catnip2bids.paths import exists
from catnip2bids.validation.findings import Finding, our_error, our_warning
from catnip2bids.validation.sidecars import read_geometry
from catnip2bids.validation.tree import RECORDS, ROOT, Image, Tree

_LONGEST_LINE = 2**20
_UNKNOWN = "n/a"
HEMISPHERES = {"sample-LeftHemisphere": "L", "sample-RightHemisphere": "R", "sample-WholeBrain": "B"}
"""Labels of samples that `package` writes, and their hemispheres in samples.tsv."""

Row = Mapping[str, str]
"""The values of a row by the names of the columns."""
_Key = tuple[str, ...]


class TableError(ValueError):
    """A table is not readable as tab-separated values with a header."""


def read_table(file: Path) -> list[Row]:
    """Read the rows of a table; raise TableError if it is too large or not a table."""
    try:
        read_bytes(file)
    except (OSError, DatasetError) as failure:
        raise TableError(f"cannot be read: {reason_of(failure)}") from failure
    header, *rows = read_lines(file)
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_lines(file: Path) -> Iterator[list[str]]:
    """Yield the header and the rows, one at a time; raise TableError where a row does not fit the header."""
    try:
        with open(file, "rb", opener=open_without_waiting) as opened:
            rows = csv.reader(_lines(opened), delimiter="\t", strict=True)
            header = next(rows, [])
            if not header or len(set(header)) < len(header):
                raise TableError("has no header, or a column twice")
            if separator := other_separator(header):
                raise TableError(f"is separated by {separator!r}; save it as tab-separated text (TSV)")
            yield header
            for number, row in enumerate(rows, start=2):
                if rows.line_num != number:
                    raise TableError(f"row {number} has a quote that is not closed in its line")
                if len(row) != len(header):
                    raise TableError(f"row {number} has {len(row)} values and the header has {len(header)}")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise TableError(f"cannot be read: {reason_of(failure)}") from failure


def _lines(opened: BinaryIO) -> Iterator[str]:
    """Yield the lines that are not empty, without their ends."""
    encoding = "utf-8-sig"
    while line := opened.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise TableError(f"has a line of {format_bytes(_LONGEST_LINE)} or more")
        if text := line.removesuffix(b"\n").decode(encoding):
            yield text
        encoding = "utf-8"


def split_line(line: str) -> list[str]:
    """Return the values of a line, without their quotes; raise TableError if these do not match."""
    if '"' not in line:
        return line.split("\t")
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as failure:
        raise TableError(f"the quotes of a line do not match ({failure})") from failure


def check_readable(tree: Tree) -> Iterator[Finding]:
    """Check that every table can be read, including those that BIDS validators ignore."""
    for file in tree.plain_files:
        if file.suffix != ".tsv":
            continue
        try:
            for _ in read_lines(tree.root / file):  # one at a time: tables of counts have hundreds of thousands
                pass
        except TableError as failure:
            yield our_error("TABLE_UNREADABLE", file, failure)


def check_samples(tree: Tree) -> Iterator[Finding]:
    """Check that each dataset with images has a samples.tsv with each of its samples once.

    BIDS asks for the file; the validator 3.0.2 does not notice that it is missing.
    """
    for dataset in tree.datasets:
        needed: set[_Key] = {
            (f"sub-{entities['sub']}", f"sample-{entities['sample']}")
            for image in tree.images
            if tree.dataset_of(image.path) == dataset and {"sub", "sample"} <= (entities := image.name.entities).keys()
        }
        if needed or dataset == ROOT:
            yield from _compare_rows(tree, dataset / "samples.tsv", ("participant_id", "sample_id"), needed)


def check_hemispheres(tree: Tree) -> Iterator[Finding]:
    """Check that the hemisphere of a sample is the one that its label names, in each samples.tsv."""
    for file in (dataset / "samples.tsv" for dataset in tree.datasets):
        for row in rows_of(tree.root / file):
            sample, said = row.get("sample_id", ""), row.get("hemisphere", _UNKNOWN)
            expected = HEMISPHERES.get(sample)
            if expected is not None and said not in (expected, _UNKNOWN):
                what = f"says hemisphere {said or 'nothing'} of {row.get('participant_id')} {sample}; write {expected}"
                yield our_error("SAMPLES_HEMISPHERE", file, what)


def check_participants(tree: Tree) -> Iterator[Finding]:
    """Check that participants.tsv lists each subject that has a folder, in the dataset or a derivative, once."""
    folders: set[_Key] = {
        (folder.name,)
        for folder in tree.folders
        if folder.name.startswith("sub-") and tree.dataset_of(folder) == folder.parent
    }
    yield from _compare_rows(tree, ROOT / "participants.tsv", ("participant_id",), folders)


def check_ages(tree: Tree) -> Iterator[Finding]:
    """Check that no age in participants.tsv is negative, which BIDS allows."""
    file = ROOT / "participants.tsv"
    for row in rows_of(tree.root / file):
        age = row.get("age", "").strip()
        if re.fullmatch(r"-[0-9.]*[1-9][0-9.]*", age):
            what = f"says age {age} of {row.get('participant_id')}, but no age is negative; write weeks, or n/a"
            yield our_error("PARTICIPANTS_AGE", file, what)


def check_scans(tree: Tree) -> Iterator[Finding]:
    """Check that each row of a scans.tsv names an existing file."""
    for file in tables_named(tree, "scans.tsv"):
        for row in rows_of(tree.root / file):
            name = row.get("filename", "")
            if not name or not exists(tree.root / file.parent / name):
                what = f"lists {name or 'a row without filename'}, which is missing"
                yield our_error("SCANS_FILE_MISSING", file, what)


def check_label_tables(tree: Tree) -> Iterator[Finding]:
    """Check that each look-up table of label images lists an index only once."""
    for file in tables_named(tree, "dseg.tsv"):
        repeated = _repeated(row.get("index", "") for row in rows_of(tree.root / file))
        if repeated:
            yield our_error("DSEG_INDEX_DUPLICATE", file, f"has more than one row for index {', '.join(repeated[:10])}")


def check_plane_tables(tree: Tree) -> Iterator[Finding]:
    """Check that each image of a dataset of ours has a table of its planes with a row for each plane."""
    if RECORDS not in tree.folders:
        return
    for image in tree.images:
        file = _plane_table(tree, image)
        if file is None:
            yield our_error("PIXELS_MISSING", image.path, f"has no table of planes in {RECORDS}/pixels")
        else:
            yield from _compare_planes(tree, image, file)


def check_repeated_images(tree: Tree) -> Iterator[Finding]:
    """Check that no two raw images have the same pixels in every plane; images of one value do not count."""
    raw = {image.stem: image for image in tree.images if image.path.parts[0].startswith("sub-")}
    first_with: dict[str, Image] = {}
    for image in raw.values():
        file = _plane_table(tree, image)
        hashes = [row.get("sha256", "") for row in rows_of(tree.root / file)] if file is not None else []
        first = first_with.setdefault(sha256(" ".join(hashes).encode()).hexdigest(), image)
        if first is not image and len(set(hashes)) > 1:
            what = f"has the same pixels in every plane as {first.path}; check that they are not one brain twice"
            yield our_warning("RAW_IMAGE_REPEATED", image.path, what)


def _plane_table(tree: Tree, image: Image) -> PurePosixPath | None:
    names = (image.path.name, image.stem.name)
    files = (RECORDS / "pixels" / f"{name}.tsv" for name in names)
    return next((file for file in files if (tree.root / file).is_file()), None)


def _compare_planes(tree: Tree, image: Image, file: PurePosixPath) -> Iterator[Finding]:
    try:
        n_rows = len(read_table(tree.root / file))
    except TableError as failure:
        yield our_error("TABLE_UNREADABLE", file, failure)
        return
    geometry = read_geometry(tree.root, image)
    if geometry is not None and geometry.shape[0] != n_rows:
        found, planes = format_count(n_rows, "row"), format_count(geometry.shape[0], "plane")
        yield our_error("PIXELS_ROWS", file, f"has {found} and {image.path.name} has {planes}")


def tables_named(tree: Tree, ending: str) -> Iterator[PurePosixPath]:
    """Yield the tables of the dataset with this name, or with this ending after an underscore."""
    return (file for file in tree.plain_files if file.name == ending or file.name.endswith(f"_{ending}"))


def rows_of(file: Path) -> list[Row]:
    """Return the rows of a table; none if it cannot be read, which `check_readable` reports."""
    try:
        return read_table(file)
    except TableError:
        return []


def _compare_rows(tree: Tree, file: PurePosixPath, key: _Key, needed: set[_Key]) -> Iterator[Finding]:
    """Find missing and repeated rows of a table; the code of a finding begins with the table's name."""
    kind = file.stem.upper()
    if not (tree.root / file).is_file():
        yield our_error(f"{kind}_MISSING", file, f"does not exist; it must list {', '.join(key)}")
        return
    try:
        rows = read_table(tree.root / file)
    except TableError:
        return
    listed = [tuple(row.get(column, "") for column in key) for row in rows]
    for missing in sorted(needed - set(listed)):
        what = f"has no row for {' '.join(missing)}, which has files in the dataset"
        yield our_error(f"{kind}_ROW_MISSING", file, what)
    for repeated in _repeated(map(" ".join, listed)):
        yield our_error(f"{kind}_DUPLICATE", file, f"has more than one row for {repeated}")


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, n in Counter(values).items() if n > 1]
