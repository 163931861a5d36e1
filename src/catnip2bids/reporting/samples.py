"""Read the samples of a dataset: their animals, images, regions and cells.

Invariant: everything comes from the dataset; missing values are None or empty, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from catnip2bids.bids.dataset_paths import (
    CELLS_ENDING,
    COUNTS_ENDING,
    UNCOUNTED_ENDING,
    entities_of,
    image_stem,
    tables_of_counts,
)
from catnip2bids.bids.provenance import PROVENANCE, Decision, ImageRecord, Provenance, RunRecord
from catnip2bids.bids.tables import UNKNOWN, Row, read_number, read_rows
from catnip2bids.catnip.component_type import ComponentType, Content, VoxelGrid
from catnip2bids.catnip.components import component_of, rows_with
from catnip2bids.catnip.counts import counted_segmentation
from catnip2bids.errors import DatasetError
from catnip2bids.paths import exists, inside
from catnip2bids.regions import DisplayedRegion, RegionHierarchy, displayed_regions, read_hierarchy, region_of

_SAMPLE_ENTITIES = ("sub-", "sample-", "stain-")
_SEXES = {"M": "male", "F": "female"}
_HEMISPHERES = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Counts:
    """The cells of one segmentation."""

    threshold: int
    corrected: bool
    cells: Mapping[int, int | None]  # by label value; None if CATNIP excluded the region
    volumes_mm3: Mapping[int, float | None] = field(default_factory=dict)  # likewise; None also if it is not known
    cell_tables: tuple[Path, ...] = ()  # of the cells that a region counts, and of those that none counts

    @property
    def title(self) -> str:
        """The name of the segmentation on a page."""
        return f"threshold {self.short_title}"

    @property
    def short_title(self) -> str:
        """The same without the word threshold."""
        return f"{self.threshold}{', damaged regions left out' if self.corrected else ''}"

    @property
    def total(self) -> int:
        """The number of all cells."""
        return sum(cells or 0 for cells in self.cells.values())

    @property
    def density(self) -> float | None:
        """Cells per mm3 of all regions that were counted; None if no volume is known."""
        known = [(n, self.volumes_mm3.get(index)) for index, n in self.cells.items()]
        volume = sum(size for n, size in known if n is not None and size is not None)
        return sum(n for n, size in known if n is not None and size is not None) / volume if volume else None

    def density_of(self, index: int) -> float | None:
        """Cells per mm3 of a region; None if it was excluded, has no voxels, or its volume is not known."""
        n, volume = self.cells.get(index), self.volumes_mm3.get(index)
        return None if n is None or not volume else n / volume


@dataclass(frozen=True)
class SampleImage:
    """One image of a sample."""

    path: PurePosixPath  # below the dataset
    record: ImageRecord

    @property
    def threshold(self) -> int | None:
        """Its FRST threshold."""
        known = component_of(self.record.role, self.record.source)
        return known[1] if known else None

    @property
    def short_name(self) -> str:
        """Its name without the entities of the sample."""
        stem = image_stem(self.path)
        entities = entities_of(stem)
        kept = [f"{key}-{entities[key]}" for key in ("space", "desc") if key in entities]
        return "_".join([*kept, stem.rpartition("_")[2]])

    @property
    def voxel_size_um(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x)."""
        x, y, z = self.record.voxel_size_um
        return z, y, x


@dataclass(frozen=True)
class Sample:
    """One sample with one stain, from one run of CATNIP."""

    key: str  # sub-..._sample-..._stain-...
    record: RunRecord
    animal: Row  # of participants.tsv
    hemisphere: str  # left, right, or empty
    acquired: str  # empty if unknown
    decisions: tuple[Decision, ...]
    regions: Mapping[int, DisplayedRegion]  # of its atlas, by label value
    hierarchy: RegionHierarchy  # empty where the dataset has no table of them
    counts: tuple[Counts, ...]  # thresholds ascending

    @property
    def name(self) -> str:
        """Its name on a page."""
        return f"{self.record.subject} · {self.record.sample} · {self.record.stain}"

    def known(self, column: str) -> str:
        """Return a value of the animal from participants.tsv, in words; empty if unknown."""
        value = self.animal.get(column, UNKNOWN)
        return "" if value == UNKNOWN else _SEXES.get(value, value) if column == "sex" else value

    @property
    def images(self) -> tuple[SampleImage, ...]:
        """Its images, the raw one first."""
        images = (SampleImage(inside(path, PROVENANCE.name), record) for path, record in self.record.images.items())
        return tuple(sorted(images, key=lambda image: (image.path.parts[0] == "derivatives", image.path.name)))

    def missing_files(self, dataset: Path) -> list[str]:
        """List the paths of images and tables of counts that were packaged and do not exist."""
        tables = (found.target for found in self.decisions if (found.target or "").endswith(COUNTS_ENDING))
        packaged = [*(image.path.as_posix() for image in self.images), *filter(None, tables)]
        return [path for path in packaged if not exists(dataset / path)]

    def without(self, path: str) -> Sample:
        """Return a copy of the sample without one image or table of cells, by its path below the dataset."""
        images = {image: record for image, record in self.record.images.items() if image != path}
        counts = (
            replace(found, cell_tables=())
            if any(table.as_posix().endswith(f"/{path}") for table in found.cell_tables)
            else found
            for found in self.counts
        )
        return replace(self, record=self.record.model_copy(update={"images": images}), counts=tuple(counts))

    def region(self, index: int) -> DisplayedRegion:
        """Return a region, or a group of regions that no label value stands for."""
        return self.hierarchy.groups.get(index) or region_of(self.regions, index)

    @property
    def raw(self) -> SampleImage | None:
        """Its raw image."""
        return next((image for image in self.images if image.path.parts[0] != "derivatives"), None)

    @property
    def segmentations(self) -> list[SampleImage]:
        """Its binary segmentations of cells, thresholds ascending."""
        return self._images_that(lambda component: component.is_segmentation)

    def heatmaps(self, *, is_corrected: bool) -> list[SampleImage]:
        """Return its heat maps, or the corrected ones, thresholds ascending."""
        return self._images_that(lambda row: row.content == Content.HEATMAP and row.is_corrected == is_corrected)

    def _images_that(self, wanted: Callable[[ComponentType], bool]) -> list[SampleImage]:
        found = [image for image in self.images if any(map(wanted, rows_with(image.record.role)))]
        return sorted(found, key=lambda image: image.threshold or 0)

    def is_named_in(self, path: str) -> bool:
        """Tell whether a path belongs to this sample."""
        return f"{self.key}_" in path or f"{self.key}." in path

    def is_concerned_by(self, path: str) -> bool:
        """Tell whether a path belongs to this sample, to its animal, or to the whole dataset."""
        named = (part for part in re.split("[/_.]", path) if part.startswith(_SAMPLE_ENTITIES))
        return set(named) <= set(self.key.split("_"))

    @property
    def excluded(self) -> list[Decision]:
        """The entries that were excluded on purpose."""
        return [found for found in self.decisions if found.action == "exclude" and found.problem is None]

    @property
    def main_counts(self) -> Counts | None:
        """The counts of the lowest threshold, without damaged regions if CATNIP left any out; None without counts."""
        return min(self.counts, key=lambda found: (found.threshold, not found.corrected), default=None)

    @property
    def excluded_regions(self) -> list[DisplayedRegion]:
        """The regions that CATNIP excluded because they overlap the exclusion mask, that is damaged tissue."""
        corrected, plain = (
            {
                index
                for counts in self.counts
                if counts.corrected == which
                for index, n in counts.cells.items()
                if n is None
            }
            for which in (True, False)
        )
        return [region_of(self.regions, index) for index in sorted(corrected - plain)]

    @property
    def bytes_before(self) -> int | None:
        """Bytes of the sources of the images; None if not recorded."""
        sizes = [found.n_bytes for found in self.decisions if (found.target or "") in self.record.images]
        return sum_of(sizes) if sizes else None

    @property
    def bytes_after(self) -> int | None:
        """Bytes of the images; None if not recorded."""
        sizes = [image.n_bytes for image in self.record.images.values()]
        return sum_of(sizes) if sizes else None


def sum_of(sizes: Sequence[int | None]) -> int | None:
    """Add up sizes; None if one is unknown."""
    return None if None in sizes else sum(size or 0 for size in sizes)


def read_samples(dataset: Path, provenance: Provenance) -> tuple[Sample, ...]:
    """Read the samples of a dataset, sorted by name; raise DatasetError if one of its tables cannot be read."""
    animals = {row["participant_id"]: row for row in read_rows(dataset / "participants.tsv", "participant_id")}
    hemispheres = {
        (row["participant_id"], row["sample_id"]): _HEMISPHERES.get(row.get("hemisphere", UNKNOWN), "")
        for row in read_rows(dataset / "samples.tsv", "participant_id", "sample_id")
    }
    return tuple(
        Sample(
            key,
            run,
            animals.get(f"sub-{run.subject}", {}),
            hemispheres.get((f"sub-{run.subject}", f"sample-{run.sample}"), ""),
            _acquired(dataset, key, run),
            tuple(provenance.decisions_of(key).values()),
            displayed_regions(dataset, run),
            read_hierarchy(dataset, run),
            _counts(dataset, key, run),
        )
        for key, run in sorted(provenance.runs.items())
    )


def _counts(dataset: Path, key: str, run: RunRecord) -> tuple[Counts, ...]:
    """Read the tables of counts of a sample, in the folders of either naming style."""
    found = []
    for path in tables_of_counts(dataset, run=key):
        stem = path.name.removesuffix(COUNTS_ENDING)
        counted = counted_segmentation(entities_of(path.name).get("desc", ""))
        if counted is not None:
            rows = {read_number(path, row["index"]): row for row in read_rows(path, "index", "cell_count")}
            cells = {index: _count(path, row["cell_count"]) for index, row in rows.items()}
            tables = (path.with_name(stem + CELLS_ENDING), path.with_name(stem + UNCOUNTED_ENDING))
            volumes = _volumes_mm3(path, rows, _voxel_mm3(run))
            are_there = tables[0].relative_to(dataset).as_posix() in run.cells or all(map(Path.is_file, tables))
            found.append(Counts(*counted, cells, volumes, tables if are_there else ()))
    return tuple(sorted(found, key=lambda counts: (counts.threshold, counts.corrected)))


def _volumes_mm3(path: Path, rows: Mapping[int, Row], voxel_mm3: float | None) -> dict[int, float | None]:
    """Read the volumes of regions; tables of earlier versions have only voxels."""
    volumes: dict[int, float | None] = {}
    for index, row in rows.items():
        if "volume_mm3" in row:
            volumes[index] = _volume(path, row["volume_mm3"])
        else:
            n_voxels = _count(path, row.get("label_volume", UNKNOWN))
            volumes[index] = None if n_voxels is None or voxel_mm3 is None else n_voxels * voxel_mm3
    return volumes


def _voxel_mm3(run: RunRecord) -> float | None:
    """Return the volume of a voxel of the labels in which CATNIP counts; None if no image has their grid."""
    native = (image for image in run.images.values() if rows_with(image.role)[0].grid == VoxelGrid.NATIVE)
    image = next(native, None)
    return None if image is None else math.prod(image.voxel_size_um) / 1e9


def _count(path: Path, text: str) -> int | None:
    return None if text == UNKNOWN else read_number(path, text)


def _volume(path: Path, text: str) -> float | None:
    if text == UNKNOWN:
        return None
    with suppress(ValueError):
        if math.isfinite(volume := float(text)) and volume >= 0:
            return volume
    raise DatasetError(f"{path}: {text!r} is not a volume; correct the table, or bring it back from a copy")


def _acquired(dataset: Path, key: str, run: RunRecord) -> str:
    """Return the time of acquisition of the raw image, to the minute."""
    for row in read_rows(dataset / f"sub-{run.subject}" / f"sub-{run.subject}_scans.tsv", "filename", "acq_time"):
        if f"/{key}_" in row["filename"] and row["acq_time"] != UNKNOWN:
            return row["acq_time"].replace("T", " ")[:16]
    return ""
