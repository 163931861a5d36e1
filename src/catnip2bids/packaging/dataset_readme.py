"""The README of a dataset, for people who have nothing but the dataset.

Invariant: it depends only on dataset_description.json, provenance, names of files and the tables of counts, so
packaging animals one by one gives the same text as packaging them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from catnip2bids.bids.dataset_paths import entities_of
from catnip2bids.bids.provenance import PROVENANCE, Provenance
from catnip2bids.catnip.atlas import ATLAS_VOXEL_SIZE_UM
from catnip2bids.packaging.licenses import license_line
from catnip2bids.packaging.readme_texts import markdown_table

_MOST_DIFFERENCES, _MOST_SAMPLES = 10, 3


def dataset_readme(description: Mapping[str, Any], provenance: Provenance, counts: PurePosixPath, recipes: str) -> str:
    """Return the README of a dataset.

    `description` is the content of dataset_description.json, `counts` the folder of the tables of counts below the
    dataset.
    """
    return "\n\n".join(
        [
            f"# {description['Name']}",
            "Light-sheet microscopy of cleared brains. The images at the top (`sub-*/micr/*_SPIM.*`) are not the bytes "
            "that left the microscope: CATNIP's N4 bias-field correction was applied to them, and whatever was done "
            "before CATNIP, usually a deconvolution. "
            "What CATNIP (https://github.com/SNIR-NIMH/CATNIP) computed from them is below `derivatives`.",
            _folders(counts),
            "## How to cite and reuse it",
            _citing(description),
            "## Samples",
            _samples(provenance),
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
    )


def _citing(description: Mapping[str, Any]) -> str:
    """Say who made the dataset, and what may be done with it."""
    license_name = description.get("License")
    no_license = "none is stated; ask the authors before you reuse the data"
    facts = {
        "Authors": _one_line(description.get("Authors")) or "not stated",
        "Licence": license_line(license_name) if license_name else no_license,
        "How to cite": _one_line(description.get("HowToAcknowledge"))
        or "by authors, title and address of the dataset; cite CATNIP too, which found the cells",
        "DOI": _one_line(description.get("DatasetDOI")),
        "Publications": _one_line(description.get("ReferencesAndLinks")),
        "Funding": _one_line(description.get("Funding")),
        "Ethics approval": _one_line(description.get("EthicsApprovals")),
        "Acknowledgements": _one_line(description.get("Acknowledgements")),
    }
    return "\n".join(f"- {what}: {text}" for what, text in facts.items() if text)


def _one_line(value: object) -> str:
    """Write a text, or a list of texts, on one line; nothing for None."""
    texts = value if isinstance(value, list) else [] if value is None else [value]
    return "; ".join(" ".join(str(text).split()) for text in texts)


def _folders(counts: PurePosixPath) -> str:
    return markdown_table(
        ("folder", "what is in it"),
        [
            ("`sub-*/micr`", "one image per sample and stain"),
            (
                "`derivatives/catnip`",
                "atlas labels, cell segmentations and heat maps; `descriptions.tsv` says what each `desc-` label is, "
                "tables ending in `dseg.tsv` name the regions",
            ),
            (
                f"`{counts}`",
                "cells per region: one table per image and threshold, and all of them in `counts.tsv`; tables of cells",
            ),
            ("`sourcedata/catnip`", "small files of CATNIP, as they were"),
            ("`code/catnip2bids`", "the plan, the provenance of every file, and a sha256 of every plane"),
            ("`docs/report`", "the report, if it was drawn: open `index.html` in a browser"),
        ],
    )


def _samples(provenance: Provenance) -> str:
    """List the samples, with the tables of their atlases if there are several."""
    runs = [run for _, run in sorted(provenance.runs.items())]
    header: tuple[str, ...] = ("subject", "sample", "stain", "run of CATNIP", "images")
    rows: list[tuple[str, ...]] = [
        (f"sub-{run.subject}", run.sample, run.stain, run.name, str(len(run.images))) for run in runs
    ]
    texts = []
    if len({run.stain for run in runs}) > 1:
        texts.append("There are several stains: choose one in every table before you add up or compare.")
    if len({run.atlas_table for run in runs if run.atlas_table}) > 1:
        header = (*header, "atlas")
        atlases = [run.atlas_table.removesuffix("_dseg.tsv") if run.atlas_table else "" for run in runs]
        rows = [(*row, atlas) for row, atlas in zip(rows, atlases, strict=True)]
        texts.append(
            "There are several atlases: each has its own `..._dseg.tsv` and `..._regions.tsv`. One `index` or name may "
            "be different regions in two of them, so compare samples of one atlas."
        )
    return "\n\n".join([markdown_table(header, rows), *texts])


def _tables(counts: PurePosixPath) -> str:
    """Describe the tables that a reader needs."""
    place = "`z y x` (its centre in voxels, from 0), `z_um y_um x_um` (the same in um), `volume_voxels volume_um3`"
    table = markdown_table(
        ("table", "a row for each", "columns"),
        [
            ("`participants.tsv`", "animal", "`participant_id species sex age strain genotype`; age in weeks"),
            ("`samples.tsv`", "hemisphere or brain", "`hemisphere` is L, R or B (both)"),
            (
                f"`{counts}/counts.tsv`",
                "region of each sample and threshold",
                "`cell_count`, `label_volume` (voxels), `volume_mm3`, `density_per_mm3` (cells per mm3); where "
                "`corrected` is true, regions with much damaged tissue are excluded",
            ),
            (f"`{counts}/*regions.tsv`", "region", "`index name abbreviation parent depth color`"),
            (
                f"`{counts}/sub-*/micr/*_cells.tsv.gz`",
                "cell that a region counts",
                f"{place}, `index name` of the region, `proven`",
            ),
            (f"`{counts}/sub-*/micr/*_uncounted.tsv.gz`", "cell that no region counts", f"{place}, `reason`"),
        ],
    )
    return (
        "All are TSV with a header line, and a JSON file describes their columns. `n/a` is not known; the count of an "
        f"excluded region is `n/a` too.\n\n{table}"
    )


def _spaces(provenance: Provenance) -> str:
    sizes = {image.voxel_size_um for image in provenance.all_images().values()} - {(ATLAS_VOXEL_SIZE_UM,) * 3}
    voxels = " or ".join(" x ".join(f"{um:g}" for um in size) for size in sorted(sizes))
    return (
        "- Axes are z, y, x. Voxel sizes stand in the metadata of each image, and as `PixelSize` (X Y Z, in um) in the "
        f"JSON file beside it{f': {voxels} um' if voxels else ''}.\n"
        "- `space-orig` is the grid of the raw image of the sample, and so is a name without `space-`. `space-CATNIP*` "
        "is the 25 um grid of a version of CATNIP's atlas: the same for all samples with the same label.\n"
        "- The orientation is unknown: CATNIP records none. Find it in the atlas labels, from regions whose place you "
        "know: the olfactory bulb is anterior, the cerebellum posterior. `hemisphere` in `samples.tsv` is what the "
        "name of the run or a person said."
    )


def _counting(provenance: Provenance) -> str:
    """Explain counts, and say how many of them were found again."""
    tables = [cells for run in provenance.runs.values() for cells in run.cells.values()]
    n_regions = sum(cells.n_regions for cells in tables)
    n_proven = sum(cells.n_regions_proven for cells in tables)
    how_many = f": {n_proven:,} of {n_regions:,} counts of regions" if n_regions else ""
    differences = _differences(provenance)
    return (
        "A cell is a group of voxels that touch at a face or an edge, in which the fast radial symmetry transform of "
        "the image (`desc-FRST`) reaches the threshold, and that is neither too small nor too large (usually 9 to 900 "
        "voxels). A region counts it if more than half of its voxels have the label of the region, inside the "
        "hemisphere mask: the atlas labels times `desc-hemispheremask`. CATNIP divides groups that are too large. "
        "Numbers of a region are those of its own label, without the regions below it.\n\n"
        f"`proven` is true where the table of cells has as many cells of the region as CATNIP counted{how_many}. Where "
        "cells come from CATNIP's own list, this says only that list and count agree. Where it is false, trust "
        "the table of counts rather than that of cells. `catnip2bids verify . --counts` counts all cells again in the "
        "images. A value of a heat map is about the number of counted cells nearby; it is not a density."
        + (f"\n\n{differences}" if differences else "")
    )


def _differences(provenance: Provenance) -> str:
    """List the counts of regions that could not be reproduced; only the first of many."""
    rows: list[tuple[str, ...]] = []
    for key, run in sorted(provenance.runs.items()):
        for table, cells in run.cells.items():
            desc = entities_of(PurePosixPath(table).name).get("desc", "")
            rows += [
                (key, desc, str(one.index), f"{one.catnip:,}", f"{one.found:,}", one.reason or "not known")
                for one in cells.differences
            ]
    if not rows:
        return ""
    header = ("sample", "`desc-`", "`index`", "CATNIP counted", "found again", "likely reason")
    n_more = len(rows) - _MOST_DIFFERENCES
    more = f"\n\nThere are {n_more:,} more in `{PROVENANCE}`." if n_more > 0 else ""
    return f"Counts that could not be reproduced:\n\n{markdown_table(header, rows[:_MOST_DIFFERENCES])}{more}"


def _recovered(provenance: Provenance) -> str:
    """Explain recovered hemisphere masks, if there are any."""
    if not any(image.recovered_from for image in provenance.all_images().values()):
        return ""
    return (
        " Hemisphere masks that CATNIP did not keep were reconstructed from atlas labels with and without them: the "
        "labels (`desc-atlas`) times the mask (`desc-hemispheremask`) are the masked labels, in which CATNIP counts "
        "cells."
    )


def _left_out(provenance: Provenance) -> str:
    excluded: dict[tuple[str, str], list[str]] = {}  # keys of runs
    for decision in provenance.decisions:
        if decision.action == "exclude":
            source = decision.source.removeprefix(provenance.runs[decision.run].source).lstrip("/")
            excluded.setdefault((source, decision.reason), []).append(decision.run)
    if not excluded:
        return "Nothing."
    n_runs = len(provenance.runs)

    def described(keys: list[str]) -> str:
        return ", ".join(sorted(keys)) if len(keys) <= _MOST_SAMPLES else f"{len(keys):,} of {n_runs:,}"

    rows = [(f"`{source}`", reason, described(keys)) for (source, reason), keys in sorted(excluded.items())]
    return markdown_table(("of a run", "why", "samples"), rows)
