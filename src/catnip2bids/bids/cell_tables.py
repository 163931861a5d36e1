"""Tables of cells: gzipped TSV, one row per cell, which are written and read in blocks of rows.

Invariant: a table holds the cells of one segmentation of one sample, however many they are, and is never in memory as a
whole. The same cells give the same bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.bids.dataset_paths import CELLS_ENDING
from catnip2bids.bids.tables import UNKNOWN, encode_value
from catnip2bids.documents import open_gzip
from catnip2bids.errors import DatasetError, reason_of

_PLACE: Final = ("z", "y", "x", "z_um", "y_um", "x_um", "volume_voxels", "volume_um3")
CELLS_COLUMNS: Final = (*_PLACE, "index", "name", "proven")
UNCOUNTED_COLUMNS: Final = (*_PLACE, "reason")
_TYPES: Final = {"z": "f8", "y": "f8", "x": "f8", "volume_voxels": "i8", "index": "i8", "proven": "U6", "reason": "U64"}
"""Types of the columns that are read; the others follow from them."""
_BLOCK_ROWS: Final = 2**16
_MOST_LINE_BYTES: Final = 2**12
_GZIP_LEVEL: Final = 1  # level 6 takes four times as long, for tables that are a tenth smaller
_TRUTH: Final = ("false", "true")
_FILLING: Final = b"\xff"
"""Fills up texts to the length of the longest one of a column, and is not written; UTF-8 never contains it."""
_MOST_FILLED_BYTES: Final = 2**22
"""Most bytes of rows that are filled up at once: each row takes the space of the longest name."""
_TOO_LARGE: Final = 1e13
"""Of places, in voxels or micrometers."""


@dataclass(frozen=True)
class CellBlock:
    """Some rows of a table of cells."""

    centres: npt.NDArray[np.float64]  # (z, y, x) in voxels of the image from 0, (n, 3)
    volumes_voxels: npt.NDArray[np.int64]  # (n,)
    regions: npt.NDArray[np.int64]  # label value of the region that counts the cell, (n,); 0 in a table of uncounted
    proven: npt.NDArray[np.bool_]  # whether the count of that region is CATNIP's own, (n,)
    reasons: tuple[str, ...] = ()  # why no region counts the cells, in a table of uncounted ones

    def __len__(self) -> int:
        return len(self.regions)


def encode_header(columns: tuple[str, ...]) -> bytes:
    """Return the beginning of a table; blocks follow as gzip members of their own."""
    return _compressed(("\t".join(columns) + "\n").encode())


def encode_cells(block: CellBlock, voxel_size_um: tuple[float, float, float], names: Mapping[int, str]) -> bytes:
    """Return the rows of a block; `voxel_size_um` is (z, y, x), and `names` are those of regions by label value."""
    volume_um3 = float(np.prod(voxel_size_um))
    volumes, volume_at = np.unique(block.volumes_voxels, return_inverse=True)
    sizes = _filled([f"{n}\t{n * volume_um3:.6g}\t" for n in volumes.tolist()])
    ends, end_at = _last_columns(block, names)
    tab = np.full((len(block), 1), ord("\t"), np.uint8)
    numbers = [_decimals(axis) for axis in (*block.centres.T, *(block.centres * voxel_size_um).T)]
    columns = np.concatenate([part for column in numbers for part in (column, tab)], axis=1)
    n_rows = max(_MOST_FILLED_BYTES // (columns.shape[1] + sizes.shape[1] + ends.shape[1]), 1)
    text = bytearray()
    for start in range(0, len(block), n_rows):
        part = slice(start, start + n_rows)
        rows = np.concatenate([columns[part], sizes[volume_at[part]], ends[end_at[part]]], axis=1)
        text += rows.tobytes().translate(None, delete=_FILLING)
    return _compressed(text)


def _last_columns(
    block: CellBlock, names: Mapping[int, str]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]:
    """Return the texts that follow the numbers, filled up, and which of them each row has."""
    if block.reasons:
        at = {reason: index for index, reason in enumerate(dict.fromkeys(block.reasons))}
        return _filled([f"{reason}\n" for reason in at]), np.array([at[reason] for reason in block.reasons])
    regions, which = np.unique(block.regions, return_inverse=True)
    named = [f"{index}\t{encode_value(names.get(index, UNKNOWN))}" for index in regions.tolist()]
    return _filled([f"{region}\t{proven}\n" for region in named for proven in _TRUTH]), 2 * which + block.proven


def _filled(texts: list[str]) -> npt.NDArray[np.uint8]:
    """Return texts as characters, filled up to the same length, (n, length)."""
    encoded = [text.encode() for text in texts]
    length = max(map(len, encoded), default=0)
    filled = b"".join(text.ljust(length, _FILLING) for text in encoded)
    return np.frombuffer(filled, np.uint8).reshape(len(texts), length)


def _decimals(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Write numbers with two decimals as characters, filled up to the same length, (n, length)."""
    if not (np.abs(values) < _TOO_LARGE).all():
        raise ValueError(f"not all places are numbers below {_TOO_LARGE:.0g}")
    hundredths = np.rint(values * 100)
    # NumPy divides short integers twice as fast
    hundredths = hundredths.astype(np.int32 if (np.abs(hundredths) < 2**31).all() else np.int64)
    rest = np.abs(hundredths)
    digits: list[npt.NDArray[np.uint8]] = []
    filling = np.uint8(ord(_FILLING))
    while len(digits) < 3 or rest.any():
        tens = rest // 10
        digit = (rest - tens * 10 + ord("0")).astype(np.uint8)
        digits.append(digit if len(digits) < 3 else np.where(rest, digit, filling))
        rest = tens
    digits.insert(2, np.full(len(values), ord("."), np.uint8))
    digits.append(np.where(hundredths < 0, np.uint8(ord("-")), filling))
    return np.stack(digits[::-1], axis=1)


def read_cells(path: Path) -> Iterator[CellBlock]:
    """Read a table of cells, counted or not, block by block.

    Raises DatasetError if the file cannot be read or is not such a table.
    """
    columns = CELLS_COLUMNS if path.name.endswith(CELLS_ENDING) else UNCOUNTED_COLUMNS
    try:
        with open_gzip(path) as file:
            header = file.readline(_MOST_LINE_BYTES)
            if header.decode().rstrip("\r\n").split("\t") != list(columns):
                raise ValueError(f"its columns are not {' '.join(columns)}")
            while lines := list(islice(iter(lambda: file.readline(_MOST_LINE_BYTES), b""), _BLOCK_ROWS)):
                yield _block(lines, columns)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        what = f"cannot be read ({reason_of(error)})"
        raise DatasetError(f"{path}: {what}; bring it back from a copy, or package again") from error


def _block(lines: list[bytes], columns: tuple[str, ...]) -> CellBlock:
    n_fields = next((n for line in lines if (n := line.count(b"\t") + 1) != len(columns)), len(columns))
    if n_fields != len(columns):
        raise ValueError(f"a line has {n_fields} fields and not {len(columns)}")
    dtype = [(column, _TYPES[column]) for column in columns if column in _TYPES]
    places = [at for at, column in enumerate(columns) if column in _TYPES]
    rows = np.loadtxt(lines, dtype, delimiter="\t", comments=None, usecols=places, ndmin=1, encoding="utf-8")
    centres, volumes = np.stack([rows[axis] for axis in "zyx"], axis=1), rows["volume_voxels"]
    if not (np.isfinite(centres).all() and (volumes > 0).all()):
        raise ValueError("a cell has no place or no volume")
    if columns == UNCOUNTED_COLUMNS:
        nothing = np.zeros(len(rows), np.int64)
        return CellBlock(centres, volumes, nothing, nothing.astype(bool), tuple(rows["reason"].tolist()))
    if not np.isin(rows["proven"], _TRUTH).all():
        raise ValueError(f"proven is not {' or '.join(_TRUTH)}")
    return CellBlock(centres, volumes, rows["index"], rows["proven"] == _TRUTH[True])


def _compressed(text: bytes | bytearray) -> bytes:
    return bytes(imagecodecs.gzip_encode(text, _GZIP_LEVEL))
