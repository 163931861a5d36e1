"""An OME-TIFF image under construction: what is copied, what is encoded, and the lower levels of each plane.

Invariant: level 0 holds the values that were read. Segments of the source are taken over as they are wherever all
planes agree in how they are stored; a lower level halves rows and columns of the one before it, by the rule of the
image's kind, and never planes: in OME-TIFF all levels have the same planes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids.enums import Compression, Kind
from catnip2bids.ome.downsampling import downsample
from catnip2bids.ome.levels import LARGEST_LAST_LEVEL
from catnip2bids.ome.ome_xml import OmeXmlFields, ome_xml
from catnip2bids.ome.tiff_directory import EncodedImage, SegmentFormat, TiffFormat
from catnip2bids.volume import EncodedPlane, Encoding, FileRange

Array = npt.NDArray[Any]

_STRIP_BYTES = 256 * 2**10
_TABLE_BYTES = 4 * 2**20
"""Where the segments of a plane are, if each of some ten thousand rows is one."""
_TILE = (256, 256)
_LEVEL = 6
_HALVED = (1, 2, 2)
_DEFLATE, _NONE = int(tifffile.COMPRESSION.ADOBE_DEFLATE), int(tifffile.COMPRESSION.NONE)
_NO_PREDICTOR, _HORIZONTAL = int(tifffile.PREDICTOR.NONE), int(tifffile.PREDICTOR.HORIZONTAL)
_LARGEST_DIFFERENCE_BYTES = 4
_NAMES = {
    _NONE: "uncompressed",
    int(tifffile.COMPRESSION.LZW): "LZW",
    _DEFLATE: "Deflate",
    int(tifffile.COMPRESSION.PACKBITS): "PackBits",
    int(tifffile.COMPRESSION.ZSTD): "Zstandard",
}


@dataclass(frozen=True)
class OmeTiffImage:
    """An OME-TIFF.

    Attributes
    ----------
    file
        The file to write, usually under a temporary name.
    described
        What its OME-XML says.
    kind
        Decides how voxels are merged.
    encoding
        How the source is stored, if all of its planes agree; else None.
    big
        Whether it is a BigTIFF; if not, it has less than 4 GiB.
    compression
        How pixels are to be compressed.
    pyramid
        Whether planes have lower levels.
    inspect
        Whether pixels are looked at even if they only need to be copied.
    """

    file: Path
    described: OmeXmlFields
    kind: Kind
    encoding: Encoding | None = None
    big: bool = True
    compression: Compression = Compression.KEEP
    pyramid: bool = False
    inspect: bool = True

    @property
    def copies(self) -> bool:
        """Whether the segments of the source are taken over as they are."""
        if self.encoding is None or self._has_rare_predictor:
            return False
        same = {Compression.KEEP: True, Compression.DEFLATE: _DEFLATE, Compression.NONE: _NONE}[self.compression]
        return same is True or self.encoding.compression == same

    @property
    def looks_at_pixels(self) -> bool:
        """Whether planes are decoded."""
        return self.inspect or self.pyramid or not self.copies

    @property
    def summary(self) -> str:
        """How the pixels get into the file, for people and provenance."""
        name = _NAMES[self.storage.compression]
        if self.copies:
            return f"pixels copied as they are stored ({name})"
        why = ", because Bio-Formats cannot read the predictor of the source" if self._has_rare_predictor else ""
        return f"pixels encoded anew ({name}){why}"

    @property
    def _has_rare_predictor(self) -> bool:
        """Whether Bio-Formats, and so Fiji and QuPath, cannot undo the predictor of the source.

        It knows horizontal differences of up to four bytes only (its ``TiffCompression.undifference``); it does know
        all compressions that are copied, Zstandard included.
        """
        predictor = _NO_PREDICTOR if self.encoding is None else self.encoding.predictor
        n_bytes = np.dtype(self.described.dtype).itemsize
        return predictor != _NO_PREDICTOR and (predictor != _HORIZONTAL or n_bytes > _LARGEST_DIFFERENCE_BYTES)

    @property
    def band_rows(self) -> int:
        """Rows that an encoder takes at a time: whole strips, and an even number if they are halved."""
        row_bytes = self.plane_shape[1] * np.dtype(self.described.dtype).itemsize
        n_rows = self.storage.rows_per_strip if not self.copies else None
        return n_rows or max(_STRIP_BYTES // row_bytes // 2 * 2, 2)

    @property
    def encoded_bytes(self) -> int:
        """Memory that encoding a plane takes: its segments if they are not copied, its lower levels, and tables."""
        n_bytes = math.prod(self.plane_shape) * np.dtype(self.described.dtype).itemsize
        # lower levels are a third of the plane, and there as they are and encoded
        n_planes = (0 if self.copies else 1) + (2 / 3 if self.pyramid else 0)
        return int(1.1 * n_bytes * n_planes) + 2 * _STRIP_BYTES + _TABLE_BYTES

    @property
    def header(self) -> bytes:
        """The beginning of the file."""
        return self._format.header

    def encoder(self) -> TiffPlaneEncoder:
        """Begin to encode a plane."""
        return TiffPlaneEncoder(self)

    def block(self, encoded: list[EncodedImage], plane: int, at: int) -> list[bytes | FileRange]:
        """Return the bytes of a plane, to be written at an offset of the file."""
        is_last = plane == self.described.shape[0] - 1
        return self._format.block(encoded, at, self._xml if plane == 0 else None, is_last=is_last)

    @property
    def level_shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of the levels of a plane."""
        shapes = [self.plane_shape]
        while self.pyramid and max(shapes[-1]) > LARGEST_LAST_LEVEL:
            n_rows, n_columns = shapes[-1]
            shapes.append((math.ceil(n_rows / 2), math.ceil(n_columns / 2)))
        return shapes

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of level 0."""
        return self.described.shape[1:]

    @cached_property
    def _xml(self) -> str:
        return ome_xml(replace(self.described, big_endian=self.byte_order == ">"))

    @cached_property
    def _format(self) -> TiffFormat:
        return TiffFormat(self.big, self.byte_order, self.described.dtype, self.described.voxel_size_um[1:])

    @property
    def byte_order(self) -> Literal["<", ">"]:
        """Byte order of the whole file, which is that of the pixels that are copied."""
        return self.encoding.byte_order if self.copies and self.encoding else "<"

    @cached_property
    def storage(self) -> SegmentFormat:
        """How level 0 is cut and encoded."""
        if self.copies and self.encoding:
            found = self.encoding
            return SegmentFormat(found.compression, found.predictor, found.rows_per_strip, found.tile)
        row_bytes = self.plane_shape[1] * np.dtype(self.described.dtype).itemsize
        n_rows = min(max(_STRIP_BYTES // row_bytes // 2 * 2, 2), self.plane_shape[0])
        return SegmentFormat(_NONE if self.compression == Compression.NONE else _DEFLATE, rows_per_strip=n_rows)


class TiffPlaneEncoder:
    """Encodes one plane, and its lower levels."""

    def __init__(self, image: OmeTiffImage) -> None:
        self._image = image
        self._strips: list[bytes] = []
        self._halved: list[Array] = []

    def take(self, rows: Array) -> None:
        """Take the next rows of the plane."""
        if not self._image.copies:
            self._strips.append(_encoded(rows, self._image.storage.compression, self._image.byte_order))
        if len(self._image.level_shapes) > 1:
            self._halved.append(downsample(rows[np.newaxis], _HALVED, self._image.kind)[0])

    def finish(self, copied: EncodedPlane | None) -> list[EncodedImage]:
        """Return the plane and its lower levels."""
        image = self._image
        if copied is None:
            counts = np.array([len(strip) for strip in self._strips], np.uint64)
            levels = [EncodedImage(image.plane_shape, image.storage, counts, self._strips)]
        else:
            levels = [EncodedImage(image.plane_shape, image.storage, copied.counts, copied.data)]
        pixels = np.concatenate(self._halved) if self._halved else None
        self._halved.clear()
        for shape in image.level_shapes[1:]:
            if pixels is None or pixels.shape != shape:
                raise RuntimeError(f"a level has the shape {None if pixels is None else pixels.shape}, not {shape}")
            levels.append(_tiled(pixels, image.byte_order))
            n_pieces = pixels.nbytes // _STRIP_BYTES + 1
            pixels = downsample(pixels[np.newaxis], _HALVED, image.kind, n_pieces=n_pieces)[0]
        return levels


def _tiled(pixels: Array, byte_order: Literal["<", ">"]) -> EncodedImage:
    """Cut a lower level into tiles; those at the ends are filled up with zeros, which no reader shows."""
    n_rows, n_columns = pixels.shape
    tiles = []
    for top in range(0, n_rows, _TILE[0]):
        for left in range(0, n_columns, _TILE[1]):
            tile = np.zeros(_TILE, pixels.dtype)
            part = pixels[top : top + _TILE[0], left : left + _TILE[1]]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(_encoded(tile, _DEFLATE, byte_order))
    counts = np.array([len(tile) for tile in tiles], np.uint64)
    return EncodedImage((n_rows, n_columns), SegmentFormat(_DEFLATE, tile=_TILE), counts, tiles)


def _encoded(pixels: Array, compression: int, byte_order: Literal["<", ">"]) -> bytes:
    if pixels.dtype == bool:  # rows begin with a new byte
        pixels = np.packbits(pixels, axis=1)
    stored = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(byte_order), copy=False))
    if compression == _NONE:
        return stored.tobytes()
    return bytes(imagecodecs.deflate_encode(stored.tobytes(), level=_LEVEL, raw=False))
