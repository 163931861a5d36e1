"""The recipes in the README of a dataset: short programs in Python and R that run in its folder.

Invariant: recipes name files, regions and thresholds of this very dataset. They depend only on provenance and on the
tables of counts, so the order in which animals were packaged does not matter.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from catnip2bids.bids.dataset_paths import DERIVATIVE, entities_of, tables_of_counts
from catnip2bids.bids.provenance import ImageRecord, Provenance
from catnip2bids.bids.tables import UNKNOWN, read_table
from catnip2bids.catnip.counts import counted_segmentation

_WELL_KNOWN = "CA1"
"""The region of the recipes, if the dataset has it; otherwise it is the one with the most cells."""
_NUMBER = re.compile(r"\d{1,15}")


@dataclass(frozen=True)
class _Counted:
    """The counts that the recipes choose from counts.tsv."""

    table: PurePosixPath
    threshold: int
    corrected: bool
    stain: str | None  # None if counts.tsv has no such column
    region: str  # its name

    @property
    def in_python(self) -> str:
        """The condition for rows of a table `counts`."""
        corrected = "counts.corrected" if self.corrected else "~counts.corrected"
        stain = "" if self.stain is None else f" & (counts.stain == {json.dumps(self.stain)})"
        return f"(counts.threshold == {self.threshold}) & {corrected}{stain}"

    @property
    def in_r(self) -> str:
        """The same for `subset` in R."""
        corrected = f'corrected == "{str(self.corrected).lower()}"'
        stain = "" if self.stain is None else f" & stain == {json.dumps(self.stain)}"
        return f"threshold == {self.threshold} & {corrected}{stain}"


def recipes(dataset: Path, provenance: Provenance, counts: PurePosixPath) -> str:
    """Return the recipes of a dataset in Markdown; `counts` is the folder of counts.tsv, below the dataset."""
    counted = _choose_counts(dataset, counts)
    image = _first_image(provenance)
    libraries = "pandas zarr" if image is None or image[0].endswith(".ome.zarr") else "pandas tifffile imagecodecs"
    parts = [
        f"Run these in the folder of the dataset, and those in Python one after the other (`pip install {libraries}`)."
    ]
    if image is not None:
        parts += ["Open an image:", _python(*_opening(*image))]
    if counted is not None:
        parts += ["Mean counts by group:", _counts_by_group(counted), "Density of one region in each sample:"]
        parts += [_density(counted)]
        if cells := _first_cells(provenance, counted):
            parts += ["Cells of one region:", _cells(cells, counted)]
        parts += ["Mean counts by group, in R:", _in_r(counted)]
    return "\n\n".join(parts)


def _choose_counts(dataset: Path, folder: PurePosixPath) -> _Counted | None:
    """Choose the stain of most tables, its lowest threshold, and a region; None if there are no counts.

    Tables that are not corrected are preferred. The tables of samples are read, one after the other, because counts.tsv
    may be large.
    """
    kinds: dict[Path, tuple[bool, int, str]] = {}
    for path in tables_of_counts(dataset, folder):
        entities = entities_of(path.name)
        if counted := counted_segmentation(entities.get("desc", "")):
            kinds[path] = (counted[1], counted[0], entities.get("stain", UNKNOWN))
    if not kinds:
        return None
    n_tables = Counter(stain for _, _, stain in kinds.values())
    is_corrected, threshold, stain = first = min(
        kinds.values(), key=lambda kind: (kind[0], -n_tables[kind[2]], kind[1], kind[2])
    )
    n_cells: Counter[str] = Counter()
    known: set[str] = set()
    for path in (path for path, kind in kinds.items() if kind == first):
        for row in read_table(path).rows:
            if "name" in row and _NUMBER.fullmatch(row.get("cell_count", "")):
                n_cells[row["name"]] += int(row["cell_count"])
                known |= {row["name"]} if row.get("abbreviation") == _WELL_KNOWN else set()
    if not n_cells:
        return None
    region = max(known or n_cells, key=lambda name: (n_cells[name], name))
    return _Counted(folder / "counts.tsv", threshold, is_corrected, stain if len(n_tables) > 1 else None, region)


def _first_image(provenance: Provenance) -> tuple[str, ImageRecord] | None:
    """Return an image, a raw one if there is one; None if there are no images."""
    images = provenance.all_images().items()
    return min(images, key=lambda found: (found[0].startswith(f"{DERIVATIVE}/"), found[0]), default=None)


def _opening(target: str, image: ImageRecord) -> tuple[str, ...]:
    plane = image.shape[0] // 2
    if target.endswith(".ome.zarr"):
        return (
            "import zarr",
            "",
            f'image = zarr.open_array("{target}/0", mode="r")  # level 0: all voxels',
            f"print(image.shape, image.dtype, image[{plane}].mean())",
        )
    return (
        "import tifffile",
        "",
        f'plane = tifffile.imread("{target}", key={plane})  # one plane; all of them without key',
        "print(plane.shape, plane.dtype, plane.mean())",
    )


def _counts_by_group(counted: _Counted) -> str:
    return _python(
        "import pandas as pd",
        "",
        f'counts = pd.read_csv("{counted.table}", sep="\\t")',
        f"counts = counts[{counted.in_python}]",
        'animals = pd.read_csv("participants.tsv", sep="\\t")[["participant_id", "genotype"]]',
        'counts = counts.merge(animals, on="participant_id")',
        'print(counts.groupby(["name", "genotype"], dropna=False).cell_count.mean().unstack())',
    )


def _density(counted: _Counted) -> str:
    return _python(
        f'region = counts[counts["name"] == {json.dumps(counted.region)}]',
        'print(region[["participant_id", "sample_id", "genotype", "density_per_mm3"]])',
    )


def _first_cells(provenance: Provenance, counted: _Counted) -> str | None:
    """Return the table of cells of the first sample that has one of these counts."""
    tables = (path for run in provenance.runs.values() for path in run.cells)
    return min((path for path in tables if _is_of(path, counted)), default=None)


def _is_of(cells: str, counted: _Counted) -> bool:
    """Tell whether a table of cells is of the threshold and the stain that were chosen."""
    entities = entities_of(PurePosixPath(cells).name)
    kind = counted_segmentation(entities.get("desc", ""))
    is_stain = counted.stain is None or entities.get("stain") == counted.stain
    return kind is not None and kind[0] == counted.threshold and is_stain


def _cells(table: str, counted: _Counted) -> str:
    return _python(
        f'cells = pd.read_csv("{table}", sep="\\t")',
        'print(cells["name"].value_counts().head())',
        f'cells = cells[cells["name"] == {json.dumps(counted.region)}]',
        'print(cells[["z_um", "y_um", "x_um", "volume_um3", "proven"]])',
    )


def _in_r(counted: _Counted) -> str:
    code = (
        f'counts <- read.delim("{counted.table}", na.strings = "n/a")',
        f"counts <- subset(counts, {counted.in_r})",
        'animals <- read.delim("participants.tsv")[c("participant_id", "genotype")]',
        'counts <- merge(counts, animals, by = "participant_id")',
        'print(tapply(counts$cell_count, counts[c("name", "genotype")], mean))',
    )
    return "\n".join(["```r", *code, "```"])


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])
