"""Locks: one writer for a dataset, one worker for a step, on all machines that share the file system.

Invariant: a lock ends with the process that holds it, however it ends. Only regular files are locked: on NFS and SMB,
Linux passes flock(2) on to the server for files, but not for folders.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePath

from catnip2bids.errors import Catnip2bidsError, DatasetError, WorkerError

LOCK = ".lock"
"""The ending of the names of lock files."""
FOLDER_LOCK = f".catnip2bids{LOCK}"
"""The lock file of its folder; it is removed with the lock, or by the next program if this one was killed."""
_WAIT_SECONDS, _POLL_SECONDS = 60, 0.2
_TAKEN = "{}: another command is writing it; wait until that ends, and run again"
# some network file systems have no locks; on macOS, unlike on Linux, ENOTSUP is not EOPNOTSUPP
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}


def locked(folder: Path) -> AbstractContextManager[None]:
    """Lock a folder against other programs; raises DatasetError if another program has locked it."""
    return _locked(folder / FOLDER_LOCK, folder)


def is_locked(folder: Path) -> bool:
    """Tell whether another program has locked a folder, without waiting or writing."""
    try:
        descriptor = os.open(folder / FOLDER_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # not locked, or not readable
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError | PermissionError)
    finally:
        os.close(descriptor)
    return False


def refuse_packaging(dataset: Path, command: str) -> None:
    """Raise DatasetError if a dataset is being packaged; `command` is what to run again."""
    if is_locked(dataset):
        raise DatasetError(f"{dataset}: is being packaged now; run {command} again when that is done")


@contextmanager
def refuse_concurrent_packaging(dataset: Path, command: str, written: PurePath) -> Iterator[None]:
    """Refuse to read a dataset while it is being packaged: the results would be meaningless.

    `written` is a file of the dataset that packaging always writes again. Raises DatasetError if another program is
    writing the dataset at the beginning or the end, or has written it in between.
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
    """Create the lock file that workers of a command must lock to do one step of a staged output.

    The marker of the step need not exist; `command` is a unique name of this run of the command.
    """
    lock = marker.with_name(f"{marker.name}.{command}{LOCK}")
    lock.touch()
    return lock


@contextmanager
def hold_step_lock(lock: Path) -> Iterator[None]:
    """Lock a step of a staged output; wait while another worker holds the lock.

    Raises WorkerError if another command has resumed the output meanwhile.
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
    """Tell whether the file system of a file supports locks."""
    with file.open("r+b") as opened:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True  # another worker holds it
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
    return True


def wait_for_workers(markers: Path, final: Path) -> None:
    """Wait until workers of earlier commands, on any machine, have finished their step, and keep them from another one.

    Raises DatasetError, which names the output `final`, if a worker has not finished after a minute.
    """
    end = time.monotonic() + _WAIT_SECONDS
    for lock in sorted(file for file in markers.glob(f"*{LOCK}") if file.is_file() and not file.is_symlink()):
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
                time.sleep(_POLL_SECONDS)


def lock_output(final: Path) -> AbstractContextManager[None]:
    """Lock the name of an output in an existing folder; raises DatasetError if another program is writing it."""
    return _locked(final.with_name(f".{final.name}{LOCK}"), final)


@contextmanager
def _locked(lock: Path, output: Path) -> Iterator[None]:
    """Create and lock a file, and remove it at the end."""
    descriptor = _lock(lock, output)
    while not _is_file(descriptor, lock):  # the last owner has just removed it
        os.close(descriptor)
        descriptor = _lock(lock, output)
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays behind locks nothing
            lock.unlink()
        os.close(descriptor)


def _lock(lock: Path, output: Path) -> int:
    # NFS locks a file for writing only if it is open for writing; a link would lead out of the folder
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        _lock_unless_taken(descriptor)
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise DatasetError(
            f"{output}: another catnip2bids is writing it; wait until it ends, or use another folder"
        ) from error
    except OSError as error:
        if error.errno not in {*_NO_LOCKS, errno.ESTALE}:
            os.close(descriptor)
            raise
    return descriptor


def _lock_unless_taken(descriptor: int) -> None:
    """Lock a file; try twice, because `is_locked` of another program holds its lock for a moment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        time.sleep(_POLL_SECONDS)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


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
