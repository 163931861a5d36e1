"""The command line, with other processes for the work; what fails by `failing_io.c` fails in these alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from catnip2bids.__main__ import main as package
from catnip2bids.engine import Scheduler, local_scheduler
from interrupting import SMALL, settle_sizes

_OF_WORKERS = ("FAULT_CALLS", "FAULT_LOG")


def main() -> None:
    """Package."""
    faults = {name: os.environ.pop(name) for name in _OF_WORKERS if name in os.environ}

    @contextmanager
    def processes(*arguments: Any) -> Iterator[Scheduler]:
        pool = ProcessPoolExecutor(1, get_context("spawn"), _begin_worker, (faults,))
        with local_scheduler(*arguments) as workers, pool:
            yield replace(workers, executor=pool)

    vars(import_module("catnip2bids.engine.scheduler"))["local_scheduler"] = processes
    package()


def _begin_worker(faults: Mapping[str, str]) -> None:
    settle_sizes(SMALL)
    os.environ.update(faults)
