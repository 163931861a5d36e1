"""Threads that look at planes: no more of them than there is memory for."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.engine import BoundedMap, Resources
from catnip2bids.engine.memory import OVERHEAD_BYTES
from catnip2bids.errors import NotEnoughMemoryError


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
