"""Pages of the report of a dataset, as the viewer serves them: their pictures link to places in the viewer.

Invariant: only pages that `report` writes are read, and only from inside of the dataset.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from catnip2bids.bids.dataset_paths import REPORT
from catnip2bids.documents import read_bytes
from catnip2bids.paths import file_inside

REPORT_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)
"""A page may run its own scripts, of which it has a list itself, and load nothing."""
_FIRST = "index.html"
_PAGE = re.compile(r"index\.html|sub-[0-9A-Za-z+_-]+\.html")
_MARK = b'</title>\n<meta name="catnip2bids-viewer" content="../">'
"""Tells the page that the viewer serves it, and where the viewer is."""


def has_report(dataset: Path) -> bool:
    """Tell whether a dataset has a report."""
    return file_inside(dataset / REPORT / _FIRST, dataset) is not None


def report_page(dataset: Path, name: str) -> bytes | None:
    """Return a page of the report of a dataset by its file name; None for all other names.

    Raises DatasetError if it is implausibly large.
    """
    file = file_inside(dataset / REPORT / name, dataset) if _PAGE.fullmatch(name) else None
    return None if file is None else read_bytes(file).replace(b"</title>", _MARK, 1)
