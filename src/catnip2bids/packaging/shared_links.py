"""Keep the links of `share` correct: remove those that show something else than the dataset has now.

Invariant: a link that is listed opens files that were made from the current images and tables. If a command was
interrupted, nothing tells which links those are, so the next one removes them all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import remove
from catnip2bids.bids.checksums import are_set_aside, file_sha256
from catnip2bids.bids.dataset_paths import DERIVATIVE, NEUROGLANCER
from catnip2bids.bids.provenance import Provenance
from catnip2bids.bids.tables import remove_rows
from catnip2bids.heatmap_scales import heatmap_scales
from catnip2bids.packaging.result import PackageLog
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


def remove_outdated_links(
    log: PackageLog,
    before: Provenance,
    now: Provenance,
    checksums: Mapping[str, str],
    changed: Collection[str] = (),
) -> None:
    """Remove the links to the runs in `changed`, and to those whose regions or heat maps look different now.

    Runs share atlas tables and the scales of heat maps, so packaging one can change what links to others show. `before`
    and `checksums` are those of the dataset before the command.
    """
    if not (log.dataset / NEUROGLANCER).is_dir():
        return
    scales_before, scales = heatmap_scales(before.runs.values()), heatmap_scales(now.runs.values())
    outdated = {*changed}
    for key in before.runs.keys() & now.runs.keys():
        table_before, table = (DERIVATIVE / (found.runs[key].atlas_table or "") for found in (before, now))
        sha256 = file_sha256(log.dataset / table) if (log.dataset / table).is_file() else None
        thresholds = heatmap_scales([now.runs[key]])
        if checksums.get(str(table_before)) != sha256 or any(scales_before.get(t) != scales[t] for t in thresholds):
            outdated.add(key)
    if removed := remove_shared(log.dataset, outdated):
        log.removed += removed
        log.progress.note("outdated links are removed; make them again with catnip2bids share")


def remove_links_after_interruption(log: PackageLog) -> None:
    """Remove all links if an earlier command was interrupted; call this before the checksums are set aside.

    The checksums of their files are forgotten with the folder.
    """
    if are_set_aside(log.dataset) and (log.dataset / NEUROGLANCER).is_dir():
        remove(safe_path(log.dataset, NEUROGLANCER))
        log.removed.append(NEUROGLANCER)
        why = "because an earlier command was interrupted and they may be wrong"
        log.progress.note(f"{NEUROGLANCER}: links are removed, {why}; make them again with catnip2bids share")
