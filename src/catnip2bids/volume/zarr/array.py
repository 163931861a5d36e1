"""Arrays of zarr v2 and v3, opened with tensorstore."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from catnip2bids.errors import ReadError, SourceError

_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


def open_array(path: Path, level: str) -> Any:
    """Open the array of a level with tensorstore."""
    import tensorstore as ts

    folder = path / level
    driver = "zarr3" if (folder / "zarr.json").is_file() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": os.path.realpath(folder)}}  # it refuses ..
    try:
        return ts.open(spec, open=True, read=True, context=_context()).result()
    except Exception as error:
        raise as_source_error(error, f"{path}: its array {level}") from error


@cache
def _context() -> Any:
    """Return a context that remembers nothing: what was decoded is kept in layers."""
    import tensorstore as ts

    return ts.Context({"cache_pool": {"total_bytes_limit": 0}})


def as_source_error(error: Exception, what: str) -> SourceError:
    """Say what tensorstore found."""
    if code := _OS_ERROR.search(str(error)):
        return ReadError(f"{what} cannot be read: {os.strerror(int(code[1]))}; make it readable and run again")
    why = str(error).partition(" [")[0]  # what follows is of use to tensorstore's developers
    return SourceError(f"{what} cannot be read ({why}); replace it by the original")
