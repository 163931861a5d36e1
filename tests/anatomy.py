"""Where everything stands in a good TIFF file, so that it can be damaged on purpose.

Invariant: ranges are of bytes of the file; every byte is in one of them at the most, but for padding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from made_up import COUNTS, OFFSETS

TILE_OFFSETS, TILE_COUNTS = 324, 325
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8, 13: 4, 16: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class Entry:
    """One tag of a directory.

    Attributes
    ----------
    tag, kind
        Its number, and the number of its type.
    whole
        All of the entry; the tag's number comes first.
    count
        Where the number of its values stands.
    values
        Where its values are: in the entry, or elsewhere.
    """

    tag: int
    kind: int
    whole: range
    count: range
    values: range

    @property
    def is_inside(self) -> bool:
        """Whether the values are in the entry itself."""
        return self.values.start in self.whole


@dataclass(frozen=True)
class Anatomy:
    """The parts of a file.

    Attributes
    ----------
    order
        ``<`` or ``>``.
    header
        The beginning, with the pointer to the first directory.
    pages
        The entries of the directory of each page.
    pointers
        Where the pointer to the next directory stands in each of them.
    segments
        The strips or tiles of all pages.
    """

    order: str
    header: range
    pages: tuple[tuple[Entry, ...], ...]
    pointers: tuple[range, ...]
    segments: tuple[range, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of all pages."""
        return tuple(entry for page in self.pages for entry in page)

    @property
    def directories(self) -> tuple[range, ...]:
        """All entries, and the pointers behind them."""
        return (*(entry.whole for entry in self.entries), *self.pointers)

    @property
    def values(self) -> tuple[range, ...]:
        """Values that are not inside of their entries; of small files there may be none."""
        return tuple(entry.values for entry in self.entries if not entry.is_inside)

    def numbers(self, data: bytes, entry: Entry) -> list[int]:
        """Read the values of a tag."""
        code = _CODES[entry.kind]
        n_values = len(entry.values) // struct.calcsize(code)
        return list(struct.unpack_from(f"{self.order}{n_values}{code}", data, entry.values.start))

    def packed(self, entry: Entry, numbers: list[int]) -> bytes:
        """Return numbers as the values of a tag; those that are too large for its type are cut."""
        code = _CODES[entry.kind]
        most = 2 ** (8 * struct.calcsize(code))
        return struct.pack(f"{self.order}{len(numbers)}{code}", *(number % most for number in numbers))


def dissect(data: bytes) -> Anatomy:
    """Find the parts of a good file, classic or BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset, count_code = ("Q", "Q") if is_big else ("I", "H")
    size = struct.calcsize(offset)
    header = range(16 if is_big else 8)
    pages, pointers, pointer = [], [], header.stop - size
    while at := struct.unpack_from(order + offset, data, pointer)[0]:
        n_entries = struct.unpack_from(order + count_code, data, at)[0]
        first = at + struct.calcsize(order + count_code)
        width = 4 + 2 * size
        pages.append(tuple(_entry(data, order, first + n * width, offset) for n in range(n_entries)))
        pointer = first + n_entries * width
        pointers.append(range(pointer, pointer + size))
    found = Anatomy(order, header, tuple(pages), tuple(pointers), ())
    return Anatomy(order, header, found.pages, found.pointers, _segments(data, found))


def _entry(data: bytes, order: str, at: int, offset: str) -> Entry:
    size = struct.calcsize(offset)
    tag, kind, count, elsewhere = struct.unpack_from(f"{order}HH{offset}{offset}", data, at)
    n_bytes = count * _SIZES[kind]
    begin = at + 4 + size if n_bytes <= size else elsewhere
    return Entry(tag, kind, range(at, at + 4 + 2 * size), range(at + 4, at + 4 + size), range(begin, begin + n_bytes))


def _segments(data: bytes, found: Anatomy) -> tuple[range, ...]:
    segments = []
    for page in found.pages:
        by_tag = {entry.tag: entry for entry in page}
        starts = found.numbers(data, by_tag.get(OFFSETS) or by_tag[TILE_OFFSETS])
        sizes = found.numbers(data, by_tag.get(COUNTS) or by_tag[TILE_COUNTS])
        segments += [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
    return tuple(segments)
