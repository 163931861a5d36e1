"""Work in a process of its own, which may take so much time and memory and no more.

Invariant: whatever the work does (a hang, a crash, memory without end), only its own process ends.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024


@dataclass(frozen=True)
class Ended:
    """How the work ended.

    Attributes
    ----------
    exit_code
        Of the process; negative for a signal, None if it had to be stopped because it took too long.
    messages
        What it printed.
    memory_bytes
        The most that it held beyond what it began with; None if it crashed.
    """

    exit_code: int | None
    messages: str
    memory_bytes: int | None


def isolated(work: Callable[[], None], log: Path, seconds: float, memory_bytes: int) -> Ended:
    """Do something in a process of its own, a fork of this one, so that nothing has to be imported again.

    Parameters
    ----------
    work
        What is to be done; it may end with SystemExit.
    log
        A file for what it prints.
    seconds
        How long it may take.
    memory_bytes
        How much memory it may ask for beyond what this process has.
    """
    used = log.with_suffix(".memory")
    used.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=_limited, args=(work, log, used, memory_bytes))
    process.start()
    process.join(seconds)
    timed_out = process.is_alive()
    if timed_out:
        process.kill()
        process.join()
    messages = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    held = int(used.read_text(encoding="ascii")) if used.exists() else None
    return Ended(None if timed_out else process.exitcode, messages, held)


def _limited(work: Callable[[], None], log: Path, used: Path, memory_bytes: int) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    at_first = _peak_bytes()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + memory_bytes,) * 2)
    try:
        work()
    finally:
        used.write_text(str(_peak_bytes() - at_first), encoding="ascii")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _data_bytes() -> int:
    """Memory that this process has asked for so far: address space it only reserved does not count."""
    found = re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * _KIB if found else 0
