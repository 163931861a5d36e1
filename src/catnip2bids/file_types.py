"""Named pipes and devices among a lab's files, which are not files.

Invariant: nothing is opened that would wait for somebody to write into it, or never ends.
"""

from __future__ import annotations

import stat
from pathlib import Path

from catnip2bids.errors import SourceError


def refuse_special_file(path: Path) -> None:
    """Refuse what is neither a file nor a folder; what is not there is left to those who open it.

    Raises
    ------
    SourceError
        If it is a named pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise SourceError(f"{path}: is a named pipe or a device, not a file; move it away, or exclude it in the plan")
