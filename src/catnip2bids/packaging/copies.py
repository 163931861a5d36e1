"""Small source files, copied as they are.

Invariant: a copy is whole, or not there under its name; one that is there with the same size and time is kept.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from catnip2bids.errors import SourceError
from catnip2bids.packaging.tasks import CopyTask
from catnip2bids.publish import publication
from catnip2bids.scanning import files_below


def copy_as_it_is(task: CopyTask, dataset: Path) -> list[PurePosixPath]:
    """Copy a file or folder as it is, with its times; returns the copies that were not there yet.

    Raises
    ------
    SourceError
        If a file cannot be read.
    """
    location, copied = task.entry.location, []
    for file in files_below(location):
        copy = task.target if file == location else task.target / file.relative_to(location)
        if _copy_file(file, dataset / copy):
            copied.append(copy)
    return copied


def _copy_file(file: Path, copy: Path) -> bool:
    """Copy a file, unless that was done already; tells whether it was not."""
    try:
        state = file.stat()
        if copy.is_file() and (copy.stat().st_size, copy.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns):
            return False
        with publication(copy) as partial:
            shutil.copyfile(file, partial)
            os.utime(partial, ns=(state.st_atime_ns, state.st_mtime_ns))
        return True
    except OSError as error:
        if error.filename == str(file):
            raise SourceError(
                f"{file}: cannot be read: {error.strerror}; mend it, or exclude it in the plan"
            ) from error
        raise
