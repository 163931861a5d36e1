"""The one family of errors that catnip2bids raises for its user's benefit.

Invariant: a message names the file, says what is wrong with it, and says what to do.
Everything that is not of this family is a bug of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Catnip2bidsError(Exception):
    """Base class: something the user can act upon. The message is meant to be read as it is."""

    exit_code = 2
    """Exit code of the command line: 2 for what could not be done, 1 for what was begun and stopped."""


class UsageError(Catnip2bidsError):
    """Something needed was not said (voxel size, subject), or what was said contradicts itself."""


class NotEnoughMemoryError(UsageError):
    """The work needs more memory than it may use."""


MEMORY_RAN_OUT = (
    "memory ran out; end other programs, raise the limit of the shell (ulimit -v), or use less with --jobs and --memory"
)
_WITHOUT_MEMORY = ("bad_alloc", "Cannot allocate memory", "failed to map segment", "can't start new thread")
"""What libraries say when the system gives them no memory, in errors of many types."""


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error, or the cause of it, is a lack of memory."""
    behind = error.__cause__ or error.__context__
    says_so = isinstance(error, MemoryError) or any(words in str(error) for words in _WITHOUT_MEMORY)
    return says_so or (behind is not None and lacks_memory(behind))


class SourceError(Catnip2bidsError):
    """A source file or folder is missing, unreadable, or not what it claims to be."""


class ReadError(SourceError):
    """The system could not read a source file; the file itself may be as it should be."""


class PlanError(Catnip2bidsError):
    """A plan file is not valid, or does not fit the source folders it is used with."""


class DatasetError(Catnip2bidsError):
    """The dataset folder is not ours, or does not hold what it should."""


class WriteError(DatasetError):
    """Writing stopped in the middle: the disk is full or not writable. What is published already is whole."""

    exit_code = 1


class NoSpaceError(WriteError):
    """The disk is full, or a quota is used up."""


class WorkerError(Catnip2bidsError):
    """A process that did part of the work died. What is published already is whole."""

    exit_code = 1


def refuse_without_memory(error: BaseException, what: object) -> None:
    """Let no file be called damaged because there was no memory to read it.

    Raises
    ------
    NotEnoughMemoryError
        If the error says that there is none.
    """
    if lacks_memory(error):
        raise NotEnoughMemoryError(f"{what}: cannot be read; {MEMORY_RAN_OUT}") from error


@contextmanager
def refusing() -> Iterator[None]:
    """Give each error the exit code 2, where 1 is a verdict."""
    try:
        yield
    except Catnip2bidsError as error:
        error.exit_code = 2
        raise
