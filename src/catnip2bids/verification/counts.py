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
from catnip2bids.errors import Catnip2bidsError, SourceError, WorkerError
from catnip2bids.progress import Progress
from catnip2bids.verification.result import CountsVerdict, VolumeDifference


@dataclass(frozen=True)
class _Recount:
    """A table of counts, and the images in which its cells are counted again."""

    table: Path
    run: RunRecord
    images: ImagesOfCells | None  # None if the dataset lacks them

    @property
    def n_voxels(self) -> int:
        """Voxels to read."""
        return self.images.n_voxels if self.images else 0

    def verdict(self, dataset: Path, resources: Resources, progress: Progress) -> CountsVerdict:
        """Count again and compare."""
        name = self.table.relative_to(dataset).as_posix()
        progress.item(self.table.name)
        if self.images is None:
            why = "the dataset has no segmentation of this threshold with atlas labels of the same size"
            return CountsVerdict(name, 0, (), why)
        try:
            rows = read_counts(self.table)
            counts = {row.index: row.cell_count for row in rows}
            rule = Rule.of_log(self.run.log, None)  # so that regions are found that the table does not list
            images = replace(self.images.opened(dataset, rule, filtered=False), counts_voxels=True)
            tally = find_cells(images, rule, resources, progress.advance)
        except WorkerError:
            raise
        except Catnip2bidsError as error:
            what = (
                str(error).replace(f"{dataset.absolute()}/", "").removeprefix(f"{dataset}/").removeprefix(f"{name}: ")
            )
            return CountsVerdict(name, 0, (), what)
        n_regions = sum(n is not None for n in counts.values())
        not_compared = tuple(sorted(index for index in tally.counted if counts.get(index) is None))
        return CountsVerdict(
            table=name,
            n_regions=n_regions,
            differences=tuple(differences(tally, rule, counts)),
            not_compared=not_compared,
            volumes=tuple(_other_volumes(rows, tally)) if self.images.has_masked_labels else (),
        )


@dataclass(frozen=True)
class _Corrected:
    """A corrected table of counts, which may only leave out regions of the uncorrected one."""

    table: Path
    uncorrected: Path
    n_voxels: int = 0  # to read

    def verdict(self, dataset: Path, resources: Resources, progress: Progress) -> CountsVerdict:
        """Compare both tables."""
        del resources
        name = self.table.relative_to(dataset).as_posix()
        progress.item(self.table.name)
        try:
            rows, others = read_counts(self.table), read_counts(self.uncorrected)
        except SourceError as error:
            return CountsVerdict(name, 0, (), str(error).removeprefix(f"{self.table}: "))
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


def count_again(
    dataset: Path, provenance: Provenance, resources: Resources, progress: Progress
) -> tuple[CountsVerdict, ...]:
    """Return a verdict on each table of counts of a dataset."""
    tables = list(_recounts(dataset, provenance))
    progress.start(sum(table.n_voxels for table in tables))
    return tuple(table.verdict(dataset, resources, progress) for table in tables)


def _recounts(dataset: Path, provenance: Provenance) -> Iterator[_Recount | _Corrected]:
    """Yield all tables of counts; corrected ones are compared with the uncorrected ones, if there are any."""
    for key, run in sorted(provenance.runs.items()):
        images = {found.threshold: found for found in images_of_cells(run.images)}
        found = (
            (counted_segmentation(entities_of(path.name).get("desc", "")), path)
            for path in tables_of_counts(dataset, run=key)
        )
        tables = {counted: path for counted, path in found if counted is not None}
        for (threshold, is_corrected), table in tables.items():
            uncorrected = tables.get((threshold, False))
            if is_corrected and uncorrected is not None:
                yield _Corrected(table, uncorrected)
            else:
                yield _Recount(table, run, images.get(threshold))
