"""The memory that Python and NumPy allocate during a call.

Invariant: the call has a process of its own. Threads of other libraries crash one that stops tracemalloc under them
(CPython issue 128679).
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVarTuple

from fork_server import forked

_Arguments = TypeVarTuple("_Arguments")


def peak_bytes(function: Callable[[*_Arguments], object], *arguments: *_Arguments) -> int:
    """Call a function of a module, and return the most memory that was allocated at one time during the call."""
    with TemporaryDirectory() as folder:
        result = Path(folder, "bytes")
        assert forked(_trace, result, function, arguments) == 0
        return int(result.read_text(encoding="ascii"))


def peak_bytes_here(function: Callable[[*_Arguments], object], *arguments: *_Arguments) -> int:
    """Do the same in this process, which has to be a forked one and can measure many calls."""
    tracemalloc.start()  # once, if called several times
    tracemalloc.reset_peak()
    held, _ = tracemalloc.get_traced_memory()
    function(*arguments)
    _, peak = tracemalloc.get_traced_memory()
    return peak - held


def _trace(result: Path, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    result.write_text(str(peak_bytes_here(function, *arguments)), encoding="ascii")
