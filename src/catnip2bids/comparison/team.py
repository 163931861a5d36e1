"""Threads that look at planes, as many as there is memory for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from catnip2bids.comparison.sides import Side
from catnip2bids.engine import OVERHEAD_BYTES, shown_bytes
from catnip2bids.errors import SourceError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PLANES_IN_MEMORY = 4
"""A thread holds two planes at the most, each of them encoded and decoded."""


@dataclass(frozen=True)
class Resources:
    """What a comparison may use: threads, and memory."""

    n_threads: int
    memory_bytes: int


def plane_bytes(side: Side) -> int:
    """Size of the first plane that can be read; 1 where none can."""
    for number in side.planes:
        try:
            with side.open(number) as opened:
                height, width = opened.layout.shape
                return height * width * opened.layout.dtype.itemsize
        except SourceError:
            continue  # it becomes a row of the result when it is compared
    return 1


def unpacked_bytes(side: Side) -> int:
    """Memory that is taken because a file can only be unpacked as a whole."""
    return 0 if side.volume is None else side.volume.unpacked_bytes


class Team:
    """Threads that work on planes of so many bytes, beside what is held unpacked all the time."""

    def __init__(self, resources: Resources, n_bytes: int, held_bytes: int = 0) -> None:
        if held_bytes > resources.memory_bytes - OVERHEAD_BYTES:
            needed = shown_bytes(held_bytes + OVERHEAD_BYTES)
            raise UsageError(f"unpacking the files takes at least {needed} of memory; give more with --memory")
        fitting = (resources.memory_bytes - OVERHEAD_BYTES - held_bytes) // (_PLANES_IN_MEMORY * n_bytes)
        self._n_threads = max(min(fitting, resources.n_threads), 1)
        self._threads = ThreadPoolExecutor(self._n_threads)

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def do(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Do something for all items, a few of them ahead of what is asked for, in their order."""
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(self._threads.submit(work, item))
            if len(ahead) > 2 * self._n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
