"""CSV and TSV files as spreadsheets, pandas and R write them.

Responsible for encoding, delimiter, quotes, header, empty rows and columns, and the notation of integers; callers give
the meaning of the columns.

Invariant: a value belongs to the column with its header. Ambiguous content is refused with file, line and column,
never guessed.
"""

from __future__ import annotations

import csv
import io
import re
from bisect import bisect_left
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from catnip2bids.documents import refuse_special_file
from catnip2bids.errors import SourceError

Warn = Callable[[str], object]
"""Called with each warning."""

_DELIMITERS = "\t;,|"
_PART_ENDS = b"\t;,|\r\n"
_SEP_LINE = re.compile(r'"?sep=([\t;,|])"?[\t;,|]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_LINE_END = re.compile(r"\r\n|\r|\n")
_BOMS = {
    BOM_UTF8: "utf-8-sig",
    BOM_UTF32_LE: "utf-32",  # before UTF-16, whose BOM begins alike
    BOM_UTF32_BE: "utf-32",
    BOM_UTF16_LE: "utf-16",
    BOM_UTF16_BE: "utf-16",
}
_MOST_BYTES = 64 * 2**20
"""A thousand times the largest table of an atlas."""
_MOST_PARTS = 1_000_000
"""The most lines and fields, each of which takes Python up to 300 bytes."""
_MOST_LINES_QUOTED = 5
_UNNAMED = re.compile(r"(?:Unnamed: [0-9]+)?")
"""Header of a column without a name, also as pandas writes it when it read the table before."""

_NO_TEXT = frozenset({"", "n/a", "na", "nan", "<na>", "#n/a"})
_NO_VALUE = _NO_TEXT | {"none", "null", "unknown"}

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*|,0{1,2})?")
_LIKE_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}\.000")
_SCIENTIFIC = re.compile(r"[+-]?([0-9]{1,18})(?:\.([0-9]{0,18}))?[eE]([+-]?[0-9]{1,2})")
_MOST_DECIMALS = 1
"""In scientific notation; spreadsheets round to two decimals, ``%g`` and MATLAB to more."""


@dataclass(frozen=True)
class TableKind:
    """The columns of a kind of table."""

    what: str  # for messages, such as ``a table of counts``
    # known columns with their spellings; case, blanks and punctuation do not count
    columns: Mapping[str, tuple[str, ...]]
    required: tuple[str, ...]
    remedy: str  # what to do about a refused table

    def column_of(self, header: str) -> str:
        """Return the column of a header; the header itself if it is unknown."""
        return self._column_by_key.get(_key(header), header)

    def is_header(self, fields: Sequence[str]) -> bool:
        """Whether these fields name all required columns."""
        return set(self.required) <= set(map(self.column_of, fields))

    @cached_property
    def _column_by_key(self) -> dict[str, str]:
        return {_key(spelling): name for name, spellings in self.columns.items() for spelling in spellings}


@dataclass(frozen=True)
class Row:
    """The values of a row by the names of their columns."""

    path: Path
    line: int
    values: Mapping[str, str]  # without quotes and surrounding blanks
    headers: Mapping[str, str] = field(repr=False)  # names of the columns in the file

    def error(self, column: str, text: str) -> SourceError:
        """Make an error that names file, line and column."""
        return SourceError(f"{self.path}, line {self.line}, column {self.headers[column]}: {text}")

    def integer(self, column: str) -> int | None:
        """Read a whole number; None if it is unknown. Raises SourceError if it is anything else."""
        try:
            return None if has_no_value(self.values[column]) else exact_integer(self.values[column])
        except ValueError as error:
            raise self.error(column, str(error)) from None

    def text(self, column: str) -> str | None:
        """Return a text; None if it is unknown, or the table has no such column."""
        value = self.values.get(column, "")
        return None if value.casefold() in _NO_TEXT else value


@dataclass(frozen=True)
class Lines:
    """The fields of a table line by line, without rows and columns that are empty."""

    path: Path
    # first line that is not empty, and its fields:
    header_line: int
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...] = field(repr=False)  # number and fields of each other line
    column_numbers: tuple[int, ...] = field(repr=False)  # of the fields in the file, from 1

    def named(self, kind: TableKind) -> list[Row]:
        """Put the fields of each row under the names of the columns.

        Raises SourceError if two columns have one name, a column has values and no name, a row has more or fewer fields
        than the header, or the header is there twice.
        """
        header = self._with_row_numbers()
        names: dict[str, int] = {}
        twins: dict[str, str] = {}
        for position, text in enumerate(header):
            if _UNNAMED.fullmatch(text):
                if names or not self._is_index(position):
                    raise self._error(self.header_line, position, f"has values and no name; {kind.remedy}")
                continue
            name = kind.column_of(text)
            twin = twins.setdefault(name.casefold(), name)
            if twin in names:
                both = f"{header[names[twin]]!r} and {text!r}"
                raise self._error(self.header_line, position, f"{both} name the same column; leave one of them out")
            names[name] = position
        headers = {name: header[position] for name, position in names.items()}
        rows = []
        for line, fields in self.rows:
            if len(fields) < len(header) or any(fields[len(header) :]):
                what = f"the row has {len(fields)} fields and the header {len(header)}; {kind.remedy}"
                raise self._error(line, min(len(fields), len(header)), what)
            if kind.is_header(fields):
                raise self._error(line, 0, "is a second header; make two tables of this one")
            values = {name: fields[position] for name, position in names.items()}
            rows.append(Row(self.path, line, values, headers))
        return rows

    def _with_row_numbers(self) -> tuple[str, ...]:
        """Return the header, with an empty first field if only the rows are numbered, as R's ``write.table`` does."""
        numbers = [fields[0] for _, fields in self.rows if len(fields) == len(self.header) + 1]
        is_numbered = bool(numbers) and numbers == [str(number) for number in range(1, len(self.rows) + 1)]
        return ("", *self.header) if is_numbered else self.header

    def _is_index(self, position: int) -> bool:
        """Whether a column can be the index that pandas and R write first."""
        values = [fields[position] for _, fields in self.rows if position < len(fields)]
        return all(map(str.isdecimal, values)) and len(set(values)) == len(values)

    def _error(self, line: int, position: int, text: str) -> SourceError:
        number = self.column_numbers[position] if position < len(self.column_numbers) else position + 1
        return SourceError(f"{self.path}, line {line}, column {number}: {text}")


def ignore(text: str) -> None:
    """Ignore a warning."""


def read_text(path: Path, warn: Warn = ignore) -> str:
    """Read the text of a table as Unicode, or as Windows-1252, which Excel writes, with a warning that quotes it.

    Raises SourceError if the file cannot be read, is not text, or is so large that it cannot be such a table.
    """
    refuse_special_file(path)
    try:
        n_bytes = path.stat().st_size
        if n_bytes > _MOST_BYTES:
            raise SourceError(f"{path}: has {n_bytes} bytes, which is too much for a table; give the right file")
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read: {error.strerror}; check that it is a file that you may read"
        ) from error
    if (n_parts := sum(map(content.count, _PART_ENDS))) > _MOST_PARTS:
        raise SourceError(f"{path}: has {n_parts:,} lines and fields, too many for a table; give the right file")
    encoding = next((name for bom, name in _BOMS.items() if content.startswith(bom)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\0" in content:
            raise SourceError(f"{path}: is not a text table ({error}); save it as UTF-8 text") from error
        return _windows_1252(path, content, warn)
    if "\0" in text:
        line = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise SourceError(f"{path}, line {line}: is not a text table (a character is 0); save it as UTF-8 text")
    return text


def _windows_1252(path: Path, content: bytes, warn: Warn) -> str:
    lines, quoted = re.split(_LINE_END.pattern.encode(), content), []
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("cp1252")
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{path}, line {number}, column {error.start + 1} (counted in bytes): is neither UTF-8 nor "
                "Windows-1252; save it as UTF-8 text"
            ) from error
        if not text.isascii():
            quoted.append(f"line {number}: {text}")
    n_more = len(quoted) - _MOST_LINES_QUOTED
    shown = "; ".join(quoted[:_MOST_LINES_QUOTED]) + (f"; and {n_more} more lines" if n_more > 0 else "")
    warn(f"{path}: is not UTF-8, and was read as Windows-1252 ({shown}); if that is wrong, save it as UTF-8")
    return content.decode("cp1252")


def other_separator(header: Sequence[str]) -> str | None:
    """Return the character that separates the columns of a table whose header has no tab; None if it has one column."""
    return next((mark for mark in ";," if len(header) == 1 and re.match(rf"\w+{mark}\S", header[0])), None)


def split_fields(text: str, delimiter: str, first_line: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of each row that is not empty; raises ValueError if a quote spans lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = first_line
    try:
        for fields in reader:
            if broken := next((at for at, value in enumerate(fields, 1) if _LINE_END.search(value)), None):
                raise ValueError(f"line {line}, column {broken}: its quote is not closed in this line; close it")
            if fields:
                yield line, fields
            line = reader.line_num + first_line
    except csv.Error as error:
        raise ValueError(f"line {line}: cannot be split into fields ({error}); correct its quotes") from error


def read_lines(
    path: Path, text: str, kind: TableKind, is_first_row: Callable[[Sequence[str]], bool] | None = None
) -> Lines:
    """Split a table by the delimiter with which its first row is valid: by default, a header of this kind.

    Raises SourceError if no delimiter gives such a row, or the rows cannot be split.
    """
    if not text.strip():
        raise SourceError(f"{path}: has no rows; {kind.remedy}")
    first_line, delimiters = 1, _DELIMITERS
    if separator := _SEP_LINE.match(text):
        first_line, text = 2, text[separator.end() :]
        delimiters = separator[1] + delimiters
    for delimiter in delimiters:
        lines = _filled_lines(text, delimiter, first_line)
        try:
            first = next(lines, (first_line, []))
        except ValueError:
            continue  # quotes match with the right delimiter only
        if (is_first_row or kind.is_header)(first[1]):
            break
    else:
        columns = ", ".join(kind.columns[name][0] for name in kind.required)
        raise SourceError(
            f"{path}, line {first_line}: is not the header of {kind.what}, which names {columns}; {kind.remedy}"
        )
    try:
        rows = [first, *lines]
    except ValueError as error:
        raise SourceError(f"{path}, {error}") from None
    filled = sorted({at for _, fields in rows for at, value in enumerate(fields) if value})
    kept = [(line, tuple(fields[at] for at in filled[: bisect_left(filled, len(fields))])) for line, fields in rows]
    return Lines(path, *kept[0], tuple(kept[1:]), tuple(at + 1 for at in filled))


def _filled_lines(text: str, delimiter: str, first_line: int) -> Iterator[tuple[int, list[str]]]:
    for line, fields in split_fields(text, delimiter, first_line):
        stripped = [value.strip() for value in fields]
        if any(stripped):
            yield line, stripped


def has_no_value(text: str) -> bool:
    """Whether a text means an unknown value: empty, ``n/a``, ``NA``, ``NaN``, ``None``, ``unknown``."""
    return text.strip().casefold() in _NO_VALUE


def exact_integer(text: str) -> int:
    """Read an integer in any exact notation: ``12``, ``12.0``, ``12,0``, ``-1.0``, ``1.2E+06``.

    Numbers in scientific notation may have been rounded, so more than one decimal is refused: spreadsheets show
    1,234,567 as ``1.23E+06``. One decimal, as in ``1.2E+06``, is a round number. Raises ValueError if it is not a whole
    number, may have been rounded, or has a point that may separate thousands (``1.000``).
    """
    if _LIKE_THOUSANDS.fullmatch(text):
        raise ValueError(f"{text!r} may be {text[:-4]} or {text.replace('.', '')}; write it without a point")
    if _INTEGER.fullmatch(text):
        return int(re.split("[.,]", text)[0])
    found = _SCIENTIFIC.fullmatch(text)
    value = Decimal(text) if found else Decimal("0.5")
    if found is None or value != value.to_integral_value() or abs(value) >= Decimal(10) ** 18:
        raise ValueError(f"{text!r} is not a whole number; write it in digits only")
    n_decimals = len(found[2] or "")
    if n_decimals > _MOST_DECIMALS and int(found[3]) > n_decimals:
        raise ValueError(f"{text!r} may have been rounded; write all of its digits")
    return int(value)


def _key(name: str) -> str:
    """Letters and digits of a name in lower case: R and MATLAB replace everything else in names of columns."""
    is_split = not set(name) & set(_DELIMITERS)  # otherwise this is a whole header, or a part of one
    return "".join(filter(str.isalnum, name.casefold())) if is_split else name
