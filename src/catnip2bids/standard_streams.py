"""Make stdout and stderr robust: they may be closed, full, or limited to a small character set.

Invariant: work continues if its output cannot be written, and the exit code reports that: 141 (128 + SIGPIPE) for a
closed pipe, otherwise 2. Each error is one line. Only the standard library is imported, because this module runs first.
"""

from __future__ import annotations

import io
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from catnip2bids.errors import MEMORY_RAN_OUT, lacks_memory

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TRACEBACK = "CATNIP2BIDS_TRACEBACK"
"""Environment variable that makes unexpected errors print their traceback."""
LEAST_ADDRESS_SPACE = 2**30
"""With less, libraries crash (measured: 300 to 900 MB on two processors)."""
_BROKEN_PIPE = 128 + signal.SIGPIPE


class _Descriptor(io.FileIO):
    """A file descriptor that keeps its first write error and reports every write as complete."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write data; after an error, claim that all of it was written."""
        try:
            while (n_bytes := super().write(data)) is None:  # another program made the descriptor non-blocking
                select.select([], [self], [])
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes
        return n_bytes


def use_utf8() -> None:
    """Restart Python in UTF-8 mode if the locale has another encoding for names of files.

    Otherwise names in a dataset would differ between machines.
    """
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions and sys.executable:
        os.environ["PYTHONUTF8"] = "1"  # for child processes
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


@contextmanager
def reporting_stream_errors() -> Iterator[None]:
    """Tolerate write errors of stdout and stderr, and exit with the right code."""
    _open_closed()
    out, err = _Descriptor(1, "wb", closefd=False), _Descriptor(2, "wb", closefd=False)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr)
    code: str | int | None = 0
    try:
        yield
    except SystemExit as end:
        code = end.code
    except Exception as error:
        sys.stderr.write(f"error: {_in_words(error)}\n")
        code = 2
    sys.stdout.flush()
    if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
        sys.stderr.write(
            f"error: stdout: cannot be written ({out.failure.strerror}), so results are missing; "
            "write them to another place\n"
        )
    sys.stderr.flush()
    failures = [failure for failure in (out.failure, err.failure) if failure is not None]
    if failures and code in (None, 0, 1):  # these codes would look like a result
        code = _BROKEN_PIPE if all(isinstance(failure, BrokenPipeError) for failure in failures) else 2
    sys.exit(code)


def stdout_fails() -> bool:
    """Tell whether writing to stdout has failed for another reason than a closed pipe."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Descriptor) and raw.failure is not None and not isinstance(raw.failure, BrokenPipeError)


def small_limit() -> int | None:
    """Return the limit on the address space (``ulimit -v``) in bytes, if it is too small for any work."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return limit if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE else None


def _open_closed() -> None:
    """Reserve the descriptors 0 to 2, so that libraries do not write messages into a file of ours."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # open returns the lowest free number, which is this one; read-only, so that writing fails
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)


def _text(raw: _Descriptor, before: TextIO | None) -> TextIO:
    """Return a text stream that accepts every character."""
    encoding = "utf-8" if before is None else before.encoding
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, encoding, "backslashreplace", line_buffering=raw.fileno() == 2 or raw.isatty())


def _in_words(error: Exception) -> str:
    """Describe an unexpected error in one line."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    if lacks_memory(error):
        return MEMORY_RAN_OUT
    if isinstance(error, OSError) and error.strerror:
        where = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        return _printable(": ".join((*where, f"{error.strerror}; correct this, and run the same command again")))
    said = traceback.format_exception_only(error)[-1]
    return f"{_printable(said)}; this is a mistake in catnip2bids, please report it with what {TRACEBACK}=1 shows"


def _printable(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
