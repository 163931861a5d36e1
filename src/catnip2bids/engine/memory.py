"""How much memory may be used."""

from __future__ import annotations

import os

_MOST_BYTES = 8 * 2**30


def default_memory_bytes() -> int:
    """Return a quarter of the machine's memory, at most 8 GiB."""
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4, _MOST_BYTES)
