"""A fork server: starts programs from a process that has imported all libraries already, in milliseconds.

Invariant: each program is a process of its own, with its own arguments, folder, environment, session, streams and exit
code, and with the usual end of a Python. It imports the command line itself, which looks at its streams then; only
libraries are there already. A process of tests has one server, and one more for each LD_PRELOAD. As a script, this is
the server.
"""

from __future__ import annotations

import atexit
import base64
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Any, ParamSpec

_P = ParamSpec("_P")
CATNIP2BIDS = "from catnip2bids.__main__ import main; main()"
LEAVE_OUT_DANDI = "import catnip2bids.validation.dandi as dandi; dandi.find_program = lambda _: None\n"
"""Begins a script as if dandi were not installed: it takes three times as long as all else that `validate` does."""
LEAVE_OUT_PLOTS = """
from catnip2bids.reporting.vega import Vega
Vega._ask = lambda self, function, argument: {} if function == "vegalite_to_vega" else ""
"""
"""Begins a script whose reports have no plots, which take longer than all else that reports are made of."""
WITHOUT_DANDI = f"{LEAVE_OUT_DANDI}{CATNIP2BIDS}"
DASK_SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
DASK_WORKER = "from distributed.cli.dask_worker import main; main()"
SCRIPT = """
import runpy, sys
del sys.argv[0]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a file, which is the first argument."""
_CALL = """
import base64, json, pickle, sys
sys.path[:] = json.loads(sys.argv[1])
function, arguments, choices = pickle.loads(base64.b64decode(sys.argv[2]))
function(*arguments, **choices)
"""
_IMPORTED = (
    *("catnip2bids.comparison", "catnip2bids.conversion", "catnip2bids.demo", "catnip2bids.packaging"),
    *("catnip2bids.reporting", "catnip2bids.restoration", "catnip2bids.validation.cross_checks"),
    *("catnip2bids.validation.ome_tiff", "catnip2bids.validation.ome_zarr", "catnip2bids.verification"),
    *("distributed.cli.dask_scheduler", "distributed.cli.dask_worker", "imagecodecs._deflate", "imagecodecs._zlib"),
    *("interrupting", "ome_types.model", "pytest", "rich.live", "rich.progress", "rich.table", "tensorstore"),
    *("typer.rich_utils", "zarr"),
)
"""What programs would import first."""
_SECONDS_BETWEEN_POLLS = 0.02


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
            time.sleep(_SECONDS_BETWEEN_POLLS)
        return code

    def finished(self, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Wait for the end, and kill it if it takes longer."""
        try:
            code = self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return subprocess.CompletedProcess("a forked program", code, self.printed, self.said)

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
def _server(preload: str) -> _Server:
    return _Server(preload)


def start(
    script: str,
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    own_session: bool = False,
    terminal: str = "",
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
    terminal
        What stdin and stderr are; without one, lines have 200 columns.
    """
    environment = os.environ if environment is None else environment
    server = _server(environment.get("LD_PRELOAD", ""))
    logs = [server.new_log() for _ in range(2)]
    request = {
        "script": script,
        "arguments": [str(argument) for argument in arguments],
        "cwd": str(cwd or Path.cwd()),
        "environment": {**environment} if terminal else {**environment, "COLUMNS": "200"},
        "streams": [terminal or os.devnull, str(logs[0]), terminal or str(logs[1])],
        "own_session": own_session,
    }
    return Program(server, server.ask(request), logs)


def command(*arguments: object, cwd: Path | None = None, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end, away from a terminal."""
    done = start(CATNIP2BIDS, *arguments, cwd=cwd).finished(seconds)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def python(script: str, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, whatever that is."""
    return start(script, *arguments).finished(timeout)


def forked(function: Callable[_P, object], *arguments: _P.args, **choices: _P.kwargs) -> int:
    """Call a function of a module in a process without other threads; returns the exit code of the process."""
    called = base64.b64encode(pickle.dumps((function, arguments, choices))).decode()
    done = start(_CALL, json.dumps(sys.path), called).finished()
    sys.stderr.write(done.stderr)
    return done.returncode


# ---- the server


def _serve() -> dict[str, Any] | None:
    """Fork for each request; returns the request in the new process, and None in the server when no more come."""
    for line in sys.stdin:
        request = json.loads(line)
        answer: int | None = None
        if "pid" in request:
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
    for number, path in enumerate(request["streams"]):
        os.dup2(os.open(path, os.O_APPEND | os.O_NOCTTY | (os.O_WRONLY if number else os.O_RDONLY)), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
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
