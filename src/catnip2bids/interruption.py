"""Ctrl-C, and the end of a job's time: a sentence and an exit code instead of a traceback.

Invariant: the first signal lets everything that is open be closed; another one ends the program at once, which does no
harm either, since whatever stands in a dataset is whole at any moment. Light, so that it is there before all else.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar may have hidden it


class _InterruptedError(BaseException):
    """An interruption, as something that the command line library does not take for its own."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def ending_when_interrupted() -> Iterator[None]:
    """End the program with 128 and the number of the signal, as shells do, when somebody interrupts it."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        yield
    except _InterruptedError as error:
        sys.stderr.write("error: interrupted; run the same command again to go on\n")
        sys.exit(128 + error.number)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Take an interruption for the normal end of what goes on until somebody ends it."""
    with suppress(_InterruptedError, KeyboardInterrupt):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    for another in _SIGNALS:
        signal.signal(another, _end_at_once)
    raise _InterruptedError(number)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    cursor = _SHOW_CURSOR if os.isatty(2) else b""
    os.write(2, cursor + b"error: interrupted again, and ended at once; run the same command again to go on\n")
    os._exit(128 + number)
