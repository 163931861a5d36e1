"""The command line, with worker processes for any work; what fails by `failing_io.c` fails in these alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from catnip2bids.__main__ import main as package
from catnip2bids.engine import process_pool, scheduler
from interrupting import SMALL, settle_sizes

_OF_WORKERS = ("FAULT_CALLS", "FAULT_LOG")
_start_worker = process_pool._start_worker


def main() -> None:
    """Package."""
    faults = {name: os.environ.pop(name) for name in _OF_WORKERS if name in os.environ}
    vars(process_pool)["_SMALL_BYTES"], vars(scheduler)["_LOCKED"] = 0, 1
    vars(process_pool)["_start_worker"] = partial(_start_faulty_worker, faults)
    package()


def _start_faulty_worker(faults: Mapping[str, str], *connection: Any) -> None:
    settle_sizes(SMALL)
    os.environ.update(faults)
    _start_worker(*connection)
