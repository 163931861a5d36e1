"""Named pipes, sockets and devices, which must not be read as files.

Invariant: a path that is refused here is never opened: reading it could block, or never end.
"""

from __future__ import annotations

import stat
from pathlib import Path

from catnip2bids.errors import SourceError


def refuse_special_file(path: Path) -> None:
    """Refuse a path that exists and is neither a file nor a folder.

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
