"""Turn Ctrl-C and SIGTERM into a message and an exit code instead of a traceback.

Invariant: the first signal unwinds the stack, so that open files are closed; a second one ends the program at once,
which is safe because a dataset holds only complete files at any time. The main thread wakes up for a signal, whichever
thread receives it. An exception that Python or a library drops, as in `__del__`, is raised again. Only the standard
library is imported, because this module runs first.
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
_WAKING = signal.SIGURG  # ignored by default, so libraries and other programs are not affected
_SECONDS_TO_WAKE = 0.1
_SECONDS_TO_UNWIND = 1.0  # then an interruption that is not being handled is taken for lost
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar may have hidden it
_unhandled: list[int] = []  # the number of the signal, from its first arrival until the program ends for it


class _InterruptedError(BaseException):
    """An interruption; unlike KeyboardInterrupt, typer does not handle it."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def ending_when_interrupted() -> Iterator[None]:
    """Exit with 128 plus the number of the signal, as shells do, on an interruption.

    After the block a signal ends the program without a message: its work is done.
    """
    try:
        for number in _SIGNALS:
            signal.signal(number, _interrupt)
        sys.unraisablehook = _report_dropped
        _watch_signals()
        try:
            yield
        finally:
            _stop_handling()
    except _InterruptedError as error:
        _unhandled.clear()
        sys.stderr.write("error: interrupted; run the same command again to go on\n")
        sys.exit(128 + error.number)


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Treat an interruption as the normal end of the block."""
    try:
        yield
    except (_InterruptedError, KeyboardInterrupt):
        _unhandled.clear()


def _report_dropped(dropped: sys.UnraisableHookArgs) -> None:
    """Print an exception that Python drops, as in `__del__`, unless it is an interruption, which is raised again."""
    if not isinstance(dropped.exc_value, _InterruptedError):
        sys.__unraisablehook__(dropped)


def _stop_handling() -> None:
    """Let a signal end the program at once from now on; raise an interruption that was lost or replaced."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(_WAKING, signal.SIG_DFL)
    if _unhandled and not isinstance(sys.exc_info()[1], _InterruptedError):
        raise _InterruptedError(_unhandled[0])


def _watch_signals() -> None:
    """Start a thread that wakes the main thread for each signal.

    Python runs signal handlers in the main thread, between bytecodes. A main thread that waits for a lock does not run
    them if another thread received the signal, or if the signal came just before the wait began.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.signal(_WAKING, _raise_lost)  # Python runs the handlers of other pending signals at the same time
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_wake_for_signals, args=(reading,), name="signals", daemon=True).start()


def _wake_for_signals(reading: int) -> None:
    main = threading.main_thread().ident
    while main is not None and (received := os.read(reading, 1)):
        if received[0] == _WAKING:
            continue
        signal.pthread_kill(main, _WAKING)
        while signal.getsignal(received[0]) is _interrupt:  # the handler has not run yet
            time.sleep(_SECONDS_TO_WAKE)
            signal.pthread_kill(main, _WAKING)
        while _unhandled:
            time.sleep(_SECONDS_TO_UNWIND)
            signal.pthread_kill(main, _WAKING)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    for another in _SIGNALS:
        signal.signal(another, _end_at_once)
    _unhandled.append(number)
    raise _InterruptedError(number)


def _raise_lost(*_: object) -> None:
    """Raise the interruption again unless the stack is being unwound for it."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, (_InterruptedError, GeneratorExit)):
        error = error.__context__
    if _unhandled and error is None:
        raise _InterruptedError(_unhandled[0])


def _end_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    cursor = _SHOW_CURSOR if os.isatty(2) else b""
    with suppress(OSError):  # stderr may be closed
        os.write(2, cursor + b"error: interrupted again, and ended at once; run the same command again to go on\n")
    os._exit(128 + number)
