"""Ctrl-C at any moment: an exit code and at most a line, never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_INTERRUPTED_WHEN_IMPORTING = """
import os, signal, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == wanted:
        os.kill(os.getpid(), signal.SIGINT)

wanted = sys.argv.pop()
sys.addaudithook(interrupt)
from catnip2bids.__main__ import main
main()
"""
_CAUGHT = """
import os, signal
from catnip2bids.interruption import ending_when_interrupted

with ending_when_interrupted():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        pass
"""
_DROPPED = """
import os, signal
from catnip2bids.interruption import ending_when_interrupted

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

with ending_when_interrupted():
    Interrupting()
"""
_TURNED_INTO_ANOTHER_ERROR = """
import os, signal
from catnip2bids.interruption import ending_when_interrupted

with ending_when_interrupted():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        raise RuntimeError("something else") from error
"""
_IN_AN_EXTENSION = """
import os, signal, sys
from catnip2bids.interruption import ending_when_interrupted

def interrupt(event, arguments):
    if event == "import" and arguments[0] == "ml_dtypes":
        os.kill(os.getpid(), signal.SIGINT)

with ending_when_interrupted():
    sys.addaudithook(interrupt)
    import tensorstore  # whose C++ imports the other one, and turns its errors into ImportError
"""


def ended(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, which Ctrl-C reaches even where tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "module", ["catnip2bids.interruption", "threading", "catnip2bids.standard_streams", "catnip2bids.cli", "typer"]
)
def test_ctrl_c_shows_no_traceback_while_the_program_is_loaded(module: str) -> None:
    done = ended(_INTERRUPTED_WHEN_IMPORTING, "--version", module)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr in ("", "error: interrupted; run the same command again to go on\n")


def test_the_package_imports_nothing_before_the_program_can_handle_ctrl_c() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; before = {*sys.modules}; import catnip2bids; print({*sys.modules} - before)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "typing" not in done.stdout
    assert "signal" not in done.stdout


@pytest.mark.parametrize("script", [_CAUGHT, _DROPPED, _TURNED_INTO_ANOTHER_ERROR, _IN_AN_EXTENSION])
def test_an_interruption_that_the_block_lost_is_raised_at_its_end(script: str) -> None:
    done = ended(script)
    assert (done.returncode, done.stderr) == (130, "error: interrupted; run the same command again to go on\n")
