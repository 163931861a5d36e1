"""The whole verification: images, files, and the originals if they are given.

Invariant: it only reads, and needs nothing but the dataset: neither network nor sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from catnip2bids.bids.checksums import CHECKSUMS, are_set_aside, read_checksums
from catnip2bids.bids.provenance import FOLDER, PROVENANCE, Provenance, provenance_of
from catnip2bids.catnip.components import COMPONENTS
from catnip2bids.documents import foreign
from catnip2bids.engine import Resources, resources_for
from catnip2bids.enums import Cluster
from catnip2bids.errors import NotEnoughMemoryError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.locks import refuse_concurrent_packaging
from catnip2bids.progress import Progress
from catnip2bids.scanning import source_list
from catnip2bids.verification.counts import count_again
from catnip2bids.verification.files import (
    missing_lines,
    unfinished_work,
    unlisted_files,
    unlisted_images,
    verify_files,
)
from catnip2bids.verification.images import expected_images, not_verified, verify_image
from catnip2bids.verification.result import FileProblem, ProblemKind, Verification
from catnip2bids.verification.source_files import SourceFiles

_REMEDY = "package again with --overwrite"


def verify(
    dataset: Path | str,
    sources: Sequence[Path | str] | Path | str = (),
    progress: Progress | None = None,
    *,
    deep: bool = False,
    counts: bool = False,
    jobs: int | None = None,
    memory_bytes: int | None = None,
    cluster: Cluster | None = None,
) -> Verification:
    """Prove that every pixel of a dataset is the pixel that was read, and that nothing else changed.

    Every plane of level 0 is read by a library that did not write it (zarr-python, tifffile) and hashed; every lower
    level is computed again from the level before; every other file is compared with its checksum.

    Parameters
    ----------
    dataset
        A dataset that `package` made, or a copy of one.
    sources
        The source folders, if the originals are to be read again too.
    progress
        Receives the progress of the work.
    deep
        Whether OME-Zarr is decoded with a second library too (tensorstore), and lower levels are recomputed with that
        one instead of the faster code that made them.
    counts
        Whether the cells of all segmentations are counted again, and compared with CATNIP's tables.
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB.
    cluster
        The cluster that reads the pixels; by default this process does.

    Raises
    ------
    DatasetError
        If the folder is not a dataset of ours, its provenance cannot be read, or it is being packaged.
    SourceError
        If no run is found in the sources.
    UsageError
        If the memory is too small for every image; if only for some, their verdicts say so.

    Examples
    --------
    >>> verify("dataset").ok
    True
    """
    dataset, progress = Path(dataset), progress or Progress()
    with refuse_concurrent_packaging(dataset, "verify", CHECKSUMS):
        if strangers := [(path.relative_to(dataset).as_posix(), what) for path, what in foreign(dataset)]:
            named = ((path, f"{what}; nothing else was looked at") for path, what in strangers)
            return Verification(dataset, (), 0, tuple(FileProblem(*one, ProblemKind.NOT_READ) for one in named))
        provenance = provenance_of(dataset)
        given = source_list(sources) if sources else []
        if cluster is not None:  # workers run in other folders
            dataset, given = dataset.absolute(), [source.absolute() for source in given]
        with resources_for(cluster, jobs, memory_bytes, progress.note, reading=[dataset, *given]) as resources:
            found = _verified(dataset, given, provenance, resources, progress, deep=deep)
            counted = count_again(dataset, provenance, resources, progress) if counts else ()
            no_table = "has no table of counts to compare with, so no cells were counted again"
            notes = (no_table,) if counts and not counted else ()
            return replace(found, counts=counted, notes=(*found.notes, *notes))


def _verified(
    dataset: Path,
    sources: Sequence[Path],
    provenance: Provenance,
    resources: Resources,
    progress: Progress,
    *,
    deep: bool,
) -> Verification:
    originals = SourceFiles.find(dataset, sources, provenance, resources, progress) if sources else None
    images = list(expected_images(dataset, provenance))
    of_originals = (originals.n_voxels(image) for image in images if originals and image.inside is None)
    progress.start(sum(image.n_voxels for image in images) + sum(of_originals))
    verdicts, refusals = [], []
    for image in images:
        progress.item(image.path.name)
        try:
            verdict = verify_image(dataset, image, resources, deep, progress.advance)
        except NotEnoughMemoryError as error:
            refusals.append(error)
            verdict = not_verified(image, str(error).removeprefix(f"{dataset / image.path}: "))
            progress.advance(image.n_voxels)
        if originals is not None and image.inside is None:
            of_original = originals.problems_of(image, resources, progress.advance)
            of_excluded = originals.redundant_problems(image, resources, progress.advance)
            verdict = replace(verdict, problems=(*verdict.problems, *of_original, *of_excluded))
        verdicts.append(verdict)
    if refusals and len(refusals) == len(images):
        raise refusals[0]
    file_problems, notes, n_files = _files(dataset, provenance, resources, originals)
    unfinished = list(unfinished_work(dataset))
    file_problems += unfinished
    for unlisted in unlisted_images(dataset, provenance):
        if unlisted.startswith(("sub-", "derivatives/", f"{FOLDER}/")):
            what = "is an image that was not packaged: nothing is known of its pixels"
            file_problems.append(FileProblem(unlisted, what))
        else:
            notes.append(f"{unlisted}: came after the dataset was packaged")
    notes += [] if unfinished else _without_raw_image(provenance)  # they may not be made yet
    leftovers = [*(originals.leftovers if originals else ()), *leftovers_below(dataset, into_images=True)]
    notes += [ignored(leftovers)] if leftovers else []
    return Verification(dataset, tuple(verdicts), n_files, tuple(file_problems), tuple(notes), originals is not None)


def _without_raw_image(provenance: Provenance) -> Iterator[str]:
    """Yield a note on each run of which no raw image was packaged, with the reason."""
    for key, run in provenance.runs.items():
        if any(image.startswith("sub-") for image in run.images):
            continue
        raw = [
            f"{path}: {decision.problem or decision.reason}"
            for path, decision in provenance.decisions_of(key).items()
            if any(component.raw and component.match(path) for component in COMPONENTS)
        ]
        yield f"{key}: no raw image was packaged ({format_list(raw) or 'its run has none'})"


def _files(
    dataset: Path, provenance: Provenance, resources: Resources, originals: SourceFiles | None
) -> tuple[list[FileProblem], list[str], int]:
    """Compare everything but pixels; returns problems, notes, and how many files were compared."""
    checksums = read_checksums(dataset)
    if checksums is None:
        removed = "somebody removed it; bring it back from a copy, or package all runs again with --overwrite"
        why = "packaging was interrupted; package again" if are_set_aside(dataset) else removed
        what = f"does not exist: {why}"
        return [FileProblem(CHECKSUMS.as_posix(), what, ProblemKind.NOT_READ)], [], 0
    problems = list(verify_files(dataset, checksums, resources))
    half = "packaging it was interrupted, so its files may not fit; package its run again, or take it out with --remove"
    problems += [FileProblem(PROVENANCE.as_posix(), f"{key}: {half}") for key in provenance.unfinished_runs]
    if originals is not None:
        problems += [*originals.copy_problems(checksums), *originals.link_problems()]
    if missing := missing_lines(provenance, checksums):
        lacks = f"lacks {format_count(len(missing), 'file')} of those that packaging lists: {format_list(missing)}"
        problems.append(FileProblem(CHECKSUMS.as_posix(), f"{lacks}; bring it back from a copy, or {_REMEDY}"))
    strange, later = unlisted_files(dataset, provenance, checksums)
    what = f"is not in {CHECKSUMS.name}: it was not packaged, or the list was changed; remove it, or {_REMEDY}"
    problems += [FileProblem(file, what) for file in strange if file not in missing]
    notes = [f"{file}: came after the dataset was packaged" for file in later]
    return problems, notes, len(checksums.files)
