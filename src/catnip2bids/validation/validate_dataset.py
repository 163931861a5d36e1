"""All checks of a dataset, run at the same time and put into one report.

Invariant: a check that could not run has a finding or raises; it is never skipped silently. The libraries
that read images are imported only when a dataset is validated, so that the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from catnip2bids._version import __version__
from catnip2bids.atomic_write import MARKERS
from catnip2bids.documents import foreign, oversized
from catnip2bids.errors import DatasetError
from catnip2bids.leftovers import ignored, is_leftover, leftovers_below
from catnip2bids.locks import FOLDER_LOCK, refuse_concurrent_packaging
from catnip2bids.progress import Progress
from catnip2bids.validation.external_programs import name_with_version
from catnip2bids.validation.findings import OUR_CHECK, Finding, ValidationReport, info, our_error

_T = TypeVar("_T")
_CHECKSUMS = PurePosixPath("code/catnip2bids/checksums.sha256")  # not imported from bids, which is what is checked
_LEFT_BY_INTERRUPTION = (FOLDER_LOCK, _CHECKSUMS.with_name(f".{_CHECKSUMS.name}{MARKERS}").as_posix())
"""Files that packaging removes at its end; one of them is enough, since Ctrl-C removes the first."""
_INTERRUPTED = "packaging was interrupted; run it again, then validate"


def validate(dataset: Path | str, progress: Progress | None = None) -> ValidationReport:
    """Check a dataset with the BIDS validator, OME-Zarr and OME-TIFF readers, dandi, and our own cross checks.

    Parameters
    ----------
    dataset
        The folder with the dataset's `dataset_description.json`.
    progress
        Receives the checks that begin.

    Returns
    -------
    ValidationReport
        What was found, worst first. A dataset with faults is a report, not an exception.

    Raises
    ------
    DatasetError
        If the folder is not a BIDS dataset, cannot be listed, or is being packaged; or if the BIDS validator is not
        installed.

    Examples
    --------
    >>> validate("dataset").ok
    True
    """
    dataset = Path(dataset)
    if not dataset.is_dir():
        what = "is not a folder" if dataset.exists() else "does not exist"
        raise DatasetError(f"{dataset}: {what}; give the folder of a BIDS dataset")
    with refuse_concurrent_packaging(dataset, "validate", _CHECKSUMS):
        _refuse_without_description(dataset)
        return _validated(dataset.resolve(), dataset, progress or Progress())


def _validated(root: Path, dataset: Path, progress: Progress) -> ValidationReport:
    from catnip2bids.validation import bids, cross_checks, dandi, ome_tiff, ome_zarr
    from catnip2bids.validation.tree import ROOT, read_tree

    if strangers := [(path.relative_to(root).as_posix(), what) for path, what in foreign(root)]:
        findings = [
            our_error("FOREIGN_FILE", PurePosixPath(path), f"{what}; nothing else was checked")
            for path, what in strangers
        ]
        return ValidationReport(dataset, _tidy(findings, root), ())
    tree = read_tree(root)
    findings = [
        our_error("DOCUMENT_TOO_LARGE", path, f"{what}; neither BIDS nor DANDI was checked")
        for path, what in oversized(root, tree.documents)
    ]
    with ThreadPoolExecutor() as pool:

        def begin(what: str, check: Callable[[_T], list[Finding]], checked: _T) -> Future[list[Finding]]:
            progress.looking_at(f"{dataset}: {what}")
            return pool.submit(check, checked)

        by_us = [
            begin("OME-Zarr images", ome_zarr.check_ome_zarr, tree),
            begin("OME-TIFF images", ome_tiff.check_ome_tiff, tree),
            begin("links between files", cross_checks.cross_check, tree),
        ]
        if not findings:
            by_bids = begin("BIDS validator", bids.check_bids, root)
            by_dandi = begin("dandi validate", dandi.check_dandi, root)
            by_others = [*by_bids.result(), *dandi.without_known(by_dandi.result(), by_bids.result())]
            findings = bids.without_repeated_authors(by_others)
        findings += [finding for check in by_us for finding in check.result()]
    if _was_interrupted(root):
        findings.append(our_error("PACKAGING_INTERRUPTED", ROOT, _INTERRUPTED))
    findings = [finding for finding in findings if not _is_left_behind(PurePosixPath(finding.file), root)]
    if leftovers := leftovers_below(root, into_images=True):
        findings.append(info(OUR_CHECK, "LEFTOVERS_IGNORED", ROOT, ignored(leftovers)))
    checks = [
        name_with_version(bids.PROGRAM),
        f"OME-Zarr ({', '.join(map(name_with_version, ('ome-zarr-models', 'zarr', 'tensorstore')))})",
        f"OME-TIFF ({', '.join(map(name_with_version, ('tifffile', 'ome-types')))})",
        *([name_with_version("dandi")] if dandi.is_installed() else []),
        f"catnip2bids {__version__}",
    ]
    return ValidationReport(dataset, _tidy(findings, root), tuple(checks))


def _refuse_without_description(dataset: Path) -> None:
    if (dataset / "dataset_description.json").is_file():
        return
    if _was_interrupted(dataset):
        raise DatasetError(f"{dataset}: {_INTERRUPTED}")
    raise DatasetError(
        f"{dataset}: has no dataset_description.json, so it is not a BIDS dataset; give the dataset's top folder"
    )


def _was_interrupted(dataset: Path) -> bool:
    """Tell whether packaging was killed or stopped; the dataset is not being packaged now."""
    return any((dataset / name).is_file() for name in _LEFT_BY_INTERRUPTION)


def _is_left_behind(file: PurePosixPath, root: Path) -> bool:
    """Tell whether a file of the dataset, or a folder that it is in, is a leftover."""
    return any(is_leftover(root / path) for path in (file, *file.parents) if path != PurePosixPath())


def _tidy(findings: Iterable[Finding], root: Path) -> tuple[Finding, ...]:
    """Sort the findings, drop repeated ones, and make paths in messages relative to the dataset."""
    relative = set()
    for finding in findings:
        message = finding.message.replace(f"{root}/", "").replace(str(root), "the dataset")
        relative.add(replace(finding, message=message))
    return tuple(sorted(relative, key=Finding.sort_key))
