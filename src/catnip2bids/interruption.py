"""Ctrl-C, and the end of a job's time: a sentence and an exit code instead of a traceback.

Invariant: the first signal lets everything that is open be closed; another one ends the program at once, which does no
harm either, since whatever stands in a dataset is whole at any moment. Whichever thread the system gives a signal to,
the main thread is woken for it. Imports no library but the standard one, because it runs first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAKING = signal.SIGURG  # which means nothing to anybody, and ends no wait but those of Python
_SECONDS_TO_WAKE = 0.1
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
    _watch_signals()
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


def _watch_signals() -> None:
    """Wake the main thread for each signal.

    Python's handlers run in the main thread, once it does something. While it waits for other threads it does not, if
    the system gave the signal to one of these, or just before the main thread fell asleep.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(_WAKING, _look)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_wake_for_signals, args=(reading,), name="signals", daemon=True).start()


def _wake_for_signals(reading: int) -> None:
    main = threading.main_thread().ident
    while main is not None and (received := os.read(reading, 1)):
        if received[0] == _WAKING:
            continue
        signal.pthread_kill(main, _WAKING)
        while signal.getsignal(received[0]) is _interrupt:  # nobody has been told yet
            time.sleep(_SECONDS_TO_WAKE)
            signal.pthread_kill(main, _WAKING)


def _look(number: int, frame: FrameType | None) -> None:
    """Do nothing: when Python comes here, it has looked for other signals too."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    for another in _SIGNALS:
        signal.signal(another, _end_at_once)
    raise _InterruptedError(number)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    cursor = _SHOW_CURSOR if os.isatty(2) else b""
    with suppress(OSError):  # it may be closed
        os.write(2, cursor + b"error: interrupted again, and ended at once; run the same command again to go on\n")
    os._exit(128 + number)
