"""How a volume becomes an image: units of work and their execution. Knows no formats."""

from catnip2bids.engine.convert import Conversion, convert_volume
from catnip2bids.engine.slabs import ImageWriter, Slab, SlabResult, convert_slab, cut_into_slabs

__all__ = [
    "Conversion",
    "ImageWriter",
    "Slab",
    "SlabResult",
    "convert_slab",
    "convert_volume",
    "cut_into_slabs",
]
