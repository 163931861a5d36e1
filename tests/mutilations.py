"""What can happen to a TIFF file: a table of ways to damage one, and good files to damage.

Invariant: the same numbers from `random` give the same damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from random import Random

import numpy as np
import tifffile

from anatomy import TILE_COUNTS, TILE_OFFSETS, Anatomy, dissect
from made_up import (
    BITS,
    COMPRESSION,
    COUNTS,
    DEFLATE,
    FLAVOURS,
    HEIGHT,
    LZW,
    NONE,
    OFFSETS,
    PACKBITS,
    PHOTOMETRIC,
    PREDICTOR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    WIDTH,
    Array,
    tiff_bytes,
)

Mutilation = Callable[[bytes, Anatomy, Random], bytes]

N_PLANES = 3
_SHAPE = (72, 20)
"""More rows than a strip may have of which rows are read, so that some planes can only be decoded as a whole."""
_SECTOR = 512
_DTYPES = ("uint16", "uint8", "uint32", "float32")
_ABSURD = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
_OTHER_COMPRESSIONS = (NONE, LZW, DEFLATE, PACKBITS, 2, 4, 7, 34712, 34887, 50000, 50001, 65000)
_OTHER_VALUES = {
    COMPRESSION: _OTHER_COMPRESSIONS,
    PHOTOMETRIC: (0, 2, 3, 4, 5, 6, 8, 32803),
    PREDICTOR: (0, 1, 2, 3, 34892),
    SAMPLE_FORMAT: (0, 1, 2, 3, 4, 5, 6),
    BITS: (1, 4, 7, 8, 12, 16, 24, 32, 64),
    SAMPLES: (0, 2, 3, 4),
}
_DISPENSABLE = (PHOTOMETRIC, SAMPLES, ROWS_PER_STRIP, PREDICTOR, SAMPLE_FORMAT)
_MORE_TAGS = {
    254: (1, 2, 4),  # NewSubfileType
    266: (0, 2, 3),  # FillOrder
    274: (0, 3, 5, 9),  # Orientation
    284: (0, 2, 3),  # PlanarConfiguration
    322: (0, 16, 20, 2**16 - 1),  # TileWidth
    323: (0, 16, 72, 2**16 - 1),  # TileLength
    324: (0, 8, 1000),  # TileOffsets
    325: (0, 8, 1000),  # TileByteCounts
    330: (0, 8, 1000),  # SubIFDs
    338: (0, 1, 2),  # ExtraSamples
    347: (0, 8),  # JPEGTables
    32997: (0, 1, 2, 1000),  # ImageDepth
    32998: (0, 1, 2, 1000),  # TileDepth
}
_LENGTHS = (WIDTH, HEIGHT, ROWS_PER_STRIP, 322, 323)
_TABLES = frozenset({OFFSETS, COUNTS, TILE_OFFSETS, TILE_COUNTS})

_TILED = {"tiles": None, "tiles-deflate": "zlib", "tiles-lzw": "lzw"}
WHOLE = (*FLAVOURS, *_TILED)
"""Names of the ways in which good files are written."""


def good_planes(chance: Random) -> Array:
    """Make a volume that compresses, of a type by chance, without a 0 in it: zeros that fill gaps are found out."""
    z, y, x = np.indices((N_PLANES, *_SHAPE))
    ramps: Array = 1 + z * 50 + y + x // 3 + chance.randrange(50)
    return ramps.astype(chance.choice(_DTYPES))


def good_bytes(name: str, planes: Array) -> bytes:
    """Write planes as a good file; floats without a predictor, because there is another one for them."""
    if name not in _TILED:
        without = planes.dtype.kind == "f" and FLAVOURS[name].predictor
        return tiff_bytes(planes, FLAVOURS["deflate-strips" if without else name])
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for plane in planes:
            writer.write(plane, tile=(32, 16), compression=_TILED[name], metadata=None, photometric="minisblack")
    return file.getvalue()


def mutilate(kind: str, data: bytes, chance: Random) -> bytes:
    """Damage a good file in one of the ways of `KINDS`."""
    return KINDS[kind](data, dissect(data), chance)


def _written(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _somewhere(ranges: Sequence[range], chance: Random) -> int:
    return chance.choice(chance.choice([some for some in ranges if some]))


def _cut_in(ranges: Callable[[Anatomy], Sequence[range]]) -> Mutilation:
    return lambda data, anatomy, chance: data[: _somewhere(ranges(anatomy) or anatomy.directories, chance)]


def _flip_in(ranges: Callable[[Anatomy], Sequence[range]]) -> Mutilation:
    """Flip one bit, or change a whole byte, or a few of them."""

    def flip(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            at = _somewhere(ranges(anatomy) or anatomy.directories, chance)
            change = 1 << chance.randrange(8) if chance.random() < 0.7 else chance.randrange(1, 256)
            data = _written(data, at, bytes([data[at] ^ change]))
        return data

    return flip


def _header(anatomy: Anatomy) -> Sequence[range]:
    return (anatomy.header,)


def _tables(anatomy: Anatomy) -> Sequence[range]:
    return [entry.values for entry in anatomy.entries if entry.tag in _TABLES]


def _zero_tables(tags: frozenset[int]) -> Mutilation:
    """Zero the tables of strips or tiles of one page or all, wholly or one number of it."""

    def zero(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
        pages = anatomy.pages if chance.random() < 0.5 else [chance.choice(anatomy.pages)]
        for entry in (entry for page in pages for entry in page if entry.tag in tags):
            numbers = anatomy.numbers(data, entry)
            if chance.random() < 0.5:
                numbers = [0] * len(numbers)
            numbers[chance.randrange(len(numbers))] = 0
            data = _written(data, entry.values.start, anatomy.packed(entry, numbers))
        return data

    return zero


def _swap_segments(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let two numbers of one table change places."""
    entry = chance.choice([entry for entry in anatomy.entries if entry.tag in _TABLES])
    numbers = anatomy.numbers(data, entry)
    one, other = chance.randrange(len(numbers)), chance.randrange(len(numbers))
    numbers[one], numbers[other] = numbers[other], numbers[one]
    return _written(data, entry.values.start, anatomy.packed(entry, numbers))


def _circle(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let a page be followed by one that was there before."""
    pointers = [range(anatomy.header.stop - len(anatomy.pointers[0]), anatomy.header.stop), *anatomy.pointers]
    page = chance.randrange(1, len(pointers))
    target = pointers[chance.randrange(page)]
    return _written(data, pointers[page].start, data[target.start : target.stop])


def _wrong_number(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let a size be absurd, or only a little wrong."""
    entry = chance.choice([entry for entry in anatomy.entries if entry.tag in _LENGTHS])
    right = anatomy.numbers(data, entry)[0]
    numbers = (*_ABSURD, right - 1, right + 1, right * 2, right // 2, right * 1000)
    return _written(data, entry.values.start, anatomy.packed(entry, [chance.choice(numbers)]))


def _other_value(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let a tag that decides how pixels are understood have another value that exists."""
    entry = chance.choice([entry for entry in anatomy.entries if entry.tag in _OTHER_VALUES])
    return _written(data, entry.values.start, anatomy.packed(entry, [chance.choice(_OTHER_VALUES[entry.tag])]))


def _wrong_count(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let a tag have another number of values than it has."""
    entry = chance.choice(anatomy.entries)
    size = len(entry.count)
    number = chance.choice(_ABSURD) % 2 ** (8 * size)
    return _written(data, entry.count.start, number.to_bytes(size, "little" if anatomy.order == "<" else "big"))


def _swap_tags(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let two entries of a page change places, numbers, or values."""
    one, other = chance.sample(chance.choice(anatomy.pages), 2)
    begin, end = chance.choice(((0, 2), (2, 4), (4, len(one.whole)), (0, len(one.whole))))
    first, second = (data[entry.whole.start + begin : entry.whole.start + end] for entry in (one, other))
    return _written(_written(data, one.whole.start + begin, second), other.whole.start + begin, first)


def _without_tag(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let a tag be one that nobody knows."""
    at = chance.choice(anatomy.entries).whole.start
    return _written(data, at, (60000).to_bytes(2, "little" if anatomy.order == "<" else "big"))


def _with_tag(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let there be a tag that was not there, in the place of one that says what is usual anyway."""
    entry = chance.choice([entry for entry in anatomy.entries if entry.tag in _DISPENSABLE])
    tag = chance.choice([*_MORE_TAGS])
    data = _written(data, entry.values.start, anatomy.packed(entry, [chance.choice(_MORE_TAGS[tag])]))
    return _written(data, entry.whole.start, tag.to_bytes(2, "little" if anatomy.order == "<" else "big"))


def _zero_sectors(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    """Let some sectors be empty, as after a crash."""
    del anatomy
    first = chance.randrange(0, len(data), _SECTOR)
    stop = min(first + _SECTOR * chance.choice((1, 2, 1000)), len(data))
    return _written(data, first, bytes(stop - first))


def _without_piece(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    del anatomy
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 2, 16, _SECTOR)) :]


def _twice_a_piece(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    del anatomy
    at = chance.randrange(len(data))
    return data[: at + chance.choice((1, 2, 16, _SECTOR))] + data[at:]


def _no_tiff(data: bytes, anatomy: Anatomy, chance: Random) -> bytes:
    del anatomy
    return chance.choice(
        (b"", data[:2], b"Thumbnail of slice 4\n" * 40, b"<html>404</html>", chance.randbytes(4096), b"II*\0" * 100)
    )


KINDS: dict[str, Mutilation] = {
    "empty, text, noise": _no_tiff,
    "cut off in the header": _cut_in(_header),
    "cut off in a directory": _cut_in(lambda anatomy: anatomy.directories),
    "cut off in the values of tags": _cut_in(lambda anatomy: anatomy.values),
    "cut off in the pixels": _cut_in(lambda anatomy: anatomy.segments),
    "last byte missing": lambda data, anatomy, chance: data[:-1],  # noqa: ARG005 (there is only one way)
    "a piece missing": _without_piece,
    "a piece twice": _twice_a_piece,
    "line ends changed as in text": lambda data, anatomy, chance: data.replace(b"\n", b"\r\n"),  # noqa: ARG005
    "sectors empty": _zero_sectors,
    "bits or bytes changed in the header": _flip_in(_header),
    "bits or bytes changed in directories": _flip_in(lambda anatomy: anatomy.directories),
    "bits or bytes changed in strip tables": _flip_in(_tables),
    "bits or bytes changed in the pixels": _flip_in(lambda anatomy: anatomy.segments),
    "strip offsets zeroed": _zero_tables(frozenset({OFFSETS, TILE_OFFSETS})),
    "strip byte counts zeroed": _zero_tables(frozenset({COUNTS, TILE_COUNTS})),
    "both strip tables zeroed": _zero_tables(_TABLES),
    "strips changed places": _swap_segments,
    "pages in a circle": _circle,
    "sizes absurd or a little wrong": _wrong_number,
    "another meaning of the pixels": _other_value,
    "another number of values": _wrong_count,
    "tags swapped": _swap_tags,
    "a tag missing": _without_tag,
    "a tag that was not there": _with_tag,
}


def damages(n: int, seed: int, kinds: Sequence[str] = ()) -> Iterator[tuple[str, Random]]:
    """Yield so many kinds of damage, all of them equally often, each with numbers of its own."""
    names = list(kinds or KINDS)
    for number in range(n):
        yield names[number % len(names)], Random(f"{seed}.{number}")
