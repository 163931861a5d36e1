"""One way, run once as a whole process: how long it took, how much memory it held, what it wrote.

Invariant: what was measured ended by itself, and nothing of it runs any more.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import psutil

SAMPLE_SECONDS: Final = 0.02
"""Memory is looked at so often."""
_SAMPLES_PER_SEARCH: Final = 5  # looking for new children costs a hundred times as much as looking at the known ones
_TERMINAL_CODES: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST_ERROR: Final = 200


@dataclass(frozen=True)
class Measurement:
    """One run of one way.

    Attributes
    ----------
    seconds
        From the start of the process to its end.
    part_seconds
        What the process itself said that its measured part took; None for ways that are measured as a whole.
    peak_bytes
        The most memory that was seen: resident bytes of the process and all below it, added up. Memory that processes
        share counts once for each.
    n_files, n_bytes
        What lies in the output folder.
    error
        Why it failed, else None.
    """

    seconds: float
    part_seconds: float | None
    peak_bytes: int
    n_files: int
    n_bytes: int
    error: str | None


def measure(command: list[str], output: Path, n_cores: int, good_code: int = 0) -> Measurement:
    """Run a command and measure it.

    Parameters
    ----------
    command
        Program and arguments.
    output
        Folder in which it writes.
    n_cores
        It is kept on so many processor cores where the system can do that.
    good_code
        The exit code that it ends with if it did its work.
    """
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else modules are compiled each time, but for users only once
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        begin = perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        sampler = _MemorySampler(process.pid, n_cores)
        sampler.start()
        code = process.wait()
        seconds = perf_counter() - begin
        sampler.stop()
        out.seek(0)
        err.seek(0)
        written, complaints = out.read(), err.read()
    files = [path for path in output.rglob("*") if path.is_file()]
    return Measurement(
        seconds=seconds,
        part_seconds=_part_seconds(written) if code == good_code else None,
        peak_bytes=sampler.peak_bytes,
        n_files=len(files),
        n_bytes=sum(path.stat().st_size for path in files),
        error=None if code == good_code else last_line(complaints or written) or f"ended with code {code}",
    )


def last_line(text: str) -> str:
    """Take the last line that says something, without colours and cut to a usual length."""
    lines = [line.strip() for line in _TERMINAL_CODES.sub("", text).splitlines()]
    return next((line for line in reversed(lines) if line), "")[:_LONGEST_ERROR]


def _part_seconds(written: str) -> float | None:
    """Read what a process said that its measured part took: a last line such as ``{"seconds": 1.5}``."""
    try:
        return float(json.loads(written.splitlines()[-1])["seconds"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


class _MemorySampler(threading.Thread):
    """Looks at the memory of a process and of all below it, until it is stopped."""

    def __init__(self, pid: int, n_cores: int) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._ended = threading.Event()
        self._processes: list[psutil.Process] = []
        try:
            process = psutil.Process(pid)
            self._processes = [process]
            if hasattr(process, "cpu_affinity"):
                process.cpu_affinity(process.cpu_affinity()[:n_cores])
        except psutil.Error:
            pass  # it has ended already

    def run(self) -> None:
        """Sample until stopped."""
        n_samples = 0
        while not self._ended.wait(SAMPLE_SECONDS):
            if n_samples % _SAMPLES_PER_SEARCH == 0:
                self._find_children()
            n_samples += 1
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident_bytes, self._processes)))

    def stop(self) -> None:
        """Stop sampling, and end what the process left running."""
        self._ended.set()
        self.join()
        for process in self._processes[1:]:
            try:
                process.kill()
            except psutil.Error:
                continue

    def _find_children(self) -> None:
        try:
            self._processes[1:] = self._processes[0].children(recursive=True)
        except (IndexError, psutil.Error):
            return


def _resident_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
