"""Exceptions that the user can act upon.

Invariant: a message names the file, says what is wrong, and says what to do. Any other exception is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Catnip2bidsError(Exception):
    """Base class of all errors that the user can act upon. Each argument is a complete line of the message."""

    exit_code = 2
    """Exit code of the command line: 2 if nothing was done, 1 if the work began and stopped."""

    def __str__(self) -> str:
        """Return all lines of the message."""
        return "\n".join(map(str, self.args))


class UsageError(Catnip2bidsError):
    """A required option (voxel size, subject) is missing, or options contradict each other."""


class NotEnoughMemoryError(UsageError):
    """The work needs more memory than it is allowed to use."""


MEMORY_RAN_OUT = (
    "memory ran out; end other programs, raise the limit of the shell (ulimit -v), or use less with --jobs and --memory"
)
_WITHOUT_MEMORY = ("bad_alloc", "Cannot allocate memory", "failed to map segment", "can't start new thread")
"""Words in the messages of libraries, in errors of many types, when memory runs out."""


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error or its cause is a lack of memory."""
    cause = error.__cause__ or error.__context__
    says_so = isinstance(error, MemoryError) or any(words in str(error) for words in _WITHOUT_MEMORY)
    return says_so or (cause is not None and lacks_memory(cause))


class SourceError(Catnip2bidsError):
    """A source file or folder is missing, unreadable or invalid."""


class ReadError(SourceError):
    """The system could not read a source file; the file itself may be intact."""


class PlanError(Catnip2bidsError):
    """A plan is invalid, or does not match the source folders."""


class DatasetError(Catnip2bidsError):
    """The dataset was not made by this program, or is damaged."""


class WriteError(DatasetError):
    """Writing stopped: the disk is full or not writable. All files with their final names are complete."""

    exit_code = 1


class NoSpaceError(WriteError):
    """The disk or a quota is full."""


class WorkerError(Catnip2bidsError):
    """A worker process died. All files with their final names are complete."""

    exit_code = 1


def reason_of(error: BaseException) -> str:
    """Say why something failed: an error of the system without its number and the path, which the message names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def unreadable(path: object, error: OSError) -> str:
    """Say that the system could not read a file, and what to do."""
    return f"{path}: cannot be read: {reason_of(error)}; make it readable and run again"


def refuse_without_memory(error: BaseException, what: object) -> None:
    """Raise NotEnoughMemoryError for a lack of memory, so that no file is called damaged because of it."""
    if lacks_memory(error):
        raise NotEnoughMemoryError(f"{what}: cannot be read; {MEMORY_RAN_OUT}") from error


@contextmanager
def refusing() -> Iterator[None]:
    """Give all errors exit code 2, where 1 is a verdict or nothing has been written yet."""
    try:
        yield
    except Catnip2bidsError as error:
        error.exit_code = 2
        raise
