"""How a volume becomes an image: units of work and their execution. Knows no formats."""

from catnip2bids.engine.convert import Conversion, convert_volume
from catnip2bids.engine.memory import default_memory_bytes
from catnip2bids.engine.units import (
    BlockWriter,
    ImageWriter,
    Resources,
    Unit,
    UnitResult,
    convert_unit,
    cut_into_units,
)

__all__ = [
    "BlockWriter",
    "Conversion",
    "ImageWriter",
    "Resources",
    "Unit",
    "UnitResult",
    "convert_unit",
    "convert_volume",
    "cut_into_units",
    "default_memory_bytes",
]
