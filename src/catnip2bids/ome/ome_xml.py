"""OME-XML, the metadata of an OME-TIFF.

Invariant: the document is valid against the schema of 2016-06 and describes one 3D image: its sizes, and its voxel size
in micrometers, with the unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from catnip2bids._version import __version__
from catnip2bids.errors import SourceError
from catnip2bids.formatting import in_xml
from catnip2bids.ome.tiff_directory import bits_per_value

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
