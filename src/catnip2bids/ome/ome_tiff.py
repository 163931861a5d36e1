"""Write OME-TIFF images: copy or encode planes, make their lower levels, and describe them in OME-XML.

Invariant: level 0 holds the values of the source. Encoded segments of the source are copied if all planes are stored
the same way. A lower level halves the rows and columns of the previous one, by the rule of the image's kind, but never
the planes: in OME-TIFF all levels have the same planes. The OME-XML is valid against the schema of 2016-06 and
describes one 3D image: its sizes, and its voxel size in micrometers, with the unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from catnip2bids._version import __version__
from catnip2bids.enums import Compression, Kind
from catnip2bids.errors import SourceError
from catnip2bids.formatting import in_xml
from catnip2bids.ome.downsampling import downsample
from catnip2bids.ome.formats import OmeTiff
from catnip2bids.ome.levels import LARGEST_LAST_LEVEL
from catnip2bids.ome.tiff_directory import EncodedImage, TiffFormat, bits_per_value
from catnip2bids.volume import EncodedPlane, Encoding, FileRange

Array = npt.NDArray[Any]

_STRIP_BYTES = 256 * 2**10
_TABLE_BYTES = 4 * 2**20
"""Memory for the table of segments of a plane in which each of some ten thousand rows is one."""
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

_PIXEL_TYPES = {"float32": "float", "float64": "double", "bool": "bit"}
_PIXEL_TYPES |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32)}


@dataclass(frozen=True)
class OmeXmlFields:
    """The fields of the OME-XML of an image; shape and voxel size are (z, y, x)."""

    name: str
    channel: str
    description: str
    shape: tuple[int, int, int]
    dtype: str
    voxel_size_um: tuple[float, float, float]
    big_endian: bool = False


@dataclass(frozen=True)
class OmeTiffImage:
    """An OME-TIFF image under construction, written plane by plane."""

    file: Path  # usually under a temporary name
    fields: OmeXmlFields
    kind: Kind  # decides how voxels are merged
    source_encoding: Encoding | None = None  # if all planes of the source have the same one
    format: OmeTiff = field(default_factory=OmeTiff)

    @property
    def copies(self) -> bool:
        """Whether the encoded segments of the source are copied."""
        if self.source_encoding is None or self._has_rare_predictor:
            return False
        wanted = {Compression.DEFLATE: _DEFLATE, Compression.NONE: _NONE}.get(self.format.compression)
        return wanted is None or self.source_encoding.compression == wanted

    @property
    def decodes(self) -> bool:
        """Whether planes are decoded: to encode or inspect them, or to make lower levels."""
        return self.format.inspect or self.format.pyramid or not self.copies

    @property
    def summary(self) -> str:
        """How the pixels get into the file, in words for people and provenance."""
        name = _NAMES[self.encoding.compression]
        if self.copies:
            return f"pixels copied as they are stored ({name})"
        why = ", because Bio-Formats cannot read the predictor of the source" if self._has_rare_predictor else ""
        return f"pixels encoded again ({name}){why}"

    @property
    def _has_rare_predictor(self) -> bool:
        """Whether Bio-Formats, and so Fiji and QuPath, cannot undo the predictor of the source.

        Bio-Formats supports only horizontal differences of up to four bytes (``TiffCompression.undifference``). It
        supports all compressions that are copied, including Zstandard.
        """
        predictor = _NO_PREDICTOR if self.source_encoding is None else self.source_encoding.predictor
        n_bytes = np.dtype(self.fields.dtype).itemsize
        return predictor != _NO_PREDICTOR and (predictor != _HORIZONTAL or n_bytes > _LARGEST_DIFFERENCE_BYTES)

    @property
    def band_rows(self) -> int:
        """Rows that an encoder takes at a time: whole strips, of an even number of rows for halving."""
        rows_per_strip = None if self.copies else self.encoding.rows_per_strip
        return rows_per_strip or self._usual_strip_rows

    @property
    def encoded_bytes(self) -> int:
        """The most memory that encoding a plane takes: segments that are not copied, lower levels, and tables."""
        n_bytes = math.prod(self.plane_shape) * np.dtype(self.fields.dtype).itemsize
        # lower levels have a third of the pixels, and are in memory both decoded and encoded
        n_planes = (0 if self.copies else 1) + (2 / 3 if self.format.pyramid else 0)
        return int(1.1 * n_bytes * n_planes) + 2 * _STRIP_BYTES + _TABLE_BYTES

    @property
    def header(self) -> bytes:
        """The first bytes of the file, before the first plane."""
        return self._format.header

    def block(self, encoded: list[EncodedImage], plane: int, at: int) -> list[bytes | FileRange]:
        """Return the bytes of a plane, which belong at offset `at` of the file."""
        is_last = plane == self.fields.shape[0] - 1
        return self._format.block(encoded, at, self._xml if plane == 0 else None, is_last=is_last)

    @property
    def level_shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of the levels of a plane."""
        shapes = [self.plane_shape]
        while self.format.pyramid and max(shapes[-1]) > LARGEST_LAST_LEVEL:
            n_rows, n_columns = shapes[-1]
            shapes.append((math.ceil(n_rows / 2), math.ceil(n_columns / 2)))
        return shapes

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of level 0."""
        return self.fields.shape[1:]

    @cached_property
    def _xml(self) -> str:
        return ome_xml(replace(self.fields, big_endian=self.encoding.byte_order == ">"))

    @cached_property
    def _format(self) -> TiffFormat:
        return TiffFormat(self.format.big, self.encoding.byte_order, self.fields.dtype, self.fields.voxel_size_um[1:])

    @cached_property
    def encoding(self) -> Encoding:
        """How level 0 is divided into segments and encoded; its byte order is that of the whole file."""
        if self.copies and self.source_encoding:
            return self.source_encoding
        compression = _NONE if self.format.compression == Compression.NONE else _DEFLATE
        return Encoding(compression, _NO_PREDICTOR, "<", min(self._usual_strip_rows, self.plane_shape[0]), None)

    @property
    def _usual_strip_rows(self) -> int:
        row_bytes = self.plane_shape[1] * np.dtype(self.fields.dtype).itemsize
        return max(_STRIP_BYTES // row_bytes // 2 * 2, 2)


class TiffPlaneEncoder:
    """Encodes one plane and its lower levels."""

    def __init__(self, image: OmeTiffImage) -> None:
        self._image = image
        self._strips: list[bytes] = []
        self._halved: list[Array] = []

    def take(self, rows: Array) -> None:
        """Encode the next rows of the plane, and halve them for the next level."""
        if not self._image.copies:
            self._strips.append(_encoded(rows, self._image.encoding))
        if len(self._image.level_shapes) > 1:
            self._halved.append(downsample(rows[np.newaxis], _HALVED, self._image.kind)[0])

    def finish(self, copied: EncodedPlane | None) -> list[EncodedImage]:
        """Return the encoded plane and its lower levels."""
        image = self._image
        if copied is None:
            levels = [_encoded_image(image.plane_shape, image.encoding, self._strips)]
        else:
            levels = [EncodedImage(image.plane_shape, image.encoding, copied.counts, copied.data)]
        pixels = np.concatenate(self._halved) if self._halved else None
        self._halved.clear()
        for shape in image.level_shapes[1:]:
            if pixels is None or pixels.shape != shape:
                raise RuntimeError(f"a level has the shape {None if pixels is None else pixels.shape}, not {shape}")
            levels.append(_tiled(pixels, image.encoding.byte_order))
            n_pieces = pixels.nbytes // _STRIP_BYTES + 1
            pixels = downsample(pixels[np.newaxis], _HALVED, image.kind, n_pieces=n_pieces)[0]
        return levels


def _tiled(pixels: Array, byte_order: Literal["<", ">"]) -> EncodedImage:
    """Encode a lower level as tiles; readers crop the zeros that fill those at the edges."""
    (n_rows, n_columns), encoding = pixels.shape, Encoding(_DEFLATE, _NO_PREDICTOR, byte_order, None, _TILE)
    tiles = []
    for top in range(0, n_rows, _TILE[0]):
        for left in range(0, n_columns, _TILE[1]):
            tile = np.zeros(_TILE, pixels.dtype)
            part = pixels[top : top + _TILE[0], left : left + _TILE[1]]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(_encoded(tile, encoding))
    return _encoded_image((n_rows, n_columns), encoding, tiles)


def _encoded_image(shape: tuple[int, int], encoding: Encoding, segments: list[bytes]) -> EncodedImage:
    return EncodedImage(shape, encoding, np.array([len(segment) for segment in segments], np.uint64), segments)


def _encoded(pixels: Array, encoding: Encoding) -> bytes:
    if pixels.dtype == bool:  # each row starts with a new byte
        pixels = np.packbits(pixels, axis=1)
    stored = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(encoding.byte_order), copy=False))
    if encoding.compression == _NONE:
        return stored.tobytes()
    return bytes(imagecodecs.deflate_encode(stored.tobytes(), level=_LEVEL, raw=False))


def pixel_type(dtype: str, image: str) -> str:
    """Return the OME name of a NumPy type; raises SourceError, which names `image`, for those that OME does not have.

    These are 64-bit integers, and 16-bit floating point numbers.
    """
    if dtype not in _PIXEL_TYPES:
        raise SourceError(
            f"{image}: OME-TIFF has no pixels of type {dtype}; write OME-Zarr instead (a name that ends in .ome.zarr, "
            "or --format ome-zarr)"
        )
    return _PIXEL_TYPES[dtype]


def ome_xml(fields: OmeXmlFields) -> str:
    """Return the OME-XML of an image (2016-06)."""
    from ome_types import model, to_xml  # late: it takes 0.7 s

    n_planes, n_rows, n_columns = fields.shape
    z, y, x = fields.voxel_size_um
    micrometer = model.UnitsLength.MICROMETER
    pixels = model.Pixels(
        id="Pixels:0",
        dimension_order=model.Pixels_DimensionOrder.XYZCT,
        type=model.PixelType(pixel_type(fields.dtype, fields.name)),
        significant_bits=bits_per_value(fields.dtype),
        big_endian=fields.big_endian,
        size_x=n_columns,
        size_y=n_rows,
        size_z=n_planes,
        size_c=1,
        size_t=1,
        physical_size_x=x,
        physical_size_x_unit=micrometer,
        physical_size_y=y,
        physical_size_y_unit=micrometer,
        physical_size_z=z,
        physical_size_z_unit=micrometer,
        channels=[model.Channel(id="Channel:0:0", name=in_xml(fields.channel), samples_per_pixel=1)],
        tiff_data_blocks=[model.TiffData(ifd=0, plane_count=n_planes)],
    )
    name, description = in_xml(fields.name), in_xml(fields.description)
    image = model.Image(id="Image:0", name=name, description=description, pixels=pixels)
    document = to_xml(model.OME(creator=f"catnip2bids {__version__}", images=[image]), indent=0)
    return f'<?xml version="1.0" encoding="UTF-8"?>{document}'
