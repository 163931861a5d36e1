"""Small made-up volumes, and TIFF files written byte by byte in every flavour that a source may come in.

Invariant: TIFF files are written here without tifffile, so a test that reads them back compares two independent
views of the TIFF 6.0 and BigTIFF specifications.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from catnip2bids.ome import OmeZarrImage, levels
from catnip2bids.ome.ome_zarr import UnitWriter
from catnip2bids.volume import Inspection, Volume, read_planes

Array = npt.NDArray[Any]

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
"""Data of the project's workshop; absent elsewhere, and tests that use it are skipped there."""


NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 5, 8, 32773, 32946
"""Values of the tag Compression."""

_ENCODERS: Mapping[int, Callable[[bytes], bytes]] = {
    NONE: lambda data: data,
    LZW: lambda data: bytes(imagecodecs.lzw_encode(data)),
    DEFLATE: zlib.compress,
    PACKBITS: lambda data: bytes(imagecodecs.packbits_encode(data)),
    OLD_DEFLATE: zlib.compress,
}

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS, PREDICTOR, SAMPLE_FORMAT = 273, 277, 278, 279, 317, 339
_SHORT, _LONG, _LONG8 = 3, 4, 16
_FORMATS = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}


@dataclass(frozen=True)
class Flavour:
    """One of the many ways to write the same pixels.

    Attributes
    ----------
    compression
        Value of the tag.
    rows_per_strip
        Rows of a strip; None for a single strip.
    big_endian, big_tiff
        Byte order, and whether offsets have 64 bits.
    predictor
        Whether rows are stored as horizontal differences.
    directory_first
        Whether a page's directory stands before its pixels; MATLAB and libtiff write it behind them.
    """

    compression: int = NONE
    rows_per_strip: int | None = None
    big_endian: bool = False
    big_tiff: bool = False
    predictor: bool = False
    directory_first: bool = False

    @property
    def order(self) -> Literal["<", ">"]:
        """The byte order in the notation of struct and numpy."""
        return ">" if self.big_endian else "<"

    @property
    def offset(self) -> Literal["I", "Q"]:
        """Format of an offset in the file."""
        return "Q" if self.big_tiff else "I"

    @property
    def entry_count(self) -> Literal["H", "Q"]:
        """Format of the number of entries of a directory."""
        return "Q" if self.big_tiff else "H"


FLAVOURS: dict[str, Flavour] = {
    "plain": Flavour(),
    "strips": Flavour(rows_per_strip=3),
    "big-endian": Flavour(big_endian=True, rows_per_strip=5),
    "deflate": Flavour(DEFLATE),
    "deflate-strips": Flavour(DEFLATE, rows_per_strip=4),
    "deflate-row-per-strip": Flavour(DEFLATE, rows_per_strip=1),
    "deflate-predictor": Flavour(DEFLATE, rows_per_strip=4, predictor=True),
    "old-deflate": Flavour(OLD_DEFLATE, rows_per_strip=4),
    "packbits": Flavour(PACKBITS, rows_per_strip=6),
    "lzw": Flavour(LZW, rows_per_strip=7),
    "bigtiff": Flavour(DEFLATE, rows_per_strip=1, big_tiff=True),
    "bigtiff-big-endian": Flavour(big_endian=True, big_tiff=True),
    "directory-first": Flavour(DEFLATE, rows_per_strip=4, directory_first=True),
}


def some_image(shape: tuple[int, int, int], dtype: npt.DTypeLike = "uint16", seed: int = 0) -> Array:
    """Make noise over the whole range of a type; every plane differs from every other."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    if dtype.kind == "f":
        return (rng.standard_normal(shape) * 1000).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def some_labels(shape: tuple[int, int, int], dtype: npt.DTypeLike = "uint16", seed: int = 0) -> Array:
    """Make blocks of labels around a background of 0, as in an atlas."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(np.array([0, 0, 1, 7, 97, 249], dtype), tuple(n // 6 + 1 for n in shape))
    blocks = coarse.repeat(6, 0).repeat(6, 1).repeat(6, 2)
    return np.ascontiguousarray(blocks[: shape[0], : shape[1], : shape[2]])


THREE_UNITS = (2 * 128 + 88, 300, 140)
"""A volume of three units, each of two times three blocks, where `small_units` is used."""


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks and units so small that small volumes of 2 bytes a voxel have several of each."""
    make_small_units(monkeypatch)


def make_small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what `small_units` does, for fixtures of a module."""
    monkeypatch.setattr(levels, "USUAL_BLOCK_BYTES", 64 * 100 * 140 * 2)
    monkeypatch.setattr(levels, "SMALLEST_BLOCK_BYTES", 1)
    monkeypatch.setattr(levels, "SMALLEST_SHARD_BYTES", 1)
    monkeypatch.setattr(levels, "SMALLEST_UNIT_BYTES", 128 * 300 * 140 * 2)


def count_unpackings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list to which each gzip file is added whenever it is opened."""
    opened: list[Path] = []
    unpack = gzip.open

    def counting(path: Path) -> gzip.GzipFile:
        opened.append(path)
        return unpack(path)

    monkeypatch.setattr(gzip, "open", counting)
    return opened


def write_unit(image: OmeZarrImage, start: int, planes: Array) -> None:
    """Write the planes of one unit, block by block."""
    depth, n_rows, _ = image.block_shape
    with ThreadPoolExecutor(2) as threads:
        writer = UnitWriter(image, threads, 2)
        for z in range(0, planes.shape[0], depth):
            for y in range(0, planes.shape[1], n_rows):
                writer.put((start + z, y, 0), planes[z : z + depth, y : y + n_rows])
        writer.finish()


def smooth_plane(shape: tuple[int, int] = (18, 14), dtype: npt.DTypeLike = "uint16") -> Array:
    """Make a ramp that compresses, without a 0 in it: a reader that fills gaps with zeros is found out."""
    y, x = np.indices(shape)
    return (1 + y * 7 + x // 3).astype(dtype)


def tiff_bytes(planes: Iterable[Array], flavour: Flavour, tags: Mapping[int, Sequence[int]] | None = None) -> bytes:
    """Write planes (y, x) as the pages of a TIFF file.

    Parameters
    ----------
    planes
        The pages; they may differ in shape and dtype.
    flavour
        How.
    tags
        Values that stand in the file instead of the right ones, to make damaged files.
    """
    order = flavour.order
    version = struct.pack(order + "HHH", 43, 8, 0) if flavour.big_tiff else struct.pack(order + "H", 42)
    file = bytearray((b"MM" if flavour.big_endian else b"II") + version)
    pointer = len(file)
    file += struct.pack(order + flavour.offset, 0)
    for plane in planes:
        pointer = _append_page(file, pointer, plane, flavour, tags or {})
    return bytes(file)


def write_tiff(
    path: Path,
    planes: Array | Sequence[Array],
    flavour: Flavour | None = None,
    tags: Mapping[int, Sequence[int]] | None = None,
) -> Path:
    """Write planes as the pages of one file; makes its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiff_bytes(planes, flavour or Flavour(), tags))
    return path


def write_slices(
    folder: Path,
    volume: Array,
    names: str | Sequence[str] = "Z{plane:04d}.tif",
    flavour: Flavour | None = None,
) -> list[Path]:
    """Write a volume (z, y, x) as slice files, in the order of z.

    Parameters
    ----------
    folder
        Made if need be.
    volume
        The pixels.
    names
        One name for each plane, or a pattern for ``plane`` counted from 1.
    flavour
        How the files are encoded.
    """
    if isinstance(names, str):
        names = [names.format(plane=number) for number in range(1, len(volume) + 1)]
    return [write_tiff(folder / name, [plane], flavour) for name, plane in zip(names, volume, strict=True)]


def page_pointers(data: bytes | bytearray, flavour: Flavour) -> list[int]:
    """Find where the pointers to the pages stand, and the empty one at the end."""
    order, pointer = flavour.order, 8 if flavour.big_tiff else 4
    pointers = [pointer]
    while (at := struct.unpack_from(order + flavour.offset, data, pointer)[0]) != 0:
        n_entries = struct.unpack_from(order + flavour.entry_count, data, at)[0]
        size = struct.calcsize(order + flavour.entry_count) + n_entries * (4 + 2 * struct.calcsize(flavour.offset))
        pointer = at + size
        pointers.append(pointer)
    return pointers


def with_loop(data: bytes, flavour: Flavour, back_to: int) -> bytes:
    """Let the last page be followed by page `back_to` (from 0)."""
    pointers, file = page_pointers(data, flavour), bytearray(data)
    target = struct.unpack_from(flavour.order + flavour.offset, data, pointers[back_to])[0]
    struct.pack_into(flavour.order + flavour.offset, file, pointers[-1], target)
    return bytes(file)


def read_all(volume: Volume) -> Array:
    """Read all planes of a volume."""
    planes = np.empty(volume.shape, volume.dtype)
    read_planes(volume, 0, volume.shape[0], planes)
    return planes


def found(census: Inspection) -> Volume:
    """Return the volume of a census that has nothing to complain about."""
    assert census.problems == ()
    assert census.volume is not None
    return census.volume


def the_problem(census: Inspection) -> str:
    """Return the problem of a census that has just one, and no volume."""
    assert census.volume is None
    assert len(census.problems) == 1, census.problems
    return census.problems[0]


def _append_page(
    file: bytearray, pointer: int, plane: Array, flavour: Flavour, tags: Mapping[int, Sequence[int]]
) -> int:
    """Append a page, let the pointer at `pointer` lead to it, and return where the next pointer stands."""
    strips, rows = _strips(plane, flavour)
    right: dict[int, tuple[int, Sequence[int]]] = {
        WIDTH: (_LONG, [plane.shape[1]]),
        HEIGHT: (_LONG, [plane.shape[0]]),
        BITS: (_SHORT, [plane.itemsize * 8]),
        COMPRESSION: (_SHORT, [flavour.compression]),
        PHOTOMETRIC: (_SHORT, [1]),
        OFFSETS: (_LONG8 if flavour.big_tiff else _LONG, [0] * len(strips)),
        SAMPLES: (_SHORT, [1]),
        ROWS_PER_STRIP: (_LONG, [rows]),
        COUNTS: (_LONG, [len(strip) for strip in strips]),
        PREDICTOR: (_SHORT, [2 if flavour.predictor else 1]),
        SAMPLE_FORMAT: (_SHORT, [{"u": 1, "i": 2, "f": 3}[plane.dtype.kind]]),
    }

    def directory(at: int, strips_at: int) -> tuple[bytes, int]:
        starts = np.cumsum([strips_at] + [len(strip) for strip in strips[:-1]]).tolist()
        entries = {**right, OFFSETS: (right[OFFSETS][0], starts)}
        wrong = {tag: (entries.get(tag, (_SHORT, ()))[0], values) for tag, values in tags.items()}
        return _directory({**entries, **wrong}, at, flavour)

    file += bytes(len(file) % 2)
    n_strip_bytes = sum(len(strip) for strip in strips)
    if flavour.directory_first:
        at = len(file)
        n_directory_bytes = len(directory(at, 0)[0])
        content, next_pointer = directory(at, at + n_directory_bytes)
        file += content + b"".join(strips)
    else:
        at = len(file) + n_strip_bytes + n_strip_bytes % 2
        content, next_pointer = directory(at, len(file))
        file += b"".join(strips) + bytes(n_strip_bytes % 2) + content
    struct.pack_into(flavour.order + flavour.offset, file, pointer, at)
    return next_pointer


def _strips(plane: Array, flavour: Flavour) -> tuple[list[bytes], int]:
    """Encode the strips of a plane; returns them and how many rows each has."""
    rows = flavour.rows_per_strip or plane.shape[0]
    if flavour.predictor:
        plane = np.concatenate([plane[:, :1], np.diff(plane, axis=1)], axis=1)
    stored = plane.astype(plane.dtype.newbyteorder(flavour.order))
    encode = _ENCODERS[flavour.compression]
    strips = [stored[first : first + rows] for first in range(0, plane.shape[0], rows)]
    if flavour.compression == PACKBITS:  # each row by itself (TIFF 6.0, section 9)
        return [b"".join(encode(row.tobytes()) for row in strip) for strip in strips], rows
    return [encode(strip.tobytes()) for strip in strips], rows


def _directory(entries: Mapping[int, tuple[int, Sequence[int]]], at: int, flavour: Flavour) -> tuple[bytes, int]:
    """Write an image file directory that stands at `at`; returns it and where its next pointer stands."""
    order, inline = flavour.order, struct.calcsize(flavour.offset)
    n_table_bytes = struct.calcsize(order + flavour.entry_count) + len(entries) * (4 + 2 * inline) + inline
    table, behind = bytearray(struct.pack(order + flavour.entry_count, len(entries))), bytearray()
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values)
        table += struct.pack(f"{order}HH{flavour.offset}", tag, kind, len(values))
        if len(packed) > inline:
            table += struct.pack(order + flavour.offset, at + n_table_bytes + len(behind))
            behind += packed + bytes(len(packed) % 2)
        else:
            table += packed.ljust(inline, b"\0")
    next_pointer = at + len(table)
    return bytes(table + bytes(inline) + behind), next_pointer
