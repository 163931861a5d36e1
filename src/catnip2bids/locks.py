"""Who may write: one program a dataset, one worker a step, on all machines that share the file system.

Invariant: a lock ends with the process that holds it, however it ends. Only regular files are locked: Linux makes
flock(2) on them a lock of the server on NFS and SMB, and one of the machine alone on folders.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from catnip2bids.errors import Catnip2bidsError, DatasetError, WorkerError

LOCK = ".lock"
"""How the names of files end that are there to be locked."""
FOLDER_LOCK = f".catnip2bids{LOCK}"
"""Is locked for all of its folder; it is there only as long as the lock, or until the next one if the program died."""
_SECONDS_FOR_OTHERS, _SECONDS_TO_LOOK = 60, 0.2
_TAKEN = "{}: another command has taken it up; wait for its end, and run again"
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # some network file systems have none


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to ourselves; the lock ends with the program, however it ends.

    Raises
    ------
    DatasetError
        If another program has it.
    """
    with _locked(folder / FOLDER_LOCK, folder):
        yield


def is_locked(folder: Path) -> bool:
    """Tell whether another program keeps a folder to itself now, without waiting for it or writing anything."""
    try:
        descriptor = os.open(folder / FOLDER_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # nobody locks it, or it cannot be asked
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError | PermissionError)
    finally:
        os.close(descriptor)
    return False


def refuse_packaging(dataset: Path, command: str) -> None:
    """Refuse to read a dataset while it is packaged.

    Raises
    ------
    DatasetError
        If another program writes it now; `command` is what to run again.
    """
    if is_locked(dataset):
        raise DatasetError(f"{dataset}: is being packaged now; run {command} again when that is done")


@contextmanager
def refuse_concurrent_packaging(dataset: Path, command: str, written: PurePath) -> Iterator[None]:
    """Refuse to read a dataset that is packaged at the same time: results would mean nothing.

    Parameters
    ----------
    dataset, command
        The dataset, and what to run again.
    written
        A file of it that packaging always writes anew.

    Raises
    ------
    DatasetError
        If another program writes it at the beginning or at the end, or has written it in between.
    """
    refuse_packaging(dataset, command)
    before = _state(dataset / written)
    try:
        yield
    except (Catnip2bidsError, OSError):
        refuse_packaging(dataset, command)
        raise
    refuse_packaging(dataset, command)
    if _state(dataset / written) != before:
        raise DatasetError(f"{dataset}: was packaged meanwhile; run {command} again")


def create_step_lock(marker: Path, command: str) -> Path:
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
def hold_step_lock(lock: Path) -> Iterator[None]:
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


def supports_locks(file: Path) -> bool:
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


def wait_for_workers(markers: Path, final: Path) -> None:
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
def lock_output(final: Path) -> Iterator[None]:
    """Keep a name to ourselves, whether or not anything stands under it; its folder must be there.

    Raises
    ------
    DatasetError
        If another program is making the same.
    """
    with _locked(final.with_name(f".{final.name}{LOCK}"), final):
        yield


@contextmanager
def _locked(lock: Path, what: Path) -> Iterator[None]:
    """Lock a file, which is made for it and removed at the end."""
    descriptor = _lock(lock, what)
    while not _is_file(descriptor, lock):  # who had it has just removed it
        os.close(descriptor)
        descriptor = _lock(lock, what)
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays locks nothing by itself
            lock.unlink()
        os.close(descriptor)


def _lock(lock: Path, what: Path) -> int:
    # NFS locks a file for writing only if it is open for writing; a link would lead out of the folder
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise DatasetError(
            f"{what}: another catnip2bids is writing it; wait for its end, or use another folder"
        ) from error
    except OSError as error:
        if error.errno not in {*_NO_LOCKS, errno.ESTALE}:
            os.close(descriptor)
            raise
    return descriptor


def _state(file: Path) -> tuple[int, int] | None:
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns


def _is_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.lstat())
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ESTALE}:
            return False
        raise
