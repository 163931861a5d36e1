"""Check CATNIP's counts: count cells and voxels of each region again in the images of a dataset, and compare.

Invariant: a region is confirmed only if exactly as many cells were found as CATNIP's table says, and its volume fits
the masked labels. A corrected table is confirmed if it only leaves out regions of the uncorrected one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catnip2bids.bids.dataset_paths import entities_of, tables_of_counts
from catnip2bids.bids.provenance import CountDifference, Provenance, RunRecord
from catnip2bids.catnip.counts import RegionCount, counted_segmentation, other_counts, read_counts
from catnip2bids.cells.counting_rule import Rule, Tally, fitting_volumes
from catnip2bids.cells.find_cells import ImagesOfCells, differences, find_cells, images_of_cells
from catnip2bids.engine import Resources
from catnip2bids.errors import Catnip2bidsError, WorkerError
from catnip2bids.progress import Progress
from catnip2bids.verification.result import CountsVerdict, VolumeDifference


@dataclass(frozen=True)
class _Table:
    """A table of counts, and what it is compared with."""

    path: Path
    run: RunRecord
    images: ImagesOfCells | None  # in which cells are counted again; None if the dataset lacks them
    uncorrected: Path | None = None  # of a corrected table, which is compared with this one instead

    @property
    def n_voxels(self) -> int:
        """Voxels to read."""
        return self.images.n_voxels if self.images and not self.uncorrected else 0


def count_again(
    dataset: Path, provenance: Provenance, resources: Resources, progress: Progress
) -> tuple[CountsVerdict, ...]:
    """Return a verdict on each table of counts of a dataset."""
    tables, verdicts = list(_tables(dataset, provenance)), []
    progress.start(sum(table.n_voxels for table in tables))
    for table in tables:
        name = table.path.relative_to(dataset).as_posix()
        progress.item(table.path.name)
        try:
            if table.uncorrected is None:
                verdicts.append(_recounted(dataset, name, table, resources, progress))
            else:
                verdicts.append(_compared(name, read_counts(table.path), read_counts(table.uncorrected)))
        except WorkerError:
            raise
        except Catnip2bidsError as error:
            what = str(error).replace(f"{dataset.absolute()}/", "").removeprefix(f"{dataset}/")
            verdicts.append(CountsVerdict(name, 0, (), what.removeprefix(f"{name}: ")))
    return tuple(verdicts)


def _tables(dataset: Path, provenance: Provenance) -> Iterator[_Table]:
    """Yield all tables of counts; corrected ones are compared with the uncorrected ones, if there are any."""
    for key, run in sorted(provenance.runs.items()):
        images = {found.threshold: found for found in images_of_cells(run.images)}
        found = (
            (counted_segmentation(entities_of(path.name).get("desc", "")), path)
            for path in tables_of_counts(dataset, run=key)
        )
        tables = {counted: path for counted, path in found if counted is not None}
        for (threshold, is_corrected), path in tables.items():
            uncorrected = tables.get((threshold, False)) if is_corrected else None
            yield _Table(path, run, images.get(threshold), uncorrected)


def _recounted(dataset: Path, name: str, table: _Table, resources: Resources, progress: Progress) -> CountsVerdict:
    """Count cells and voxels again, and compare."""
    if table.images is None:
        why = "the dataset has no segmentation of this threshold with atlas labels of the same size"
        return CountsVerdict(name, 0, (), why)
    rows = read_counts(table.path)
    counts = {row.index: row.cell_count for row in rows}
    rule = Rule.of_log(table.run.log, None)  # so that regions are found that the table does not list
    images = replace(table.images.opened(dataset, rule, filtered=False), counts_voxels=True)
    tally = find_cells(images, rule, resources, progress.advance)
    return CountsVerdict(
        table=name,
        n_regions=sum(n is not None for n in counts.values()),
        differences=tuple(differences(tally, rule, counts)),
        not_compared=tuple(sorted(index for index in tally.counted if counts.get(index) is None)),
        volumes=tuple(_other_volumes(rows, tally)) if table.images.has_masked_labels else (),
    )


def _compared(name: str, rows: Sequence[RegionCount], others: Sequence[RegionCount]) -> CountsVerdict:
    """Compare a corrected table with the uncorrected one, of which it may only leave out regions."""
    different, known = other_counts(rows, others), {row.index for row in others if row.cell_count is not None}
    return CountsVerdict(
        table=name,
        n_regions=sum(row.cell_count is not None and row.index in known for row in rows),
        differences=tuple(
            CountDifference(index=row.index, catnip=row.cell_count, found=other.cell_count)
            for row, other in different
            if row.cell_count is not None and other.cell_count is not None and row.cell_count != other.cell_count
        ),
        volumes=tuple(
            VolumeDifference(row.index, catnip=row.label_volume or 0, found=other.label_volume or 0)
            for row, other in different
            if None not in (row.label_volume, other.label_volume) and row.label_volume != other.label_volume
        ),
        not_compared=tuple(sorted(row.index for row in rows if row.cell_count and row.index not in known)),
    )


def _other_volumes(rows: Sequence[RegionCount], tally: Tally) -> Iterator[VolumeDifference]:
    """Yield the regions with a count whose labels have another volume than the table says."""
    fitting = fitting_volumes([row.index for row in rows], tally.n_labelled)
    for row in rows:
        volume = row.label_volume
        if row.cell_count is not None and volume is not None and volume not in fitting[row.index]:
            yield VolumeDifference(row.index, catnip=volume, found=tally.n_labelled[row.index])
