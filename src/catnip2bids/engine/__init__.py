"""Convert volumes into images: units of work, resume markers, memory and execution."""

from catnip2bids.engine.bounded_map import BoundedMap
from catnip2bids.engine.executors import own_resources, resources_for
from catnip2bids.engine.memory import (
    OVERHEAD_BYTES,
    Resources,
    divide_memory,
    give_back_free_memory,
    keep_free_memory_together,
    needed_bytes,
    parse_bytes,
    worker_bytes,
)
from catnip2bids.engine.scheduler import (
    ProgressCallbacks,
    Scheduler,
    check_memory,
    convert_volume,
    makespan,
    scheduler_for,
    unit_sizes,
)
from catnip2bids.engine.sequential_writer import SequentialWrite, resume_sequential_write, write_sequentially
from catnip2bids.engine.unit_results import UnitResult
from catnip2bids.engine.work_units import StoppedError, WorkUnit, convert_unit, split_into_units

__all__ = [
    "OVERHEAD_BYTES",
    "BoundedMap",
    "ProgressCallbacks",
    "Resources",
    "Scheduler",
    "SequentialWrite",
    "StoppedError",
    "UnitResult",
    "WorkUnit",
    "check_memory",
    "convert_unit",
    "convert_volume",
    "divide_memory",
    "give_back_free_memory",
    "keep_free_memory_together",
    "makespan",
    "needed_bytes",
    "own_resources",
    "parse_bytes",
    "resources_for",
    "resume_sequential_write",
    "scheduler_for",
    "split_into_units",
    "unit_sizes",
    "worker_bytes",
    "write_sequentially",
]
