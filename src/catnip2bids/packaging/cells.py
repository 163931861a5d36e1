"""The tables of cells of a run: from CATNIP's own list of cells, or else from its filtered or binary segmentation.

Invariant: a table is made again only if what it was made from has changed, and is never in memory as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt

from catnip2bids.atomic_write import make_folder, remove
from catnip2bids.bids.dataset_paths import CELLS_ENDING, COUNTS_ENDING, UNCOUNTED_ENDING, copy_of
from catnip2bids.bids.provenance import PROVENANCE, CellsRecord, ImageRecord, RunRecord
from catnip2bids.bids.tables import encode_value
from catnip2bids.catnip.components import CELL_LIST
from catnip2bids.catnip.counts import RegionCount, read_counts
from catnip2bids.cells.cell_list import read_cell_list
from catnip2bids.cells.counting_rule import CELL_ROW, FATES, Fate, Rule, Tally
from catnip2bids.cells.find_cells import ImagesOfCells, differences, find_cells, images_of_cells
from catnip2bids.engine import Resources
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_list
from catnip2bids.leftovers import without_leftovers
from catnip2bids.packaging.result import PackageLog
from catnip2bids.packaging.row_files import RowFiles, open_row_files
from catnip2bids.packaging.tasks import RunTasks
from catnip2bids.paths import inside, safe_path
from catnip2bids.volume import file_states, read_block

Zyx = tuple[float, float, float]

_CHECKED_CELLS = 200
"""Cells of a list that are looked up in the segmentation."""


@dataclass(frozen=True)
class CellsTask:
    """Write the two tables of cells of one segmentation."""

    images: ImagesOfCells
    table: PurePosixPath  # of counted cells, below the dataset
    cell_list: Path | None  # CATNIP's own: in the source, or its copy where the source is gone
    counts: Mapping[int, RegionCount]  # CATNIP's table; empty without one
    rule: Rule
    voxel_size_um: Zyx

    @property
    def uncounted(self) -> PurePosixPath:
        """The table of cells that no region counts."""
        return _uncounted(self.table)

    @property
    def names(self) -> dict[int, str]:
        """Names of regions by label value."""
        return {index: region.name for index, region in self.counts.items()}

    def fingerprint(self) -> str:
        """Return a hash of everything that decides the tables."""
        of_list = file_states([self.cell_list]) if self.cell_list else []
        # names as tables have them: earlier versions wrote quotes as they are
        rows = [(row.index, encode_value(row.name), row.cell_count) for row in self.counts.values()]
        rule = (self.rule.size_range, self.rule.downsampling)
        return self.images.fingerprint(of_list, rows, rule, self.voxel_size_um)

    def is_current(self, dataset: Path, record: CellsRecord | None) -> bool:
        """Tell whether the tables exist and would be made the same."""
        are_there = all((dataset / table).is_file() for table in (self.table, self.uncounted))
        return are_there and record is not None and record.fingerprint == self.fingerprint()

    def warn(self, record: CellsRecord | None, log: PackageLog) -> None:
        """Log what may be wrong with CATNIP's list of cells, or with its table of counts."""
        if record is None:
            return
        if record.list_problem is not None:
            log.warning(f"{self.cell_list}: {record.list_problem}")
        with_cells = {index for index, row in self.counts.items() if row.cell_count}
        not_proven = {difference.index for difference in record.differences}
        if record.origin != "cell list" and with_cells and with_cells <= not_proven:
            image = self.images.filtered if record.origin == "filtered" else self.images.segmentation
            log.warning(
                f"{_counts_beside(self.table)}: no region with cells has as many of them in {image}, so none of its "
                "counts is proven; check that both are of the same run of CATNIP"
            )

    @property
    def n_voxels(self) -> int:
        """Voxels to read."""
        has_two = self.cell_list is None and self.images.filtered is not None
        return self.images.n_voxels * (2 if has_two else 1)


def cells_tasks(dataset: Path, tasks: RunTasks, record: RunRecord) -> list[CellsTask]:
    """List the tables of cells of a run whose images and tables of counts are all made."""
    lists = _copied_lists(dataset, tasks)
    copied = [copy.entry for copy in tasks.copies]
    lists |= {entry.threshold: entry.location for entry in copied if entry.component == CELL_LIST}
    found = []
    for images in images_of_cells(record.images):
        table = tasks.cells_target(images.threshold)
        counts = _read_counts(safe_path(dataset, _counts_beside(table)))
        x, y, z = record.images[images.segmentation].voxel_size_um
        found.append(
            CellsTask(
                images=images,
                table=table,
                cell_list=lists.get(images.threshold),
                counts={row.index: row for row in counts},
                rule=Rule.of_log(record.log, {row.index for row in counts} or None),
                voxel_size_um=(z, y, x),
            )
        )
    return found


def _copied_lists(dataset: Path, tasks: RunTasks) -> dict[int | None, Path]:
    """Find the copies of CATNIP's lists of cells, by threshold; the source of a copy may be gone."""
    folder = dataset / copy_of(tasks.name, "")
    lists: dict[int | None, Path] = {}
    for path in sorted(without_leftovers(folder.rglob("*.mat"))):
        if found := CELL_LIST.match(path.relative_to(folder).as_posix()):
            lists[int(found["threshold"])] = safe_path(dataset, PurePosixPath(path.relative_to(dataset).as_posix()))
    return lists


def _read_counts(path: Path) -> list[RegionCount]:
    """Read a table of counts of the dataset, which may come from a source that is gone; none if it cannot be read."""
    try:
        return read_counts(path) if path.is_file() else []
    except SourceError:
        return []


def expected_tables(tasks: RunTasks) -> list[PurePosixPath]:
    """List the tables of cells of a run that has not been packaged yet."""
    planned = {
        str(task.target): ImageRecord.model_construct(
            role=task.component.role, source=task.entry.path, shape=task.volume.shape
        )
        for task in tasks.images
    }
    counted = [tasks.cells_target(images.threshold) for images in images_of_cells(planned)]
    return [*counted, *map(_uncounted, counted)]


def _counts_beside(table: PurePosixPath) -> PurePosixPath:
    return table.with_name(table.name.removesuffix(CELLS_ENDING) + COUNTS_ENDING)


def _uncounted(table: PurePosixPath) -> PurePosixPath:
    return table.with_name(table.name.removesuffix(CELLS_ENDING) + UNCOUNTED_ENDING)


def write_cells(dataset: Path, task: CellsTask, resources: Resources, log: PackageLog) -> CellsRecord:
    """Write the tables of counted and uncounted cells; return the record."""
    folder = safe_path(dataset, task.table.parent)
    make_folder(folder)
    with open_row_files(folder) as row_files:
        listed, list_problem = _listed_cells(dataset, task, row_files)
        origin, tally = _find(dataset, task, listed, resources, log, row_files)
        proven = frozenset(index for index, row in task.counts.items() if row.cell_count == tally.counted[index])
        row_files.write_counted(safe_path(dataset, task.table), task.voxel_size_um, task.names, proven, resources)
        row_files.write_uncounted(safe_path(dataset, task.uncounted), task.voxel_size_um, resources)
    log.copied += [task.table, task.uncounted]
    n_divided = tally.large.total() if origin != "segmentation" else 0  # their parts are in the table of counted cells
    record = CellsRecord(
        origin=origin,
        fingerprint=task.fingerprint(),
        list_problem=list_problem,
        n_cells=tally.counted.total(),
        n_outside=tally.fates[Fate.OUTSIDE],
        n_no_region=tally.fates[Fate.NO_REGION],
        n_too_large=tally.fates[Fate.TOO_LARGE] - n_divided,
        n_too_small=tally.fates[Fate.TOO_SMALL],
        n_regions=len(task.counts),
        n_regions_proven=len(proven),
        differences=differences(tally, task.rule, {index: row.cell_count for index, row in task.counts.items()}),
    )
    task.warn(record, log)
    return record


def remove_tables(dataset: Path, table: str, log: PackageLog) -> None:
    """Remove a table of cells and the one of uncounted cells beside it."""
    counted = inside(table, PROVENANCE.name)
    for path in (counted, _uncounted(counted)):
        if (dataset / path).exists():
            remove(safe_path(dataset, path))
            log.removed.append(path)


def _find(
    dataset: Path,
    task: CellsTask,
    listed: Counter[int] | None,
    resources: Resources,
    log: PackageLog,
    row_files: RowFiles,
) -> tuple[Literal["cell list", "filtered", "segmentation"], Tally]:
    """Find the counted cells in the best source, and the uncounted ones in the segmentation."""

    def find(on_rows: Callable[[npt.NDArray[np.void]], None], *, filtered: bool) -> Tally:
        images = task.images.opened(dataset, task.rule, filtered=filtered)
        return find_cells(images, task.rule, resources, log.progress.advance, on_rows)

    if listed is None and task.images.filtered is None:
        return "segmentation", find(row_files.add, filtered=False)
    origin: Literal["cell list", "filtered"] = "cell list"
    if listed is None:
        origin, listed = "filtered", find(row_files.add_counted, filtered=True).counted
    tally = find(row_files.add_uncounted, filtered=False)
    tally.counted = listed
    return origin, tally


def _listed_cells(dataset: Path, task: CellsTask, row_files: RowFiles) -> tuple[Counter[int] | None, str | None]:
    """Read CATNIP's own list of cells, and count them by region; return the counts and what is wrong with the list.

    The counts are None without a usable list.
    """
    if task.cell_list is None:
        return None, None
    counted: Counter[int] = Counter()
    try:
        for block in read_cell_list(task.cell_list, task.images.records[task.images.segmentation].shape):
            region = int(block.regions[0])
            if task.counts and region not in task.counts:
                raise SourceError(f"{task.cell_list}: has cells of {region}, which the table of counts does not list")
            rows = np.empty(len(block), CELL_ROW)
            rows["centre"], rows["n_voxels"], rows["region"] = block.centres, block.volumes_voxels, block.regions
            rows["fate"] = FATES.index(Fate.COUNTED)
            row_files.add_counted(rows)
            counted[region] = len(block)
        _refuse_other_run(dataset, task, row_files)
    except SourceError as error:
        image = task.images.filtered or task.images.segmentation
        row_files.forget_counted()
        return None, f"{error}; until then, cells are found again in {image}".removeprefix(f"{task.cell_list}: ")
    known = {region: row.cell_count for region, row in task.counts.items() if row.cell_count is not None}
    if wrong := [region for region, n in known.items() if n != counted[region]]:
        regions = format_list([f"{region} {task.counts[region].name}" for region in wrong])
        return counted, (
            f"has another number of cells than the table of counts for {regions}; "
            "check that both are of the same run of CATNIP"
        )
    return counted, None


def _refuse_other_run(dataset: Path, task: CellsTask, row_files: RowFiles) -> None:
    """Refuse a list of cells if the segmentation has no cells where most of them are.

    All voxels of a list's cells are inside cells of the segmentation from which CATNIP made it. So is nearly every
    centre, except those of curved cells; of the centres in another brain, only as many as cells fill its volume: a few
    percent. Half is far from both.
    """
    segmentation = task.images.opened(dataset, task.rule, filtered=False).segmentation
    places = np.rint(row_files.sample_of_counted(_CHECKED_CELLS)["centre"]).astype(int).tolist()
    voxels = (read_block(segmentation, (slice(z, z + 1), slice(y, y + 1), slice(x, x + 1))) for z, y, x in places)
    n_inside = sum(voxel.item() != 0 for voxel in voxels)
    if 2 * n_inside < len(places):
        raise SourceError(
            f"{task.cell_list}: only {n_inside:,} of the {len(places):,} cells that were checked are in "
            f"{task.images.segmentation}, "
            "so it is the list of another run or threshold; copy the right list, or exclude it in the plan"
        )
