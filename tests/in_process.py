"""The command line and `validate` in the process of the tests: a new program would take seconds for its imports.

Invariant: `called` returns what `fork_server.command` would: the exit code, and what went to stdout and to stderr. What
only a program of its own has, such as signals and broken streams, is not there.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest

from catnip2bids.cli import main
from catnip2bids.cli.console import console
from catnip2bids.reporting.vega import Vega


def called(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line away from a terminal; an error that nobody expected fails the test."""
    words, out, err = ["catnip2bids", *map(str, arguments)], io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.ExitStack() as surroundings:
        surroundings.enter_context(patch.dict(os.environ, COLUMNS="200"))
        surroundings.enter_context(patch.object(sys, "argv", words))
        surroundings.enter_context(contextlib.chdir(cwd or Path.cwd()))
        surroundings.enter_context(contextlib.redirect_stdout(out))
        surroundings.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            console.quiet = False
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture
def no_dandi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `validate` do without dandi, as if that were not installed: it takes three times as long as all else."""
    monkeypatch.setattr("catnip2bids.validation.dandi.find_program", lambda _: None)


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports have no plots, which take longer than all else that reports are made of."""

    def nothing_drawn(_: Vega, function: str, __: object) -> object:
        return {} if function == "vegalite_to_vega" else ""

    monkeypatch.setattr(Vega, "_ask", nothing_drawn)
    monkeypatch.setattr(Vega, "_library", "")  # else the library that is asked for once would be missing ever after


@pytest.fixture
def no_validators(no_dandi: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `validate` do its own checks only: the BIDS validator finds nothing, and dandi is not installed."""
    del no_dandi

    def nothing_found(command: Iterable[str], settings: object) -> subprocess.CompletedProcess[str]:
        del settings
        return subprocess.CompletedProcess(list(command), 0, '{"issues": {"issues": [], "codeMessages": {}}}', "")

    monkeypatch.setattr("catnip2bids.validation.bids.run_program", nothing_found)
