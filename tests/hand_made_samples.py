"""Samples as the report reads them, with counts written by hand."""

from __future__ import annotations

from collections.abc import Mapping

from catnip2bids.bids.provenance import RunRecord
from catnip2bids.regions import DisplayedRegion, RegionHierarchy
from catnip2bids.reporting.samples import Counts, Sample

REGIONS = {
    1: DisplayedRegion(1, "Field CA1", "CA1", "#112233"),
    2: DisplayedRegion(2, "Layer 2", "L2", "#223344"),
    3: DisplayedRegion(3, "Layer 5", "L5", "#334455"),
}
HIERARCHY = RegionHierarchy({2: 9, 3: 9}, {9: DisplayedRegion(9, "Cortex", "CTX", "#445566")})
Numbers = Mapping[int, tuple[int | None, float | None]]


def counts(numbers: Numbers, threshold: int = 10000, *, corrected: bool = False) -> Counts:
    """Return counts of cells and volumes in mm3 by label value."""
    cells = {index: n for index, (n, _) in numbers.items()}
    return Counts(threshold, corrected, cells, {index: volume for index, (_, volume) in numbers.items()})


def sample(subject: str, *found: Counts, side: str = "left", stain: str = "cFos", genotype: str = "ko") -> Sample:
    """Return a sample with counts and without images."""
    label = f"{side.capitalize()}Hemisphere"
    run = RunRecord(name="run", source="run", source_id=None, subject=subject, sample=label, stain=stain, layout="L0")
    animal = {"participant_id": f"sub-{subject}", "genotype": genotype, "sex": "F"}
    key = f"sub-{subject}_sample-{label}_stain-{stain}"
    return Sample(key, run, animal, side, "", (), REGIONS, HIERARCHY, found)
