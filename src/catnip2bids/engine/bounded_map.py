"""Map a function over items in as many threads or processes as the memory allows, or on the workers of a cluster.

Invariant: results come in the order of the items, and items processed at the same time fit into the memory.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, TypeVar

from catnip2bids.engine.memory import OVERHEAD_BYTES, Resources, worker_bytes
from catnip2bids.engine.process_pool import WORKER_BYTES, ProcessPool, is_worth_processes, raising_worker_errors
from catnip2bids.errors import NotEnoughMemoryError
from catnip2bids.formatting import format_bytes_up

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST_WAITING = 16
"""Results per thread that may wait, so that threads go on while earlier ones are joined."""


class BoundedMap:
    """A pool of threads, or of processes if there is much to do; its size follows from the memory for an item.

    `n_threads` items are processed at the same time, in `free_bytes` of memory. `held_bytes` are in use all the time,
    for files that can only be unpacked completely; threads share them. `n_bytes` are the pixels of all items, and
    `about` is the subject of errors: one or two paths. Raises NotEnoughMemoryError if not even one item fits.
    """

    def __init__(
        self, resources: Resources, item_bytes: int, held_bytes: int = 0, *, n_bytes: int = 0, about: object
    ) -> None:
        self._own: Executor | None = None
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
        process_bytes = self.n_threads * WORKER_BYTES
        if (
            self.n_threads > 1
            and not held_bytes
            and is_worth_processes(n_bytes)
            and self.n_threads * item_bytes + process_bytes <= self.free_bytes
        ):
            with suppress(OSError, NotImplementedError):  # the system cannot start processes; threads do the same
                self._executor = self._own = ProcessPool(self.n_threads, kept_bytes=item_bytes)
                self.free_bytes -= process_bytes
                return
        self._executor = self._own = ThreadPoolExecutor(self.n_threads)

    def __enter__(self) -> BoundedMap:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item], *, result_bytes: int = 0) -> Iterator[Result]:
        """Call a function for all items, some of them ahead, and yield the results in order.

        On this machine, as many results of `result_bytes` may wait as fit into memory beside the items, at most
        `_MOST_WAITING` per thread. `result_bytes` does not matter on a cluster.
        """
        n_ahead = 2 * self.n_threads + 1
        if result_bytes and self._own is not None:
            n_waiting = (self.free_bytes - self.n_threads * self.item_bytes) // result_bytes
            n_ahead = max(min(n_waiting, _MOST_WAITING * self.n_threads), 0) + self.n_threads
        if isinstance(self._own, ProcessPool):
            work = partial(_call, pickle.dumps(work))
        ahead: deque[Future[Result]] = deque()
        with raising_worker_errors():
            for item in items:
                if len(ahead) == n_ahead:
                    yield ahead.popleft().result()
                ahead.append(self._executor.submit(work, item))
            while ahead:
                yield ahead.popleft().result()


def _call(work: bytes, item: Any) -> Any:
    return _unpickled(work)(item)


@lru_cache(maxsize=1)
def _unpickled(work: bytes) -> Callable[[Any], Any]:
    """Unpickle a function once for all items: it may hold the paths of thousands of slices."""
    unpickled: Callable[[Any], Any] = pickle.loads(work)
    return unpickled
