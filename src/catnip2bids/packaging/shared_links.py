"""Keep the links of `share` correct: remove those of a run that changes or is removed.

Invariant: a link that is listed opens files that were made from the current images and tables of its run.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import remove
from catnip2bids.bids.dataset_paths import NEUROGLANCER
from catnip2bids.bids.tables import remove_rows
from catnip2bids.paths import safe_path

LINKS = "links.tsv"
LINKS_COLUMNS = ("run", "scene", "link")


def remove_shared(dataset: Path, runs: Collection[str]) -> list[PurePosixPath]:
    """Remove the scenes of runs and the links to them; return the folders that were removed."""
    folders = [NEUROGLANCER / run for run in sorted(runs) if (dataset / NEUROGLANCER / run).exists()]
    for folder in folders:
        remove(safe_path(dataset, folder))
    remove_rows(dataset, NEUROGLANCER / LINKS, "run", runs)
    return folders
