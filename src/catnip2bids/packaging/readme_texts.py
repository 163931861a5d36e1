"""The texts of a dataset: READMEs and descriptions of columns.

Invariant: texts depend only on provenance and tables, so packaging animals one by one gives the same texts as packaging
them at once. Text that a person writes around the marked part of a README stays.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from catnip2bids.atomic_write import write_text
from catnip2bids.bids.provenance import Provenance
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.enums import Naming
from catnip2bids.packaging.existing_dataset import read_text
from catnip2bids.paths import SafePath

_BEGIN = "<!-- written by catnip2bids: text between these marks is replaced, the rest is yours -->"
_ANY_BEGIN = re.compile("<!-- written by catnip2bids: [^<>\n]*-->")
"""The same, also in the words of earlier versions."""
_END = "<!-- end of what catnip2bids writes -->"

CHANGES = "1.0.0 {date}\n  - Packaged from the output of CATNIP.\n"
BIDSIGNORE = "dandiset.yaml\n"
DERIVATIVE_BIDSIGNORE = """\
# the BIDS schema has no names for segmentations and region tables of microscopy yet
sub-*_dseg.*
sub-*_mask.*
sub-*_counts.*
counts.json
counts.tsv
"""

PARTICIPANTS: dict[str, Any] = {
    "Description": "The animals",
    "participant_id": {"Description": "Id of the animal: id and genotype of the run's name, letters and digits only"},
    "species": {"Description": "Binomial species name from the NCBI Taxonomy"},
    "sex": {"Description": "Sex of the animal", "Levels": {"M": "male", "F": "female", "O": "other"}},
    "age": {"Description": "Age of the animal", "Units": "week"},
    "strain": {"Description": "Name of the strain of the animal"},
    "genotype": {"Description": "Genotype of the animal, as in the name of the run"},
}
SAMPLES: dict[str, Any] = {
    "Description": "The hemispheres or brains that were imaged",
    "sample_id": {"Description": "Sample: the hemisphere, or the whole brain"},
    "participant_id": {"Description": "The animal that the sample is of"},
    "sample_type": {"Description": "Biosample type, ENCODE vocabulary"},
    "pathology": {"Description": "Pathology of the sample"},
    "derived_from": {"Description": "Sample that this one is derived from"},
    "hemisphere": {"Description": "Hemisphere that was imaged", "Levels": {"L": "left", "R": "right", "B": "both"}},
}
SCANS: dict[str, Any] = {
    "Description": "The raw images of the subject",
    "filename": {"Description": "Image, below the folder of the subject"},
    "acq_time": {"Description": "When the image was acquired, from the name of the run; local time"},
}
COUNTS: dict[str, Any] = {
    "index": {"Description": "Value of the region in the atlas label images, see dseg.tsv in derivatives/catnip"},
    "name": {"Description": "Name of the region"},
    "abbreviation": {"Description": "Acronym of the region"},
    "cell_count": {"Description": "Number of cells in the region; n/a: the region is excluded, or the number unknown"},
    "label_volume": {
        "Description": "Size of the region in voxels of the image's native grid; n/a: it is excluded, or unknown",
        "Units": "voxel",
    },
    "participant_id": {"Description": "The animal"},
    "sample_id": {"Description": "The sample"},
    "stain": {"Description": "The stain"},
    "threshold": {"Description": "Threshold on the fast radial symmetry transform from which voxels belong to cells"},
    "corrected": {
        "Description": "Whether regions that overlap the exclusion mask too much are excluded",
        "Levels": {"true": "they are excluded", "false": "they are not"},
    },
}


def replace_marked_part(path: SafePath, text: str) -> None:
    """Write the marked part of a README; the text around the marks stays."""
    marked = f"{_BEGIN}\n{text.strip()}\n{_END}"
    before = _ANY_BEGIN.sub(_BEGIN, read_text(path) or f"{marked}\n")
    head, begin, rest = before.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    write_text(path, f"{head}{marked}{tail}" if begin and end else f"{before.rstrip()}\n\n{marked}\n")


def add_lines(path: SafePath, text: str) -> None:
    """Add lines to a text file, except those that it has already."""
    before = read_text(path)
    missing = [line for line in text.splitlines() if line not in before.splitlines()]
    if missing:
        write_text(path, before + "\n".join(missing) + "\n")


def dataset_readme(name: str, provenance: Provenance, counts: PurePosixPath, recipes: str) -> str:
    """Return the README of the dataset; `counts` is the folder of its tables of counts."""
    return "\n\n".join(
        [
            f"# {name}",
            "Light-sheet microscopy of cleared brains. The images at the top (`sub-*/micr/*_SPIM.*`) are not the bytes "
            "that left the microscope: CATNIP's N4 bias-field correction was applied to them, and whatever was done "
            "before CATNIP, usually a deconvolution. "
            "What CATNIP (https://github.com/SNIR-NIMH/CATNIP) computed from them is below `derivatives`.",
            _table(
                ("folder", "what is in it"),
                [
                    ("`sub-*/micr`", "one image per sample and stain"),
                    ("`derivatives/catnip`", "atlas labels, cell segmentations and heat maps; `descriptions.tsv` says "
                     "what each `desc-` label is, `dseg.tsv` names the regions"),
                    (f"`{counts}`", "cells per region: one table per image and threshold, and all of them in "
                     "`counts.tsv`"),
                    ("`sourcedata/catnip`", "small files of CATNIP, as they were"),
                    ("`code/catnip2bids`", "the plan, the provenance of every file, and a sha256 of every plane"),
                ],
            ),
            "## Samples",
            _table(
                ("subject", "sample", "stain", "run of CATNIP", "images"),
                [
                    (f"sub-{run.subject}", run.sample, run.stain, run.name, str(len(run.images)))
                    for _, run in sorted(provenance.runs.items())
                ],
            ),
            "## Tables",
            _tables(counts),
            "## Space and orientation",
            _spaces(provenance),
            "## How cells were counted",
            _counting(provenance),
            "## Recipes",
            recipes,
            "## What was left out, and why",
            _left_out(provenance),
            "No pixel was changed: level 0 of every image holds the values that CATNIP wrote. "
            "Lower resolution levels are means of intensities, the most frequent label, or the maximum of masks."
            + _recovered(provenance),
        ]
    )  # fmt: skip


def _tables(counts: PurePosixPath) -> str:
    """Describe the tables that a reader needs."""
    cells = f"{counts}/sub-*/micr/*"
    return (
        "All are TSV with a header line. `n/a` is not known; a count that is `n/a` is that of an excluded region. The "
        "`.json` beside a table, or above it, describes its columns.\n\n"
    ) + _table(
        ("table", "a row for each", "columns"),
        [
            ("`participants.tsv`", "animal", "`participant_id species sex age strain genotype`; age in weeks"),
            ("`samples.tsv`", "hemisphere or brain", "`hemisphere` is L, R or B (both)"),
            (f"`{counts}/counts.tsv`", "region of each sample and threshold", "`cell_count`, `label_volume` (voxels), "
             "`volume_mm3`, `density_per_mm3` (cells per mm3); `corrected` is true where damaged regions are excluded"),
            (f"`{counts}/regions.tsv`", "region", "`index name abbreviation parent depth color`"),
            (f"`{cells}_cells.tsv.gz`", "cell that a region counts", "`z y x` (its centre in voxels, from 0), "
             "`z_um y_um x_um` (the same in um), `volume_voxels volume_um3`, `index name` of the region, `proven`"),
            (f"`{cells}_uncounted.tsv.gz`", "cell that no region counts", "the same without region, and `reason`"),
        ],
    )  # fmt: skip


def _spaces(provenance: Provenance) -> str:
    sizes = {
        image.voxel_size_um
        for run in provenance.runs.values()
        for image in run.images.values()
        if image.voxel_size_um != (ATLAS_VOXEL_SIZE_UM,) * 3
    }
    voxels = " or ".join(" x ".join(f"{um:g}" for um in size) for size in sorted(sizes))
    return (
        "- Images have the axes z, y, x; a plane of the microscope is one z. Sizes of voxels are in the metadata of each "
        f"image, and as `PixelSize` (X, Y, Z, in um) in its sidecar{f': {voxels} um' if voxels else ''}.\n"
        "- `space-orig` is the grid of the raw image of the sample, `space-CATNIP*` the 25 um grid of CATNIP's atlas, "
        "which is the same for all samples. Names without `space-` are on the grid of the raw image.\n"
        "- The orientation is unknown: CATNIP records none. Find it from regions whose place you know, in the atlas "
        "labels: the olfactory bulb is anterior, the cerebellum posterior. The hemisphere in `samples.tsv` is what the "
        "name of the run or a person said."
    )


def _counting(provenance: Provenance) -> str:
    """Explain counts, and say how many of them were found again."""
    tables = [cells for run in provenance.runs.values() for cells in run.cells.values()]
    n_regions, n_proven = (sum(getattr(cells, n) for cells in tables) for n in ("n_regions", "n_regions_proven"))
    return (
        "A cell is a group of voxels that touch at a face or an edge, in which the fast radial symmetry transform (FRST) "
        "reaches the threshold, and whose size is in CATNIP's range, usually 9 to 900 voxels. A region counts it if more "
        "than half of its voxels have the label of the region, inside the hemisphere mask (`desc-atlas` times "
        "`desc-hemispheremask`). A row counts the voxels of its own label, not those of regions below it. Larger cells "
        "are split by CATNIP.\n\n"
        "`proven` is true for the cells of a region if as many were found in the images, or in CATNIP's own list, as "
        "CATNIP counted"
        + (f": this is so for {n_proven:,} of {n_regions:,} counts of regions" if tables else "")
        + ". Where it is false, CATNIP's number is in the table of counts. A value of a heat map is about the number of "
        "counted cells nearby, and not a density."
    )


def derivative_readme(naming: Naming) -> str:
    """Return the README of derivatives/catnip."""
    where = "beside the images" if naming == Naming.DSEG else "in `../catnip-counts`"
    return (
        "# What CATNIP computed\n\n"
        "One image for each output of CATNIP. `descriptions.tsv` says what each `desc-` label is. `space-orig` is the "
        "grid of the raw image, `space-CATNIP*` the 25 um grid of CATNIP's atlas. Tables ending in `dseg.tsv` name the "
        f"values of the atlas label images. Counts of cells per region are {where}."
    )


def counts_readme() -> str:
    """Return the README of derivatives/catnip-counts, which says why it is not a BIDS derivative."""
    return (
        "# Cells per region\n\n"
        "BIDS has no name yet for region tables of microscopy, so these are kept apart from the BIDS derivative "
        "`../catnip`; this folder has no dataset_description.json on purpose. Names follow those of the segmentations "
        "that were counted. `counts.tsv` holds all tables in one, `counts.json` describes the columns. "
        "CATNIP counts cells by the atlas labels inside the hemisphere mask. Regions that it excluded are `n/a`."
    )


def _recovered(provenance: Provenance) -> str:
    """Explain recovered hemisphere masks, if there are any."""
    if not any(image.recovered_from for run in provenance.runs.values() for image in run.images.values()):
        return ""
    return (
        " Hemisphere masks that CATNIP did not keep were reconstructed from atlas labels with and without them: the "
        "labels (`desc-atlas`) times the mask (`desc-hemispheremask`) are the masked labels, in which CATNIP counts "
        "cells."
    )


def _left_out(provenance: Provenance) -> str:
    excluded = Counter(
        (decision.source.removeprefix(provenance.runs[decision.run].source).lstrip("/"), decision.reason)
        for decision in provenance.decisions
        if decision.action == "exclude"
    )
    if not excluded:
        return "Nothing."
    rows = [(f"`{source}`", reason, str(n_runs)) for (source, reason), n_runs in sorted(excluded.items())]
    return _table(("of a run", "why", "runs"), rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def described_columns(known: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Describe the columns of a table, including those that the user added."""
    return {
        column: known.get(column, {"Description": f"{column}, as given with the participants"}) for column in columns
    }
