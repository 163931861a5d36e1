"""Threads that look at planes or blocks, as many as there is memory for; or the workers of a cluster.

Invariant: results come in the order of the items, and no more items than fit into memory are worked on at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from catnip2bids.engine.memory import OVERHEAD_BYTES, Resources, worker_bytes
from catnip2bids.errors import NotEnoughMemoryError
from catnip2bids.formatting import format_bytes_up

Item = TypeVar("Item")
Result = TypeVar("Result")


class BoundedMap:
    """Threads that each hold so many bytes for an item, beside what is held all the time.

    Parameters
    ----------
    resources
        What may be used.
    item_bytes
        Memory that a thread takes for an item.
    held_bytes
        Memory that is taken all the time, because files can only be unpacked as a whole.
    about
        What the work is about, for messages: a path, or two.

    Attributes
    ----------
    n_threads
        Threads that work at the same time.
    item_bytes
        Memory that a thread takes for an item.
    free_bytes
        Memory that there is for all items that are worked on at the same time.

    Raises
    ------
    NotEnoughMemoryError
        If not even one item fits.
    """

    def __init__(self, resources: Resources, item_bytes: int, held_bytes: int = 0, *, about: object) -> None:
        self._own: ThreadPoolExecutor | None = None
        self.item_bytes = item_bytes
        if resources.executor is not None:
            if held_bytes + item_bytes > resources.memory_bytes:
                needed = format_bytes_up(worker_bytes(held_bytes + item_bytes + OVERHEAD_BYTES))
                raise NotEnoughMemoryError(
                    f"{about}: a worker of one thread needs at least {needed} of memory for this"
                )
            self.n_threads, self._executor = resources.n_threads, resources.executor
            self.free_bytes = (resources.memory_bytes - held_bytes) * self.n_threads
            return
        self.free_bytes = resources.memory_bytes - OVERHEAD_BYTES - held_bytes
        if self.free_bytes < item_bytes:
            needed = format_bytes_up(held_bytes + item_bytes + OVERHEAD_BYTES)
            what = "unpacking" if held_bytes else "this"
            raise NotEnoughMemoryError(f"{about}: {what} takes at least {needed} of memory; give more with --memory")
        self.n_threads = max(min(self.free_bytes // max(item_bytes, 1), resources.n_threads), 1)
        self._executor = self._own = ThreadPoolExecutor(self.n_threads)

    def __enter__(self) -> BoundedMap:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)

    def do(self, work: Callable[[Item], Result], items: Iterable[Item], *, result_bytes: int = 0) -> Iterator[Result]:
        """Do something for all items, a few of them ahead of what is asked for, in their order.

        Parameters
        ----------
        work, items
            What is done, and with what.
        result_bytes
            Memory that a result takes, where that is much: then no more of them wait than fit. One always may.
        """
        n_ahead = 2 * self.n_threads + 1
        if result_bytes:
            n_ahead = max(min(self.free_bytes // (self.item_bytes + result_bytes), n_ahead), 1)
        ahead: deque[Future[Result]] = deque()
        for item in items:
            if len(ahead) == n_ahead:
                yield ahead.popleft().result()
            ahead.append(self._executor.submit(work, item))
        while ahead:
            yield ahead.popleft().result()
