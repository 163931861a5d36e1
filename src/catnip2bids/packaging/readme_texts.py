"""The texts of a dataset: READMEs of its derivatives and descriptions of columns.

Invariant: texts depend only on provenance, so packaging animals one by one gives the same texts as packaging them at
once. Text that a person writes around the marked part of a README stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from catnip2bids.atomic_write import write_text
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


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def described_columns(known: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Describe the columns of a table, including those that the user added."""
    return {
        column: known.get(column, {"Description": f"{column}, as given with the participants"}) for column in columns
    }
