"""Threads or processes for planes: no more of them than there is memory for, and the same results."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.engine.memory import OVERHEAD_BYTES
from catnip2bids.engine.process_pool import WORKER_BYTES
from catnip2bids.errors import NotEnoughMemoryError, WorkerError

MUCH = 2**40
PROCESSES = Resources(2, OVERHEAD_BYTES + 2 * WORKER_BYTES + 200)


@pytest.mark.parametrize(
    ("item_bytes", "held_bytes", "refused"),
    [
        (0, 0, "run/N4: this takes at least 128 MiB of memory; give more with --memory"),
        (1, 0, "run/N4: this takes at least 129 MiB of memory; give more with --memory"),
        (1, 2, "run/N4: unpacking takes at least 129 MiB of memory; give more with --memory"),
        (10 * 2**30, 0, "run/N4: this takes at least 10.2 GiB of memory; give more with --memory"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_memory_it_takes(item_bytes: int, held_bytes: int, refused: str) -> None:
    with pytest.raises(NotEnoughMemoryError) as error:
        BoundedMap(Resources(1, OVERHEAD_BYTES - 1), item_bytes, held_bytes, about=Path("run/N4"))
    assert str(error.value) == refused


def test_there_are_no_more_threads_than_items_fit() -> None:
    with BoundedMap(Resources(8, OVERHEAD_BYTES + 100), 30, 10, about="run/N4") as threads:
        assert threads.n_threads == 3
    with BoundedMap(Resources(8, OVERHEAD_BYTES + 40), 30, 10, about="run/N4") as threads:
        assert threads.n_threads == 1
    with pytest.raises(NotEnoughMemoryError):
        BoundedMap(Resources(8, OVERHEAD_BYTES + 39), 30, 10, about="run/N4")


def test_processes_return_the_results_in_order() -> None:
    with BoundedMap(PROCESSES, 100, n_bytes=MUCH, about="run/N4") as processes:
        assert processes.n_threads == 2
        assert processes.free_bytes == 200
        assert len(set(processes.map(_process_of, range(30)))) <= 2
        assert os.getpid() not in processes.map(_process_of, range(3))
        assert list(processes.map(math.factorial, range(30))) == [math.factorial(n) for n in range(30)]
        with pytest.raises(ValueError, match="not defined for negative"):
            list(processes.map(math.factorial, [3, -1, 4]))


def _process_of(_: int) -> int:
    return os.getpid()


def test_a_process_that_dies_is_an_error() -> None:
    with BoundedMap(PROCESSES, 100, n_bytes=MUCH, about="run/N4") as processes, pytest.raises(WorkerError):
        list(processes.map(os._exit, [1, 1, 1]))


@pytest.mark.parametrize(
    ("resources", "held_bytes", "n_bytes"),
    [
        (PROCESSES, 0, 2**20),
        (PROCESSES, 1, MUCH),
        (Resources(2, PROCESSES.memory_bytes - 1), 0, MUCH),
        (Resources(1, 2**30), 0, MUCH),
    ],
    ids=["little to do", "memory that threads share", "little memory", "one thread"],
)
def test_threads_are_enough(resources: Resources, held_bytes: int, n_bytes: int) -> None:
    with BoundedMap(resources, 100, held_bytes, n_bytes=n_bytes, about="run/N4") as threads:
        assert set(threads.map(_process_of, range(3))) == {os.getpid()}
