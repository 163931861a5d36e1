"""The texts of a dataset: READMEs of its derivatives and descriptions of columns.

Invariant: texts depend only on provenance and the atlas tables, so packaging animals one by one gives the same texts as
packaging them at once. Text that a person writes around the marked part of a README stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from catnip2bids.atomic_write import write_text
from catnip2bids.enums import Naming
from catnip2bids.formatting import format_choices
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
sub-*_cells.tsv.gz
sub-*_uncounted.tsv.gz
counts.json
counts.tsv
*regions.json
*regions.tsv
"""

PARTICIPANTS: dict[str, Any] = {
    "Description": "The animals",
    "participant_id": {"Description": "Id of the animal, letters and digits only"},
    "species": {"Description": "Binomial species name from the NCBI Taxonomy"},
    "sex": {"Description": "Sex of the animal", "Levels": {"M": "male", "F": "female", "O": "other"}},
    "age": {"Description": "Age of the animal", "Units": "week"},
    "strain": {"Description": "Name of the strain of the animal"},
    "genotype": {"Description": "Genotype of the animal"},
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
    "acq_time": {
        "Description": "When the image was acquired, from the name of the run; local time",
        "Format": "datetime",
    },
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
    "volume_mm3": {
        "Description": "Volume of the region: label_volume times the volume of a voxel; n/a: label_volume is n/a",
        "Units": "mm^3",
    },
    "density_per_mm3": {
        "Description": "Cells per volume: cell_count divided by volume_mm3; n/a: one of them is n/a, or it is 0 mm^3",
        "Units": "1/mm^3",
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
CELLS: dict[str, Any] = {
    **{
        axis: {
            "Description": f"Centre of the cell along {axis} on the image's native grid; the first voxel is 0",
            "Units": "voxel",
        }
        for axis in "zyx"
    },
    **{
        f"{axis}_um": {"Description": f"The same place: {axis} times the size of a voxel", "Units": "um"}
        for axis in "zyx"
    },
    "volume_voxels": {"Description": "Size of the cell in voxels", "Units": "voxel"},
    "volume_um3": {"Description": "Volume of the cell: volume_voxels times the volume of a voxel", "Units": "um^3"},
    "proven": {
        "Description": "Whether as many cells of the region are in the table of cells as CATNIP counted",
        "Levels": {"true": "the numbers are the same", "false": "they differ, so some cells may be missing or wrong"},
    },
    "reason": {
        "Description": "Why no region counts the cell",
        "Levels": {
            "outside": "more than half of it is outside of all regions of the masked atlas labels",
            "no region": "no region has more than half of it",
            "too large": "it has more voxels than CATNIP's range, and CATNIP splits such cells",
        },
    },
}
"""Columns of the tables of cells that tables of counts do not have."""
REGIONS: dict[str, Any] = {
    "Description": "The regions of the atlas and the groups that they are part of",
    "index": {
        "Description": "Value of the region in the atlas label images; of a group, its id in CATNIP's atlas table (on "
        "the right side of atlas v4 plus 20000), which no voxel has"
    },
    "name": {
        "Description": "Name of the region; of a group, its abbreviation, because CATNIP's table does not name it"
    },
    "abbreviation": {"Description": "Acronym of the region or group"},
    "parent": {
        "Description": "index of the region or group that it is part of; n/a: CATNIP's atlas table tells none, as "
        "for all groups, and for all regions of its atlases since v5"
    },
    "depth": {"Description": "Number of regions and groups above this one; 0: it has no parent"},
    "color": {"Description": "Colour of the region in the atlas label images; n/a: this is a group, not a region"},
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


def derivative_readme(naming: Naming, without_parents: Sequence[str]) -> str:
    """Return the README of derivatives/catnip."""
    where = "beside the images" if naming == Naming.DSEG else "in `../catnip-counts`"
    text = (
        "# What CATNIP computed\n\n"
        "One image for each output of CATNIP. `descriptions.tsv` says what each `desc-` label is. `space-orig` is the "
        "grid of the raw image, `space-CATNIP*` the 25 um grid of CATNIP's atlas. Tables ending in `dseg.tsv` name the "
        f"values of the atlas label images. Counts of cells per region are {where}."
    )
    return f"{text}\n\n## Cells per region\n\n{_about_counts(without_parents)}" if naming == Naming.DSEG else text


def counts_readme(without_parents: Sequence[str]) -> str:
    """Return the README of derivatives/catnip-counts, which says why it is not a BIDS derivative.

    `without_parents` are the tables of regions in which no region has a parent.
    """
    return (
        "# Cells per region\n\n"
        "BIDS has no name yet for region tables of microscopy, so these are kept apart from the BIDS derivative "
        "`../catnip`; this folder has no dataset_description.json on purpose. Names follow those of the segmentations "
        "that were counted.\n\n" + _about_counts(without_parents)
    )


def _about_counts(without_parents: Sequence[str]) -> str:
    files = markdown_table(
        ("file", "a row for each"),
        [
            ("`*_desc-FRSTseg<T>_counts.tsv`", "region: the cells that CATNIP counted at threshold T in one sample"),
            ("`*_desc-FRSTsegcorrected<T>_counts.tsv`", "region: the same, and `n/a` for regions of which too much is "
             "in CATNIP's exclusion mask"),
            ("`counts.tsv`", "region of each sample and threshold: all these tables in one"),
            ("`*_desc-FRSTseg<T>_cells.tsv.gz`", "cell that a region counts: where it is, its size and its region"),
            ("`*_desc-FRSTseg<T>_uncounted.tsv.gz`", "cell that no region counts, and why"),
            ("`regions.tsv`", "region of the atlas, and group of regions: its parent and its colour. Each of several "
             "atlases has its own `atlas-<label>_regions.tsv`"),
        ],
    )  # fmt: skip
    paragraphs = [
        files,
        "`counts.json` and `regions.json` describe the columns. Not every sample has tables of cells.",
        "CATNIP counts cells by the atlas labels inside the hemisphere mask. Regions that it excluded are `n/a`. "
        "`volume_mm3` is `label_volume` times the volume of a voxel, and `density_per_mm3` is `cell_count` divided "
        "by `volume_mm3`. `label_volume` is CATNIP's number: it adds the voxels of a label that its atlas table "
        "lacks to the region before it in the table. A region with a `label_volume` of 0 is not in the image, or "
        "outside the mask: leave it out of mean counts.",
        "In a table of cells, `proven` is `true` where it has as many cells of the region as CATNIP counted. Cells "
        "are those of CATNIP's own list where it kept one, and were found again in the images otherwise. Groups of "
        "voxels in the segmentation that are smaller than CATNIP's range of sizes are in no table. Corrected counts "
        "have no tables of cells of their own: they only leave out whole regions.",
        "Counts and volumes of a region are those of its own label alone, without the regions that are part of it. "
        "For the whole of a region or group, add up its own row, if it has one, and the rows of all regions below it "
        "in `regions.tsv`, each once. Its density is the sum of cells divided by the sum of volumes. Leave what is "
        "`n/a` out of both sums. A group, whose `color` is `n/a`, only collects regions: no voxel has its `index`.",
        _about_parents(without_parents),
    ]
    return "\n\n".join(paragraphs)


def _about_parents(without_parents: Sequence[str]) -> str:
    """Say how much of the hierarchy CATNIP's atlas tables tell."""
    text = "`parent` comes from CATNIP's atlas table, which does not tell the parents of groups."
    if not without_parents:
        return text
    tables = format_choices([f"`{name}`" for name in sorted(without_parents)])
    return (
        f"{text} No region of {tables} has a parent: CATNIP's atlases since v5 name none, and neither do its tables of "
        "counts. If the atlas is one of v1 to v4, package again with `--atlas-table` to add them."
    )


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def described_columns(known: Mapping[str, Any], columns: Iterable[str], given: Collection[str] = ()) -> dict[str, Any]:
    """Describe the columns of a table that are known, or given with the participants."""
    described = {column: {"Description": f"{column}, as given with the participants"} for column in given} | {**known}
    return {column: described[column] for column in columns if column in described}
