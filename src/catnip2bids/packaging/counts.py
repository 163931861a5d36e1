"""Cell counts: CATNIP's CSVs as TSV tables, one for each segmentation and a long one for the dataset.

Invariant: the long table depends only on the tables in the dataset, not on the order in which animals were packaged.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import remove, write_text
from catnip2bids.bids.dataset_paths import entities_of
from catnip2bids.bids.tables import UNKNOWN, Table, read_table
from catnip2bids.catnip.counts import RegionCount, counted_segmentation, read_counts
from catnip2bids.leftovers import without_leftovers
from catnip2bids.packaging.tasks import CountsTask
from catnip2bids.paths import safe_path

_COLUMNS = ("index", "name", "abbreviation", "cell_count", "label_volume")
_LONG_COLUMNS = ("participant_id", "sample_id", "threshold", "corrected")


def write_counts(dataset: Path, task: CountsTask) -> bool:
    """Write one table of counts, with ``n/a`` for regions that CATNIP excluded; return whether it changed."""
    rows = [_row(count) for count in read_counts(task.entry.location)]
    return write_text(safe_path(dataset, task.target), Table(_COLUMNS, tuple(rows)).to_tsv())


def write_long_table(dataset: Path, folder: PurePosixPath) -> tuple[str, ...]:
    """Join all tables of counts below a folder in its ``counts.tsv``; return its columns, or none without tables."""
    tables = sorted(without_leftovers((dataset / folder).glob("sub-*/micr/*_counts.tsv")))
    if not tables:
        for name in ("counts.tsv", "counts.json"):
            remove(safe_path(dataset, folder / name))
        return ()
    entities = {path: entities_of(path.name.removesuffix("_counts.tsv")) for path in tables}
    stains = {found.get("stain", UNKNOWN) for found in entities.values()}
    rows = []
    for path in tables:
        found = entities[path]
        counted = counted_segmentation(found.get("desc", ""))
        if counted is None:
            continue  # not a table of ours
        threshold, is_corrected = counted
        which = {
            "participant_id": f"sub-{found['sub']}",
            "sample_id": f"sample-{found['sample']}",
            "stain": found.get("stain", UNKNOWN),
            "threshold": str(threshold),
            "corrected": "true" if is_corrected else "false",
        }
        rows += [which | dict(row) for row in read_table(path).rows]
    stain = ("stain",) if len(stains) > 1 else ()
    columns = (*_LONG_COLUMNS[:2], *stain, *_LONG_COLUMNS[2:], *_COLUMNS)
    write_text(safe_path(dataset, folder / "counts.tsv"), Table(columns, tuple(rows)).to_tsv())
    return columns


def _row(count: RegionCount) -> dict[str, str]:
    return {column: UNKNOWN if (value := getattr(count, column)) is None else str(value) for column in _COLUMNS}
