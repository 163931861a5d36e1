"""Find the cells of one segmentation of a run in the images of its dataset, and count them as CATNIP does.

Invariant: everything is read from the dataset, so that counts can be checked where the source is gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from catnip2bids.bids.provenance import CountDifference, ImageRecord
from catnip2bids.catnip.components import HEMISPHERE_MASK, WHOLE_LABELS, component_of
from catnip2bids.cells.connected_components import CellImages, find_components
from catnip2bids.cells.counting_rule import Rule, Tally, count
from catnip2bids.engine import Resources
from catnip2bids.errors import SourceError
from catnip2bids.formatting import format_list
from catnip2bids.paths import inside
from catnip2bids.volume import Volume, inspect_volume

_MASKED_LABELS, _SEGMENTATION, _FILTERED = "atlasmasked", "FRSTseg", "FRSTsegfiltered"
_VERSION = 1
"""Version of the rule and the tables; if it changes, all tables are made again."""


@dataclass(frozen=True)
class ImagesOfCells:
    """The images, by path below the dataset, in which the cells of one threshold are found."""

    threshold: int
    segmentation: str
    labels: str
    mask: str | None  # None if the labels are masked already, or no mask is known
    filtered: str | None
    records: Mapping[str, ImageRecord]

    def fingerprint(self, *others: object) -> str:
        """Return a hash of the images and of what else decides which cells are found."""
        images = [self.segmentation, self.labels, self.mask, self.filtered]
        known = [self.records[image].fingerprint if image else None for image in images]
        return hashlib.sha256(json.dumps([_VERSION, known, *others]).encode()).hexdigest()

    @property
    def has_masked_labels(self) -> bool:
        """Whether the labels are those in which CATNIP counts."""
        return self.mask is not None or self.records[self.labels].role == _MASKED_LABELS

    @property
    def n_voxels(self) -> int:
        """Voxels of the segmentation."""
        z, y, x = self.records[self.segmentation].shape
        return z * y * x

    def opened(self, dataset: Path, rule: Rule, *, filtered: bool) -> CellImages:
        """Open the images to find cells in the segmentation, or in the filtered one."""
        cells = self.filtered if filtered and self.filtered else self.segmentation
        return CellImages(
            segmentation=_open(dataset, cells),
            labels=_open(dataset, self.labels),
            mask=_open(dataset, self.mask) if self.mask else None,
            has_volumes=filtered,
            downsampling=rule.downsampling,
        )


def images_of_cells(images: Mapping[str, ImageRecord]) -> list[ImagesOfCells]:
    """List the segmentations of a run that have labels of the same shape, thresholds ascending.

    `images` are the records of the images of the run, of which roles, sources and shapes are used.
    """
    by_role: dict[tuple[str, int | None], str] = {}
    for path, image in images.items():
        known = component_of(image.role, image.source)
        by_role.setdefault((image.role, known[1] if known else None), path)
    masked = by_role.get((_MASKED_LABELS, None))
    labels = masked or by_role.get((WHOLE_LABELS, None))
    mask = None if masked else by_role.get((HEMISPHERE_MASK.role, None))
    found = []
    for (role, threshold), segmentation in by_role.items():
        if role != _SEGMENTATION or threshold is None or labels is None:
            continue
        filtered = by_role.get((_FILTERED, threshold))
        if filtered and images[filtered].shape != images[segmentation].shape:
            filtered = None
        if len({images[image].shape for image in (segmentation, labels, mask) if image}) == 1:
            found.append(ImagesOfCells(threshold, segmentation, labels, mask, filtered, images))
    return sorted(found, key=lambda images: images.threshold)


def find_cells(
    images: CellImages,
    rule: Rule,
    resources: Resources,
    on_voxels: Callable[[int], None],
    on_rows: Callable[[npt.NDArray[np.void]], None] = lambda _: None,
) -> Tally:
    """Find and count all cells; `on_rows` is called with their rows (`CELL_ROW`) in order, a part at a time."""
    tally = Tally()
    counting = partial(count, rule, images.has_volumes)
    for rows, part in find_components(images, tally.boxes, tally.n_labelled, resources, on_voxels, counting):
        tally.update(part)
        on_rows(rows)
    return tally


def differences(tally: Tally, rule: Rule, counted: Mapping[int, int | None]) -> list[CountDifference]:
    """Compare the cells that were found with CATNIP's counts, by label value, and give likely reasons."""
    cut = tally.cut(rule)
    return [
        CountDifference(index=index, catnip=n, found=tally.counted[index], reason=tally.difference(index, n, rule, cut))
        for index, n in sorted(counted.items())
        if n is not None and n != tally.counted[index]
    ]


def _open(dataset: Path, image: str) -> Volume:
    path = dataset / inside(image, "provenance.json")
    if not path.exists():
        raise SourceError(f"{path}: is missing; bring it back from a copy, or package its run again")
    inspection = inspect_volume(path)
    if inspection.volume is None or inspection.problems:
        raise SourceError(format_list(inspection.problems))
    return inspection.volume
