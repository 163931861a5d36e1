"""A fork server: starts programs from a process that has imported the package and Dask already, in milliseconds.

Invariant: each program is a process of its own, with its own arguments, folder, environment, session, output and exit
code, and with the usual end of a Python; only what it imports is there already. As a script, it is the server.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Any

CATNIP2BIDS = "from catnip2bids.__main__ import main; main()"
DASK_SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
DASK_WORKER = "from distributed.cli.dask_worker import main; main()"
_IMPORTED = (
    *("catnip2bids.__main__", "catnip2bids.cli.app", "catnip2bids.cli.job_progress", "catnip2bids.cli.terminal"),
    *("catnip2bids.comparison", "catnip2bids.conversion", "catnip2bids.packaging", "catnip2bids.verification"),
    *("catnip2bids.demo", "catnip2bids.reporting", "catnip2bids.validation", "interrupting"),
    *("distributed.cli.dask_scheduler", "distributed.cli.dask_worker"),
    *("imagecodecs._deflate", "imagecodecs._zlib", "rich.live", "rich.progress", "rich.table", "tensorstore", "zarr"),
)
"""What programs would import first."""
_SECONDS_TO_LOOK = 0.02


class Program:
    """A program that was started by a fork server; used like `subprocess.Popen`.

    Attributes
    ----------
    pid
        Its process.
    returncode
        The exit code, negative for a signal; None as far as anybody has asked.
    """

    def __init__(self, server: _Server, pid: int, logs: Sequence[Path]) -> None:
        self._server, self.pid = server, pid
        self._stdout, self._stderr = logs
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None if it still runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"pid": self.pid})
        return self.returncode

    def wait(self, seconds: float = 120) -> int:
        """Wait for the end; returns the exit code."""
        end = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked program", seconds, self.printed, self.said)
            time.sleep(_SECONDS_TO_LOOK)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and wait for that."""
        self.send_signal(signal.SIGKILL)
        self.wait()

    @property
    def printed(self) -> str:
        """What it has written to stdout so far."""
        return self._stdout.read_text(encoding="utf-8")

    @property
    def said(self) -> str:
        """What it has written to stderr so far."""
        return self._stderr.read_text(encoding="utf-8")


class _Server:
    """The process that forks; ends with the tests."""

    def __init__(self, preload: str) -> None:
        environment = {**os.environ, "LD_PRELOAD": preload}
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()
        self._logs = TemporaryDirectory(prefix="catnip2bids-logs-")
        atexit.register(self._process.communicate)

    def new_log(self) -> Path:
        """Create an empty file."""
        opened, path = mkstemp(dir=self._logs.name)
        os.close(opened)
        return Path(path)

    def ask(self, request: Mapping[str, object]) -> Any:
        """Send a request, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@cache
def _server(preload: str = "") -> _Server:
    return _Server(preload)


def start(
    script: str,
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    own_session: bool = False,
) -> Program:
    """Start a program.

    Parameters
    ----------
    script
        Python, run as the main module.
    arguments
        Its arguments.
    cwd
        The folder that it runs in; the present one unless given.
    environment
        Its variables; those of this process unless given. For another ``LD_PRELOAD`` there is another server.
    own_session
        Whether it is the first process of a new session, so that a signal to its group reaches its children too.
    """
    environment = os.environ if environment is None else environment
    server = _server(environment.get("LD_PRELOAD", ""))
    logs = [server.new_log() for _ in range(2)]
    request = {
        "script": script,
        "arguments": [str(argument) for argument in arguments],
        "cwd": str(cwd or Path.cwd()),
        "environment": {**environment, "COLUMNS": "200"},
        "logs": [str(log) for log in logs],
        "own_session": own_session,
    }
    return Program(server, server.ask(request), logs)


def command(*arguments: object, cwd: Path | None = None, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, as `runs.command` does."""
    program = start(CATNIP2BIDS, *arguments, cwd=cwd)
    code = program.wait(seconds)
    assert "Traceback" not in program.said, program.said
    return subprocess.CompletedProcess([str(argument) for argument in arguments], code, program.printed, program.said)


# ---- the server


def _serve() -> dict[str, Any] | None:
    """Fork for each request; returns the request in the new process, and None in the server when no more come."""
    for line in sys.stdin:
        request = json.loads(line)
        if "script" not in request:
            answer = _exit_code(request["pid"])
        elif (answer := os.fork()) == 0:
            return dict(request)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    return None


def _exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _become(request: Mapping[str, Any]) -> None:
    """Give this process what a program of its own has."""
    if request["own_session"]:
        os.setsid()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    logs = [os.open(log, os.O_WRONLY | os.O_APPEND) for log in request["logs"]]
    for stream, descriptor in enumerate((nowhere, *logs)):
        os.dup2(descriptor, stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["catnip2bids", *request["arguments"]]

    import dask.config

    dask.config.refresh()


def main() -> None:
    """Import everything, then fork whenever asked to."""
    for name in _IMPORTED:
        __import__(name)
    gc.freeze()  # or each program would look through all of it
    if (request := _serve()) is not None:
        _become(request)
        exec(compile(request["script"], "<script>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
