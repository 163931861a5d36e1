"""Sidecars: each image has one, both state the same voxel size, and its sources exist.

Invariant: voxel sizes are compared as BIDS inherits them, sidecars nearer to the image last (BIDS
specification, "The Inheritance Principle").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError
from catnip2bids.paths import exists
from catnip2bids.validation.findings import Finding, error
from catnip2bids.validation.geometry import read_geometry
from catnip2bids.validation.tree import DESCRIPTION, Image, Tree, parse_name

CHECK = "catnip2bids"

_TOLERANCE_UM, _MOST_SIZE = 1e-3, 1e9
_UNITS_UM = {"mm": 1000.0, "um": 1.0, "nm": 0.001}
"""What BIDS allows as PixelSizeUnits."""

_error = partial(error, CHECK)


class SidecarError(ValueError):
    """A sidecar is not a JSON object."""


class SourceNotFoundError(LookupError):
    """A BIDS URI names a file that does not exist."""


def read_sidecar(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    SidecarError
        If it is anything else.
    """
    try:
        return read_object(file)
    except (OSError, ValueError, DatasetError) as failure:
        raise SidecarError(f"cannot be read: {failure}") from failure


def check_readable(tree: Tree) -> Iterator[Finding]:
    """Check that every JSON file is a JSON object, including those that BIDS validators ignore."""
    for file in _sidecars(tree):
        try:
            read_sidecar(tree.root / file)
        except SidecarError as failure:
            yield _error("JSON_UNREADABLE", file, failure)


def check_pixel_sizes(tree: Tree) -> Iterator[Finding]:
    """Check that each image has a sidecar beside it with the voxel size of the image itself."""
    by_folder = _by_folder(_sidecars(tree))
    for image in tree.images:
        if not (tree.root / _sidecar_of(image)).is_file():
            yield _error("SIDECAR_MISSING", image.path, f"has no {_sidecar_of(image).name} beside it")
            continue
        yield from _compare_pixel_size(tree, image, _inherited(tree, image, by_folder))


def check_sources(tree: Tree) -> Iterator[Finding]:
    """Check that the sources of a file exist."""
    for file in _sidecars(tree):
        sources = _content(tree.root / file).get("Sources", [])
        if not isinstance(sources, list):
            yield _error("SOURCE_INVALID", file, "has Sources that are not a list of BIDS URIs")
            continue
        for source in sources:
            try:
                _resolve(tree, tree.dataset_of(file), source)
            except SourceNotFoundError as failure:
                yield _error("SOURCE_NOT_FOUND", file, f"names the source {source}: {failure}")


def _sidecars(tree: Tree) -> Iterator[PurePosixPath]:
    return (file for file in tree.plain_files if file.suffix == ".json")


def _sidecar_of(image: Image) -> PurePosixPath:
    return image.stem.with_name(f"{image.stem.name}.json")


def _compare_pixel_size(tree: Tree, image: Image, said: Mapping[str, Any]) -> Iterator[Finding]:
    size, unit_um = said.get("PixelSize"), _UNITS_UM.get(str(said.get("PixelSizeUnits")))
    sidecar = _sidecar_of(image)
    if not _is_three_numbers(size) or unit_um is None:
        yield _error("PIXEL_SIZE_MISSING", sidecar, "needs PixelSize (X, Y, Z) and PixelSizeUnits, such as um")
        return
    geometry = read_geometry(tree.root, image)
    if geometry is None:
        return
    size_um = [length * unit_um for length in size]
    pairs = zip(size_um, geometry.voxel_size_xyz_um, strict=True)
    if any(abs(one - other) > _TOLERANCE_UM for one, other in pairs):
        message = f"says voxels of {size_um} um, the image itself says {list(geometry.voxel_size_xyz_um)} um (X, Y, Z)"
        yield _error("PIXEL_SIZE_MISMATCH", sidecar, message)


def _by_folder(files: Iterable[PurePosixPath]) -> Mapping[PurePosixPath, list[PurePosixPath]]:
    folders: defaultdict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for file in files:
        folders[file.parent].append(file)
    return folders


def _inherited(tree: Tree, image: Image, by_folder: Mapping[PurePosixPath, list[PurePosixPath]]) -> dict[str, Any]:
    """Put together all sidecars that apply to an image, from its dataset's folder down to its own."""
    dataset = tree.dataset_of(image.path)
    above = [folder for folder in image.path.parents if folder == dataset or dataset in folder.parents]
    merged: dict[str, Any] = {}
    for folder in reversed(above):
        applying = [file for file in by_folder.get(folder, ()) if _applies(file, image)]
        for file in sorted(applying, key=lambda file: len(parse_name(file.name).entities)):
            merged |= _content(tree.root / file)
    return merged


def _applies(sidecar: PurePosixPath, image: Image) -> bool:
    name = parse_name(sidecar.name)
    return name.suffix == image.name.suffix and name.entities.items() <= dict(image.name.entities).items()


def _content(file: Path) -> dict[str, Any]:
    """Read a sidecar, empty if it cannot be read: `check_readable` says so."""
    try:
        return read_sidecar(file)
    except SidecarError:
        return {}


def _is_three_numbers(value: object) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(number, int | float) and 0 < number < _MOST_SIZE for number in value)
    )


def _resolve(tree: Tree, dataset: PurePosixPath, uri: object) -> None:
    """Follow a BIDS URI, `bids:[name]:path`, to what it names.

    Datasets elsewhere (links such as `https:` or `doi:`) cannot be looked at and are taken as they are.

    Raises
    ------
    SourceNotFoundError
        If it is not a BIDS URI, its name is not in DatasetLinks, or there is nothing at its path.
    """
    scheme, _, rest = str(uri).partition(":")
    name, colon, path = rest.partition(":")
    if scheme != "bids" or not colon or not path:
        raise SourceNotFoundError("it is not a valid BIDS URI (bids::path or bids:name:path)")
    base = _linked_dataset(tree.root / dataset, name) if name else tree.root / dataset
    if base is not None and not exists(base / path) and not exists(base / unquote(path)):
        raise SourceNotFoundError("it does not exist")


def _linked_dataset(dataset: Path, name: str) -> Path | None:
    """Find the folder of a dataset in DatasetLinks; None if it is not on this machine."""
    links = _content(dataset / DESCRIPTION).get("DatasetLinks")
    target = links.get(name) if isinstance(links, Mapping) else None
    if not isinstance(target, str):
        raise SourceNotFoundError(f"{name} is not in the DatasetLinks of {DESCRIPTION}")
    try:
        parts = urlsplit(target)
    except ValueError as failure:
        raise SourceNotFoundError(f"{name} has no valid address in the DatasetLinks of {DESCRIPTION}") from failure
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else dataset / unquote(parts.path)
