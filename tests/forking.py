"""Run programs in processes that have their libraries from the beginning: imports take longer than most commands.

A server imports the libraries once, and forks a process for each program. Exit code, streams, working directory and
environment are those of a process of its own, and the command line is imported anew, since it looks at its streams
then. Only what happens while other modules are imported is not seen.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict

import pytest

_LIBRARIES = ("rich.console", "rich.progress", "rich.table", "tensorstore", "typer", "zarr")


class _Program(TypedDict):
    """What the server is asked to run."""

    words: list[str]
    cwd: str
    environment: dict[str, str]
    streams: list[str]  # paths of stdin, stdout and stderr


class ForkServer:
    """Forks a process for each program.

    Parameters
    ----------
    draws_reports
        Whether to make the library for plots too, before any program asks for it.
    """

    def __init__(self, *, draws_reports: bool = False) -> None:
        command, pipe = [sys.executable, __file__, *["report"] * draws_reports], subprocess.PIPE
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def run(self, *words: object, cwd: Path, streams: list[str], environment: Mapping[str, str] | None = None) -> int:
        """Run a program as Python would, and return its exit code.

        Parameters
        ----------
        words
            What stands behind ``python`` on a command line: ``-m module``, ``-c code`` or a script, and arguments.
        cwd
            Its working directory.
        streams
            Files or terminals that are its stdin, stdout and stderr.
        environment
            Its environment variables; by default those of this process.
        """
        program = _Program(
            words=[str(word) for word in words],
            cwd=str(cwd),
            environment=dict(os.environ if environment is None else environment),
            streams=streams,
        )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(program) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def finished(
        self, *words: object, cwd: Path, environment: Mapping[str, str] | None = None, is_merged: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a program away from a terminal; returns its exit code and what it wrote, to stdout alone if wanted."""
        program = list(map(str, words))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "out")
            err = out if is_merged else Path(folder, "err")
            code = self.run(*program, cwd=cwd, streams=[os.devnull, str(out), str(err)], environment=environment)
            written, said = (path.read_text(encoding="utf-8") for path in (out, err))
            return subprocess.CompletedProcess(program, code, written, "" if is_merged else said)

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    """Fork processes for the tests of a module."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def reporting_fork_server() -> Iterator[ForkServer]:
    """Fork processes for the tests of a module that draw reports."""
    server = ForkServer(draws_reports=True)
    yield server
    server.close()


def _serve() -> None:
    """Fork a process for each line of stdin, and print its exit code."""
    import catnip2bids
    from catnip2bids.reporting.vega import Vega

    for name in catnip2bids.__all__:
        getattr(catnip2bids, name)  # is imported now
    for module in _LIBRARIES:
        __import__(module)
    if "report" in sys.argv:
        with Vega() as vega:
            vega.library()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _become(program: _Program) -> None:
    """Run the program in this process."""
    os.chdir(program["cwd"])
    os.environ.clear()
    os.environ.update(program["environment"])
    for number, path in enumerate(program["streams"]):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(path, flags | os.O_NOCTTY), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    first, *others = program["words"]
    sys.argv = [first, *others]
    sys.path[0] = "" if first.startswith("-") else str(Path(first).parent)
    if first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *others[1:]]
        exec(compile(others[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _serve()
