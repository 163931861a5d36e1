"""Our own checks of the names and sizes of files, and of missing images; runs those of tables and sidecars, too.

Invariant: each check is one function from the listing of the dataset to findings, and none depends on another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeVar

from catnip2bids.paths import as_on_any_system
from catnip2bids.validation import cell_tables, region_tables, sidecars, tables
from catnip2bids.validation.findings import Finding, our_error, our_warning
from catnip2bids.validation.tree import Tree, parse_name

_LARGEST_ZARR_DEPTH = 7
"""Parts of a path inside a Zarr that the DANDI archive accepts: `MAX_ZARR_DEPTH` in dandi/consts.py."""

_Key = TypeVar("_Key", bound=Hashable)


def cross_check(tree: Tree) -> list[Finding]:
    """Run all our own checks."""
    return [finding for check in _CHECKS for finding in check(tree)]


def check_sizes(tree: Tree) -> Iterator[Finding]:
    """Check that no file is empty (DANDI refuses those) and no link is broken; copies of source files may be empty."""
    for file in tree.files:
        if file.n_bytes is None:
            yield our_error("BROKEN_LINK", file.path, "is a link to something that does not exist")
        elif file.n_bytes == 0:
            find = our_warning if file.path.parts[0] == "sourcedata" else our_error
            yield find("FILE_EMPTY", file.path, "is empty (0 bytes); the DANDI archive refuses empty files")


def check_case(tree: Tree) -> Iterator[Finding]:
    """Check that no two names differ only in case, or in ways to write accents: on macOS and Windows they are one."""
    paths = chain((file.path for file in tree.files), tree.folders)
    for same in _grouped((as_on_any_system(path.as_posix()), path) for path in paths).values():
        if len(same) > 1:
            names = ", ".join(path.as_posix() for path in same[1:])
            yield our_error("NAME_CASE", same[0], f"differs only in case, or in ways to write accents, from {names}")


def check_twins(tree: Tree) -> Iterator[Finding]:
    """Check that no image exists in two formats."""
    for same in _grouped((image.stem, image.path) for image in tree.images).values():
        if len(same) > 1:
            yield our_error("IMAGE_TWICE", same[0], f"also exists as {', '.join(path.name for path in same[1:])}")


def check_packaged_images(tree: Tree) -> Iterator[Finding]:
    """Check that all images exist that provenance lists."""
    existing = {path.as_posix() for path in (*tree.zarrs, *tree.plain_files)}
    for image in sorted(set(sidecars.packaged_images(tree)) - existing):
        what = "does not exist, but was packaged; bring it back from a copy, or package its run again"
        yield our_error("IMAGE_MISSING", PurePosixPath(image), what)


def check_raw_images(tree: Tree) -> Iterator[Finding]:
    """Check that each sample of samples.tsv has a raw image; `check_packaged_images` finds those that were deleted."""
    images = [path for path in (*tree.zarrs, *tree.plain_files) if path.suffix not in (".json", ".tsv")]
    images += map(PurePosixPath, sidecars.packaged_images(tree))
    raw = [parse_name(path.name).entities for path in images if path.parts and path.parts[0].startswith("sub-")]
    imaged = {(f"sub-{entities.get('sub')}", f"sample-{entities.get('sample')}") for entities in raw}
    rows = tables.rows_of(tree.root / "samples.tsv")
    listed = {(row.get("participant_id", ""), row.get("sample_id", "")) for row in rows}
    for subject, sample in sorted(listed - imaged):
        what = f"lists {subject} {sample}, of which there is no raw image; package it if it was left out by mistake"
        yield our_warning("RAW_IMAGE_MISSING", PurePosixPath("samples.tsv"), what)


def check_partial(tree: Tree) -> Iterator[Finding]:
    """Check for remains of an interrupted command."""
    for path in (*tree.folders, *(file.path for file in tree.files)):
        if _is_partial(path) and not any(map(_is_partial, path.parents)):
            what = "is left over from an interrupted command; package again, which finishes it or clears it away"
            yield our_error("LEFTOVER_PARTIAL", path, what)


def check_zarr_depth(tree: Tree) -> Iterator[Finding]:
    """Check that no Zarr is deeper than the DANDI archive allows."""
    too_deep = {folder for file in tree.files if (folder := _zarr_above(file.path, _LARGEST_ZARR_DEPTH)) is not None}
    for folder in too_deep.intersection(tree.zarrs):
        yield our_error("ZARR_TOO_DEEP", folder, f"is more than {_LARGEST_ZARR_DEPTH} levels deep, which DANDI refuses")


def check_links(tree: Tree) -> Iterator[Finding]:
    """Check that no folder is a link: neither dandi nor we follow it. OME-Zarr images have their own check."""
    for folder in tree.folder_links:
        if not folder.name.endswith(".ome.zarr"):
            find = our_warning if folder.parts[0] == "sourcedata" else our_error
            yield find("FOLDER_LINK", folder, "is a link to a folder, which is not checked and not uploaded")


def _zarr_above(file: PurePosixPath, depth: int) -> PurePosixPath | None:
    """Find the outermost Zarr that has more than `depth` parts of the file's path inside of it."""
    above = file.parts[: -depth - 1]
    end = next((end for end, part in enumerate(above, start=1) if part.endswith(".zarr")), None)
    return None if end is None else PurePosixPath(*above[:end])


def _is_partial(path: PurePosixPath) -> bool:
    return path.name.startswith(".") and path.name.endswith(".partial")


def _grouped(pairs: Iterable[tuple[_Key, PurePosixPath]]) -> Mapping[_Key, list[PurePosixPath]]:
    groups: defaultdict[_Key, list[PurePosixPath]] = defaultdict(list)
    for key, path in pairs:
        groups[key].append(path)
    return groups


_CHECKS: tuple[Callable[[Tree], Iterator[Finding]], ...] = (
    check_sizes,
    check_case,
    check_twins,
    check_packaged_images,
    check_raw_images,
    check_partial,
    check_links,
    check_zarr_depth,
    tables.check_readable,
    tables.check_samples,
    tables.check_hemispheres,
    tables.check_participants,
    tables.check_ages,
    tables.check_scans,
    tables.check_label_tables,
    region_tables.check_densities,
    region_tables.check_joined_counts,
    region_tables.check_corrected_counts,
    region_tables.check_regions,
    cell_tables.check_cells,
    sidecars.check_readable,
    sidecars.check_pixel_sizes,
    sidecars.check_sources,
    sidecars.check_generated_fields,
    sidecars.check_provenance,
    tables.check_plane_tables,
    tables.check_repeated_images,
)
