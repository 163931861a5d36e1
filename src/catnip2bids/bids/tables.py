"""TSV tables: rows are added or updated, and no value of a person is lost.

Invariant: merging the same rows again, or in another order, gives the same file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import write_text
from catnip2bids.delimited import exact_integer, has_no_value, other_separator, split_fields
from catnip2bids.documents import read_bytes
from catnip2bids.errors import DatasetError
from catnip2bids.paths import safe_path

UNKNOWN = "n/a"
"""How BIDS writes a value that is not known."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...] = ()  # columns that are missing in a row are unknown

    def merged(self, rows: Sequence[Row], key: Sequence[str], *, keep_known: bool = False) -> Table:
        """Add rows, and update those that exist already.

        The columns in `key` identify a row, and the result is sorted by them. Unknown values (``n/a``, ``NA`` ...) do
        not replace known ones; with `keep_known` no value replaces a known one.
        """
        merged = {_key(row, key): dict(row) for row in self.rows}
        for row in rows:
            before = merged.setdefault(_key(row, key), {})
            for column, value in row.items():
                is_known = not has_no_value(before.get(column, UNKNOWN))
                if value not in ("", UNKNOWN) and not (is_known and (keep_known or has_no_value(value))):
                    before[column] = value
        columns = list(self.columns) + [column for row in rows for column in row if column not in self.columns]
        return Table(tuple(dict.fromkeys(columns)), tuple(merged[found] for found in sorted(merged)))

    def to_tsv(self) -> str:
        """Return the table as TSV text, with ``n/a`` for unknown values."""
        lines = [self.columns, *([row.get(column) or UNKNOWN for column in self.columns] for row in self.rows)]
        return "".join("\t".join(map(encode_value, line)) + "\n" for line in lines)


def read_table(path: Path, columns: Sequence[str] = ()) -> Table:
    """Read a TSV file, which must have the first of these columns; return an empty table if it does not exist.

    Raises DatasetError if the file is not UTF-8 text, has two columns of one name, rows of another length than the
    header, or quotes that do not match.
    """
    if not path.is_file():
        return Table(tuple(columns))
    try:
        (_, header), *rows = list(split_fields(read_bytes(path).decode("utf-8-sig"), "\t")) or [(1, [])]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    if len(set(header)) < len(header):
        raise DatasetError(f"{path}: has a column twice ({', '.join(header)}); correct the table")
    if separator := other_separator(header):
        raise DatasetError(f"{path}: is separated by {separator!r}; save it as tab-separated text (TSV)")
    if rows and columns and columns[0] not in header:
        raise DatasetError(f"{path}: has no column {columns[0]}; correct the table, or bring it back from a copy")
    filled = [(line, cells) for line, cells in rows if any(cells)]
    for line, cells in filled:
        if len(cells) != len(header):
            raise DatasetError(f"{path}: line {line} has {len(cells)} cells and not {len(header)}; correct the table")
    known = tuple(dict.fromkeys([*header, *columns]))
    return Table(known, tuple(dict(zip(header, cells, strict=True)) for _, cells in filled))


def read_rows(path: Path, *columns: str) -> tuple[Row, ...]:
    """Read the rows of a TSV file, which must have these columns if it has rows at all."""
    table = read_table(path)
    missing = [column for column in columns if column not in table.columns]
    if table.rows and missing:
        raise DatasetError(f"{path}: has no column {missing[0]}; correct the table, or bring it back from a copy")
    return table.rows


def remove_rows(dataset: Path, path: PurePosixPath, column: str, values: Collection[str]) -> None:
    """Remove the rows of a table that have one of these values in a column; without any, the file is not written."""
    table = read_table(dataset / path)
    rows = tuple(row for row in table.rows if row.get(column) not in values)
    if len(rows) < len(table.rows):
        write_text(safe_path(dataset, path), Table(table.columns, rows).to_tsv())


def read_number(path: Path, text: str) -> int:
    """Read a whole number of a table."""
    try:
        return exact_integer(text)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}; correct the table, or bring it back from a copy") from error


def encode_value(text: str) -> str:
    """Return a value as a table has it: line ends and tabs become spaces, and what begins with a quote is quoted."""
    line = " ".join(text.splitlines()).replace("\t", " ") if set(text) & set("\t\n\r") else text
    return '"' + line.replace('"', '""') + '"' if line.startswith('"') else line


def _key(row: Row, key: Sequence[str]) -> tuple[str, ...]:
    return tuple(row.get(column, UNKNOWN) for column in key)
