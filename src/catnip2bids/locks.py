"""Who may write: one program a dataset, one worker a step, on all machines that share the file system.

Invariant: a lock ends with the process that holds it, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catnip2bids.errors import DatasetError, WorkerError

LOCK = ".lock"
"""How the names of files end that are there to be locked."""
_SECONDS_FOR_OTHERS, _SECONDS_TO_LOOK = 60, 0.2
_TAKEN = "{}: another command has taken it up; wait for its end, and run again"
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF}  # some network file systems have none


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to ourselves; the lock ends with the program, however it ends.

    Raises
    ------
    DatasetError
        If another program has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def lock_of(marker: Path, command: str) -> Path:
    """Allow the workers of a command to do a step of a construction; returns what they have to lock for it.

    Parameters
    ----------
    marker
        A file beside the construction that stands for the step; it need not be there.
    command
        A name of the command, which no other has, not even the same one begun again.
    """
    lock = marker.with_name(f"{marker.name}.{command}{LOCK}")
    lock.touch()
    return lock


@contextmanager
def busy(lock: Path) -> Iterator[None]:
    """Wait until nobody else works at a step of a construction, and let all others wait.

    Raises
    ------
    WorkerError
        If another command has taken up the construction since.
    """
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError as error:
        raise WorkerError(_TAKEN.format(lock.parent)) from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink == 0:
            raise WorkerError(_TAKEN.format(lock.parent))
        yield
    finally:
        os.close(descriptor)


def has_locks(file: Path) -> bool:
    """Tell whether the file system of a file can keep others from the same work."""
    with file.open("r+b") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True  # somebody else has it
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
    return True


def wait_for_others(markers: Path, final: Path) -> None:
    """Wait until workers of an earlier command, wherever they are, have ended their step, and let them begin no other.

    Parameters
    ----------
    markers
        The folder of the files that stand for the steps.
    final
        What is constructed.

    Raises
    ------
    DatasetError
        If one goes on for long.
    """
    end = time.monotonic() + _SECONDS_FOR_OTHERS
    for lock in sorted(markers.glob(f"*{LOCK}")):
        with lock.open("r+b") as opened:
            while True:
                try:
                    fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    lock.unlink()
                    break
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        raise DatasetError(
                            f"{final}: a worker of an earlier command is still writing it; wait for its end, or "
                            "end it, and run again"
                        ) from error
                time.sleep(_SECONDS_TO_LOOK)


@contextmanager
def reserved(final: Path) -> Iterator[None]:
    """Keep a name to ourselves, whether or not anything stands under it.

    Raises
    ------
    DatasetError
        If another program is making the same.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = final.with_name(f".{final.name}{LOCK}")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, final)
        if not lock.exists() or not os.path.samestat(os.fstat(descriptor), lock.stat()):
            raise DatasetError(f"{final}: another catnip2bids has just been writing it; run again")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatasetError(
            f"{folder}: another catnip2bids is writing it; wait for its end, or use another folder"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
