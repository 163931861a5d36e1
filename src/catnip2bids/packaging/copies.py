"""Small source files, copied as they are.

Invariant: a copy is whole, or not there under its name; one that is there with the same size and time is kept.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from catnip2bids.errors import SourceError
from catnip2bids.packaging.tasks import CopyTask
from catnip2bids.publish import publication
from catnip2bids.scanning import files_below


def copy_as_it_is(task: CopyTask, dataset: Path) -> None:
    """Copy a file or folder as it is, with its times.

    Raises
    ------
    SourceError
        If a file cannot be read.
    """
    location, target = task.entry.location, dataset / task.target
    for file in files_below(location):
        _copy_file(file, target if file == location else target / file.relative_to(location))


def _copy_file(file: Path, copy: Path) -> None:
    try:
        state = file.stat()
        if copy.is_file() and (copy.stat().st_size, copy.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns):
            return
        with publication(copy) as partial:
            shutil.copyfile(file, partial)
            os.utime(partial, ns=(state.st_atime_ns, state.st_mtime_ns))
    except OSError as error:
        if error.filename == str(file):
            raise SourceError(
                f"{file}: cannot be read: {error.strerror}; mend it, or exclude it in the plan"
            ) from error
        raise
