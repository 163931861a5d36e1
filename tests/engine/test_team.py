"""Threads that look at planes: no more of them than there is memory for."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.engine import Resources, Team
from catnip2bids.engine.memory import OVERHEAD_BYTES
from catnip2bids.errors import NotEnoughMemoryError


@pytest.mark.parametrize(
    ("held_bytes", "refused"),
    [
        (0, "run/N4: this takes at least 128 MiB of memory; give more with --memory"),
        (1, "run/N4: unpacking takes at least 129 MiB of memory; give more with --memory"),
    ],
)
def test_unpacking_is_named_only_where_something_is_unpacked(held_bytes: int, refused: str) -> None:
    with pytest.raises(NotEnoughMemoryError) as error:
        Team(Resources(1, OVERHEAD_BYTES - 1), 1, held_bytes, about=Path("run/N4"))
    assert str(error.value) == refused
