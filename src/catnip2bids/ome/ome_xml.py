"""OME-XML: what an OME-TIFF says about itself.

Invariant: the document is valid against the schema of 2016-06, and says of one 3D image its sizes, and its voxel size
in micrometers with the unit written out.
"""

from __future__ import annotations

from dataclasses import dataclass

from catnip2bids._version import __version__
from catnip2bids.errors import SourceError
from catnip2bids.ome.tiff_directory import bits_per_value
from catnip2bids.xml_text import in_xml

_PIXEL_TYPES = {"float32": "float", "float64": "double", "bool": "bit"}
_PIXEL_TYPES |= {f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32)}


@dataclass(frozen=True)
class OmeXmlFields:
    """What OME-XML says of an image.

    Attributes
    ----------
    name, channel, description
        Names of the image and of its only channel, and what it is.
    shape
        Voxels along (z, y, x).
    dtype
        Name of the type of the values.
    voxel_size_um
        Voxel size (z, y, x) in micrometers.
    big_endian
        Byte order of the pixels.
    """

    name: str
    channel: str
    description: str
    shape: tuple[int, int, int]
    dtype: str
    voxel_size_um: tuple[float, float, float]
    big_endian: bool = False


def pixel_type(dtype: str, image: str) -> str:
    """Return the name that OME has for a type; an error names the image.

    Raises
    ------
    SourceError
        If it has none: integers of 64 bits, and floating point numbers of 16.
    """
    if dtype not in _PIXEL_TYPES:
        raise SourceError(
            f"{image}: OME-TIFF has no pixels of type {dtype}; write OME-Zarr instead (a name that ends in .ome.zarr, "
            "or --format ome-zarr)"
        )
    return _PIXEL_TYPES[dtype]


def ome_xml(described: OmeXmlFields) -> str:
    """Write the OME-XML of an image (2016-06)."""
    from ome_types import model, to_xml  # late: it takes 0.7 s

    n_planes, n_rows, n_columns = described.shape
    z, y, x = described.voxel_size_um
    micrometer = model.UnitsLength.MICROMETER
    pixels = model.Pixels(
        id="Pixels:0",
        dimension_order=model.Pixels_DimensionOrder.XYZCT,
        type=model.PixelType(pixel_type(described.dtype, described.name)),
        significant_bits=bits_per_value(described.dtype),
        big_endian=described.big_endian,
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
        channels=[model.Channel(id="Channel:0:0", name=in_xml(described.channel), samples_per_pixel=1)],
        tiff_data_blocks=[model.TiffData(ifd=0, plane_count=n_planes)],
    )
    name, description = in_xml(described.name), in_xml(described.description)
    image = model.Image(id="Image:0", name=name, description=description, pixels=pixels)
    document = to_xml(model.OME(creator=f"catnip2bids {__version__}", images=[image]), indent=0)
    return f'<?xml version="1.0" encoding="UTF-8"?>{document}'
