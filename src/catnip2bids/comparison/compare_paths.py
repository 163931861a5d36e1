"""Comparing two paths of any kind.

Invariant: neither path is written to, and swapping them only swaps 1 and 2 in the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import output_folder, raising_write_errors
from catnip2bids.comparison.compared_volume import ComparedVolume, open_compared, with_inspection
from catnip2bids.comparison.files import FileComparison, compare_files, compare_tables, looks_like_counts
from catnip2bids.comparison.output import DOCUMENT, write_report
from catnip2bids.comparison.path_kind import (
    PathKind,
    comparable_in,
    has_slices,
    others_in,
    pair_paths,
    path_kind_of,
    skipped_in,
)
from catnip2bids.comparison.result import Comparison, ItemComparison
from catnip2bids.comparison.volumes import compare_volumes
from catnip2bids.engine import Resources, resources_for
from catnip2bids.enums import Cluster
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.leftovers import ignored, leftovers_below, without_leftovers
from catnip2bids.paths import is_within
from catnip2bids.progress import Progress
from catnip2bids.volume import slice_pattern


def compare(
    path_1: Path | str,
    path_2: Path | str,
    folder: Path | str | None = None,
    progress: Progress | None = None,
    *,
    slice_numbers: Sequence[str] = (),
    jobs: int | None = None,
    memory_bytes: int | None = None,
    cluster: Cluster | None = None,
) -> Comparison:
    """Compare two components exactly.

    Parameters
    ----------
    path_1, path_2
        Two volumes (slice folder, TIFF stack, OME-TIFF, NIfTI file or OME-Zarr image, in any combination), two tables
        of counts, two other files, or two folders of any of these.
    folder
        Where to write ``comparison_results.csv``, ``different.csv``, ``comparison.json`` and ``index.html``; None to
        write nothing.
    progress
        Receives the progress, in planes.
    slice_numbers
        Patterns for the slice number in the names of slices, such as ``brain_Z#_*.tif``; the first that fits is used
        for each slice folder in which more than one number varies.
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB.
    cluster
        The cluster on which to compare planes; by default they are compared in this process.

    Raises
    ------
    SourceError
        If one of them does not exist, or cannot be read at all. Single unreadable planes become problems of the result.
    UsageError
        If they cannot be compared with each other, or the report would be written into one of them.

    Examples
    --------
    >>> compare("run/atlaslabel_def_origspace", "run/atlaslabel_def_origspace_masked").relation
    <Relation.MASKED_2: '2-is-1-masked'>
    """
    path_1, path_2, progress = Path(path_1), Path(path_2), progress or Progress()
    if cluster is not None:  # workers run in other folders
        path_1, path_2 = path_1.absolute(), path_2.absolute()
    with ExitStack() as stack:
        if folder is not None:  # a folder that cannot be written is refused before hours of comparing
            stack.enter_context(_output_folder(Path(folder), (path_1, path_2), progress))
        resources = stack.enter_context(
            resources_for(cluster, jobs, memory_bytes, progress.note, reading=[path_1, path_2])
        )
        comparison = _compare(path_1, path_2, slice_numbers, resources, progress)
        if folder is not None:
            write_report(comparison, Path(folder))
    return comparison


@contextmanager
def _output_folder(folder: Path, read: tuple[Path, Path], progress: Progress) -> Iterator[None]:
    """Make the folder for the report, outside of the compared paths; note if an earlier report was replaced."""
    for path in read:
        if is_within(folder, path):
            raise UsageError(f"{folder}: is inside of {path}, which is only read; choose another folder with -o")
    there = sorted(path.name for path in without_leftovers(folder.iterdir())) if folder.is_dir() else []
    if there and DOCUMENT not in there:
        raise UsageError(f"{folder}: holds {there[0]} and no comparison; give a new folder with -o")
    with raising_write_errors(folder), output_folder(folder):
        yield
    if there:
        progress.note(f"{folder}: held an earlier comparison, which this one has replaced")


def _compare(
    path_1: Path, path_2: Path, slice_numbers: Sequence[str], resources: Resources, progress: Progress
) -> Comparison:
    if leftovers := [*leftovers_below(path_1), *leftovers_below(path_2)]:
        progress.note(ignored(leftovers))
    for pattern in slice_numbers:
        slice_pattern(pattern)  # refuse an invalid one, even if no folder needs it
    kind_1, kind_2 = path_kind_of(path_1), path_kind_of(path_2)
    kinds = {kind_1, kind_2}
    if kinds in ({PathKind.FOLDER}, {PathKind.FOLDER, PathKind.SLICES}):
        return _compare_folders(path_1, path_2, slice_numbers, resources, progress)
    notes = []
    if PathKind.FOLDER in kinds and (kind_1.is_volume or kind_2.is_volume):
        folder = path_1 if kind_1 == PathKind.FOLDER else path_2
        if has_slices(folder):
            names = format_list([path.name for path in others_in(folder)])
            notes.append(f"{folder}: only its slices were compared, and not what is beside them: {names}")
            kind_1 = kind_2 = PathKind.SLICES
    if PathKind.FOLDER in (kind_1, kind_2) or not kind_1.is_comparable_with(kind_2):
        raise UsageError(
            f"{path_1} ({kind_1}) and {path_2} ({kind_2}) cannot be compared; give two volumes, two other "
            "files, or two folders"
        )
    items = _compare_all([(kind_1, path_1, path_2)], slice_numbers, resources, progress)
    skipped = skipped_in(path_1), skipped_in(path_2)
    notes += [*_not_compared(path_1, skipped[0]), *_not_compared(path_2, skipped[1])]
    return Comparison(path_1, path_2, items, {}, {}, *skipped, is_folder=False, notes=tuple(notes))


def _compare_folders(
    path_1: Path, path_2: Path, slice_numbers: Sequence[str], resources: Resources, progress: Progress
) -> Comparison:
    everything = comparable_in(path_1), comparable_in(path_2)
    kinds_1, kinds_2 = ({path: kind for path, kind in found.items() if not kind.is_skipped} for found in everything)
    skipped_1, skipped_2 = ({path: kind for path, kind in found.items() if kind.is_skipped} for found in everything)
    # paths that exist in both folders, and are unreadable in one of them
    unreadable = {path for path, kind in [*kinds_1.items(), *kinds_2.items()] if kind == PathKind.UNREADABLE}
    unreadable = {path for path in unreadable if os.path.lexists(path_1 / path) and os.path.lexists(path_2 / path)}
    pairs = [pair for pair in pair_paths(kinds_1, kinds_2) if unreadable.isdisjoint(pair)]
    wanted = [(kinds_1[one], path_1 / one, path_2 / two) for one, two in pairs]
    wanted += [(PathKind.UNREADABLE, path_1 / path, path_2 / path) for path in sorted(unreadable)]
    return Comparison(
        path_1,
        path_2,
        _compare_all(wanted, slice_numbers, resources, progress),
        _unpaired(kinds_1, {one for one, _ in pairs}, unreadable),
        _unpaired(kinds_2, {two for _, two in pairs}, unreadable),
        skipped_1,
        skipped_2,
        is_folder=True,
        notes=(*_not_compared(path_1, skipped_1), *_not_compared(path_2, skipped_2), *_of_other_kinds(*everything)),
    )


def _unpaired(kinds: Mapping[str, PathKind], paired: Set[str], unreadable: Set[str]) -> dict[str, PathKind]:
    """Return the paths of one folder without a pair, except unreadable paths and everything below them."""
    return {
        path: kind
        for path, kind in kinds.items()
        if path not in paired and unreadable.isdisjoint([path, *map(str, PurePosixPath(path).parents)])
    }


def _of_other_kinds(kinds_1: Mapping[str, PathKind], kinds_2: Mapping[str, PathKind]) -> Iterator[str]:
    for path in sorted(kinds_1.keys() & kinds_2.keys()):
        one, two = kinds_1[path], kinds_2[path]
        if not one.is_comparable_with(two) and PathKind.UNREADABLE not in (one, two):
            yield f"{path}: was not compared, because it is of another kind in 1 ({one}) than in 2 ({two})"


def _not_compared(folder: Path, skipped: Mapping[str, PathKind]) -> Iterator[str]:
    """Yield notes about hidden files and loops of links, which are not compared."""
    if hidden := [path for path, kind in skipped.items() if kind == PathKind.HIDDEN]:
        what = "is hidden, and was not compared" if len(hidden) == 1 else "are hidden, and were not compared"
        yield f"{folder}: {format_list(hidden)} {what}; rename what is to be compared"
    if loops := [path for path, kind in skipped.items() if kind == PathKind.LOOP]:
        yield f"{folder}: {format_count(len(loops), 'link')} to a folder above not followed: {format_list(loops)}"


def _compare_all(
    wanted: list[tuple[PathKind, Path, Path]], slice_numbers: Sequence[str], resources: Resources, progress: Progress
) -> tuple[ItemComparison, ...]:
    """Compare all pairs; nothing is decoded before all volumes were opened."""
    volumes = [
        (_opened(one, slice_numbers), _opened(two, slice_numbers)) if kind.is_volume else None
        for kind, one, two in wanted
    ]
    opened = [pair for pair in volumes if pair]
    _refuse_unused(slice_numbers, [volume for pair in opened for volume in pair])
    progress.start(sum(len(one.planes.keys() | two.planes.keys()) for one, two in opened if one.planes and two.planes))
    items: list[ItemComparison] = []
    for (kind, one, two), pair in zip(wanted, volumes, strict=True):
        if pair is None:
            items.append(_compare_files(kind, one, two, progress))
        elif all(volume.planes for volume in pair):
            progress.item(one.name)
            items.append(compare_volumes(*pair, resources, progress))
        else:  # which planes an unreadable volume has is unknown
            problems = (*pair[0].problems, *pair[1].problems)
            items.append(FileComparison(one, two, same=False, problems=problems))
    return tuple(items)


def _compare_files(kind: PathKind, path_1: Path, path_2: Path, progress: Progress) -> ItemComparison:
    if kind == PathKind.EMPTY:
        return FileComparison(path_1, path_2, same=True, are_empty=True)
    if kind != PathKind.UNREADABLE and (looks_like_counts(path_1) or looks_like_counts(path_2)):
        return compare_tables(path_1, path_2, progress.warning)
    return compare_files(path_1, path_2)


def _refuse_unused(slice_numbers: Sequence[str], volumes: Sequence[ComparedVolume]) -> None:
    """Refuse a pattern for the slice number that matches no slice: it is a mistake."""
    names = {source.path.name for volume in volumes for source in volume.planes.values()}
    for text in slice_numbers:
        pattern, _ = slice_pattern(text)
        if names and not any(map(pattern.search, names)):
            raise UsageError(f"--slice-number {text!r} matches no file, such as {min(names)}; correct the pattern")


def _opened(path: Path, slice_numbers: Sequence[str]) -> ComparedVolume:
    """Find the planes of a volume; an unreadable one has no planes, and a problem."""
    try:
        return with_inspection(open_compared(path, slice_numbers))
    except SourceError as error:
        return ComparedVolume(path, {}, problems=(str(error),))
