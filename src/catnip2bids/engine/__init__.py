"""How a volume becomes an image: units of work, their markers, memory and execution. Knows no formats."""

from catnip2bids.engine.convert import Listener, convert_volume
from catnip2bids.engine.execution import own_resources, resources_for
from catnip2bids.engine.image import BlockWriter, Encoded, ImageWriter, Pending, PlaneEncoder, PlaneImage
from catnip2bids.engine.markers import Marker, UnitResult
from catnip2bids.engine.memory import (
    OVERHEAD_BYTES,
    Resources,
    divide_memory,
    needed_bytes,
    parse_bytes,
    worker_bytes,
)
from catnip2bids.engine.stream import Stream, stream_volume, take_up_stream
from catnip2bids.engine.team import Team
from catnip2bids.engine.units import Unit, convert_unit, cut_into_units
from catnip2bids.engine.workers import StoppedError, Workers, check_memory, local_workers, workers_for

__all__ = [
    "OVERHEAD_BYTES",
    "BlockWriter",
    "Encoded",
    "ImageWriter",
    "Listener",
    "Marker",
    "Pending",
    "PlaneEncoder",
    "PlaneImage",
    "Resources",
    "StoppedError",
    "Stream",
    "Team",
    "Unit",
    "UnitResult",
    "Workers",
    "check_memory",
    "convert_unit",
    "convert_volume",
    "cut_into_units",
    "divide_memory",
    "local_workers",
    "needed_bytes",
    "own_resources",
    "parse_bytes",
    "resources_for",
    "stream_volume",
    "take_up_stream",
    "worker_bytes",
    "workers_for",
]
