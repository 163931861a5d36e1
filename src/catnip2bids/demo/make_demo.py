"""The demo: write a made-up cohort, package, validate and verify it, and draw its report.

Invariant: a second run finds the cohort and the dataset of the first, and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.atomic_write import atomic_output, output_folder, partial_path, raising_write_errors
from catnip2bids.bids.dataset_paths import COUNTS, DERIVATIVE
from catnip2bids.bids.provenance import PROVENANCE, is_ours
from catnip2bids.demo.cohort import write_cohort
from catnip2bids.demo.phantom import VOXEL_SIZE_UM
from catnip2bids.demo.regions import atlas_table_text, write_atlas_table
from catnip2bids.errors import UsageError
from catnip2bids.leftovers import without_leftovers
from catnip2bids.packaging import PackageResult, Settings, package
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.progress import Progress
from catnip2bids.reporting import report
from catnip2bids.validation import ValidationReport, validate
from catnip2bids.verification import Verification, verify

_DATASET = "dataset"


@dataclass(frozen=True)
class Demo:
    """The results of the demo."""

    packaged: PackageResult
    valid: ValidationReport
    verified: Verification
    outputs: tuple[tuple[Path, str], ...]  # paths worth opening, and what they hold


@dataclass(frozen=True)
class DemoCohort:
    """The made-up cohort and the table of its atlas regions."""

    folder: SafePath
    atlas_table: Path


def write_demo_cohort(folder: Path, progress: Progress | None = None) -> DemoCohort:
    """Write a made-up cohort of two animals, unless an earlier demo did.

    Raises UsageError if the folder holds anything that is not of an earlier demo.
    """
    progress = progress or Progress()
    cohort = DemoCohort(safe_path(folder, "cohort"), folder / "atlas_info.txt")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; give another one")
    ours: dict[Path, Callable[[Path], bool]] = {
        cohort.folder: Path.is_dir,
        folder / _DATASET: lambda path: path.is_dir() and is_ours(path),
        cohort.atlas_table: lambda path: path.is_file() and path.read_bytes() == atlas_table_text().encode("ascii"),
        partial_path(cohort.folder): Path.exists,
    }
    found = list(without_leftovers(folder.iterdir())) if folder.exists() else []
    if strange := sorted(path for path in found if path not in ours or not ours[path](path)):
        raise UsageError(f"{folder}: holds {strange[0].name}, which is not of the demo; give a new folder")
    if not cohort.folder.is_dir():
        progress.note("making up a cohort of two animals ...")
        with raising_write_errors(folder), output_folder(folder):
            write_atlas_table(cohort.atlas_table)
            with atomic_output(cohort.folder) as partial:
                write_cohort(partial)
    return cohort


def run_demo(folder: Path, progress: Progress | None = None) -> Demo:
    """Write a made-up cohort, package it, validate and verify the dataset, and draw its report.

    Parameters and errors are those of `write_demo_cohort`.
    """
    progress = progress or Progress()
    cohort, dataset = write_demo_cohort(folder, progress), folder / _DATASET
    settings = Settings(voxel_size_um=VOXEL_SIZE_UM, atlas_table=cohort.atlas_table, report=False)
    packaged = package([cohort.folder], dataset, settings, progress=progress)
    progress.note("validating and verifying ...")
    valid, verified = validate(dataset), verify(dataset)
    drawn = report(dataset, progress, validation=valid, verification=verified)
    raw = sorted(dataset.glob("sub-*/micr/*_SPIM.ome.zarr"))
    outputs = (
        (cohort.folder, "the made-up output of CATNIP"),
        (dataset / "README.md", "what is where in the dataset"),
        *((image, "a raw image, for any OME-Zarr viewer") for image in raw[:1]),
        (dataset / DERIVATIVE, "atlas labels, cells, heat maps"),
        (dataset / COUNTS / "counts.tsv", "cells per region"),
        (dataset / PROVENANCE, "what was done with every file, and why"),
        (drawn.path, "the report: open it in a browser"),
    )
    return Demo(packaged, valid, verified, outputs)
