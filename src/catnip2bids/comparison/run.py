"""Comparing whatever two paths are.

Invariant: neither side is written to, and the result is the same in both directions but for the names of the sides.
"""

from __future__ import annotations

from pathlib import Path

from catnip2bids.choices import Cluster
from catnip2bids.comparison.files import FileComparison, compare_files
from catnip2bids.comparison.report import write_report
from catnip2bids.comparison.result import Comparison, ItemComparison
from catnip2bids.comparison.sides import Side, open_side
from catnip2bids.comparison.tables import compare_tables, looks_like_counts
from catnip2bids.comparison.things import Thing, pair_things, thing_at, things_in
from catnip2bids.comparison.volumes import VolumeComparison, compare_volumes, first_difference_of
from catnip2bids.engine import Resources, resources_for
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.progress import Progress
from catnip2bids.publish import naming_what_cannot_be_written


def compare(
    path_1: Path | str,
    path_2: Path | str,
    folder: Path | str | None = None,
    progress: Progress | None = None,
    *,
    jobs: int | None = None,
    memory_bytes: int | None = None,
    cluster: Cluster | None = None,
) -> Comparison:
    """Say exactly how two components differ.

    Parameters
    ----------
    path_1, path_2
        Two volumes (slice folder, TIFF stack or NIfTI file, in any combination), two tables of counts, two other
        files, or two folders of any of these.
    folder
        Where to write ``comparison_results.csv``, ``different.csv``, ``comparison.json`` and ``index.html``; None to
        write nothing.
    progress
        Told how the work goes, in planes.
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB.
    cluster
        Where planes are compared, if not by this process.

    Raises
    ------
    SourceError
        If one of them is not there, or cannot be read at all. Single planes that cannot be read are problems of the
        result.
    UsageError
        If they are things that cannot be compared, or the report would be written into one of them.

    Examples
    --------
    >>> compare("run/atlaslabel_def_origspace", "run/atlaslabel_def_origspace_masked").relation
    <Relation.MASKED_2: '2-is-1-masked'>
    """
    path_1, path_2, progress = Path(path_1), Path(path_2), progress or Progress()
    for path in (path_1, path_2):
        if folder is not None and Path(folder).resolve().is_relative_to(path.resolve()):
            raise UsageError(f"{folder}: is inside of {path}, which is only read; choose another folder with -o")
    if folder is not None:
        with naming_what_cannot_be_written(Path(folder)):
            Path(folder).mkdir(parents=True, exist_ok=True)
    if cluster is not None:  # workers stand in other folders
        path_1, path_2 = path_1.absolute(), path_2.absolute()
    if leftovers := [*leftovers_below(path_1), *leftovers_below(path_2)]:
        progress.note(ignored(leftovers))
    with resources_for(cluster, jobs, memory_bytes, progress.note, reading=[path_1, path_2]) as resources:
        comparison = _compare(path_1, path_2, resources, progress)
    if folder is not None:
        write_report(comparison, Path(folder))
    return comparison


def compare_as_volumes(
    path_1: Path, path_2: Path, resources: Resources, *, are_labels: bool | None = None
) -> VolumeComparison:
    """Compare two volumes, whatever else is in their folders; `are_labels` if that is known.

    Raises
    ------
    SourceError
        If one of them cannot be read at all.
    """
    return compare_volumes(open_side(path_1), open_side(path_2), resources, Progress(), are_labels=are_labels)


def first_difference(path_1: Path, path_2: Path, resources: Resources) -> int | None:
    """Return the first slice number at which two volumes are not the same; None if they are the same throughout.

    Raises
    ------
    SourceError
        If one of them cannot be read at all.
    UsageError
        If a file can only be unpacked as a whole, and the memory is not enough for that.
    """
    return first_difference_of(open_side(path_1), open_side(path_2), resources)


def _compare(path_1: Path, path_2: Path, resources: Resources, progress: Progress) -> Comparison:
    thing_1, thing_2 = thing_at(path_1), thing_at(path_2)
    if Thing.FOLDER in (thing_1, thing_2):
        if not (path_1.is_dir() and path_2.is_dir()):
            raise UsageError(f"{path_1} is a {thing_1} and {path_2} is a {thing_2}; give two of the same kind")
        return _compare_folders(path_1, path_2, resources, progress)
    if thing_1 != thing_2 and not (thing_1.is_volume and thing_2.is_volume):
        raise UsageError(f"{path_1} is a {thing_1} and {path_2} is a {thing_2}; give two of the same kind")
    items = _compare_all([(thing_1, path_1, path_2)], resources, progress)
    return Comparison(path_1, path_2, items, {}, {}, is_folder=False)


def _compare_folders(path_1: Path, path_2: Path, resources: Resources, progress: Progress) -> Comparison:
    things_1, things_2 = things_in(path_1), things_in(path_2)
    pairs = pair_things(things_1, things_2)
    paired_1, paired_2 = {one for one, _ in pairs}, {two for _, two in pairs}
    wanted = [(things_1[one], path_1 / one, path_2 / two) for one, two in pairs]
    return Comparison(
        path_1,
        path_2,
        _compare_all(wanted, resources, progress),
        {path: thing for path, thing in things_1.items() if path not in paired_1},
        {path: thing for path, thing in things_2.items() if path not in paired_2},
        is_folder=True,
    )


def _compare_all(
    wanted: list[tuple[Thing, Path, Path]], resources: Resources, progress: Progress
) -> tuple[ItemComparison, ...]:
    """Compare pairs of things; nothing is decoded before all of them were found."""
    sides = [(_opened(one), _opened(two)) if thing.is_volume else None for thing, one, two in wanted]
    progress.start(sum(len(pair[0].planes.keys() | pair[1].planes.keys()) for pair in sides if pair))
    return tuple(
        _compare_pair((one, two), pair, resources, progress) for (_, one, two), pair in zip(wanted, sides, strict=True)
    )


def _opened(path: Path) -> Side:
    """Find the planes of a volume; one that cannot be read at all has none, and says why."""
    try:
        return open_side(path)
    except SourceError as error:
        return Side(path, {}, problems=(str(error),))


def _compare_pair(
    paths: tuple[Path, Path],
    sides: tuple[Side, Side] | None,
    resources: Resources,
    progress: Progress,
) -> ItemComparison:
    if sides is not None:
        progress.item(paths[0].name)
        return compare_volumes(*sides, resources, progress)
    if all(path.is_dir() for path in paths):
        return FileComparison(*paths, same=True)  # empty ones
    if any(map(looks_like_counts, paths)):
        return compare_tables(*paths)
    return compare_files(*paths)
