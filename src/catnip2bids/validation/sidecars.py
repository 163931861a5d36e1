"""JSON files: each image has a sidecar, both state the same voxel size, and sources are those it was computed from.

Invariant: the voxel size of an image is read from the image alone, and compared with that of all sidecars that apply,
the nearest last (BIDS specification, "The Inheritance Principle").
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.paths import exists
from catnip2bids.validation.findings import Finding, our_error
from catnip2bids.validation.ome_tiff import read_pixels
from catnip2bids.validation.ome_zarr import read_multiscale
from catnip2bids.validation.tree import DESCRIPTION, RECORDS, Image, Tree, parse_name
from catnip2bids.volume.zarr import read_chunk_grid

_PROVENANCE = RECORDS / "provenance.json"
_TOLERANCE_UM, _MOST_SIZE = 1e-3, 1e9
_UNITS_UM = {"mm": 1000.0, "um": 1.0, "nm": 0.001}
"""What BIDS allows as PixelSizeUnits."""
_GENERATED = ("Sources", "SpatialReference", "Threshold")
"""Fields of a sidecar that follow from how the image was made; texts are a person's to edit."""
_LONGEST_VALUE = 200

_UNREADABLE = (OSError, ValueError, DatasetError)
"""What `read_object` raises on files that are not JSON objects."""


@dataclass(frozen=True)
class Geometry:
    """Shape (z, y, x) of an image and its voxel size along (x, y, z) in micrometers, as BIDS orders them."""

    shape: tuple[int, int, int]
    voxel_size_xyz_um: tuple[float, float, float]


def read_geometry(root: Path, image: Image) -> Geometry | None:
    """Read the geometry of level 0; None where the image has a finding of its own that says why it has none."""
    path = root / image.path
    try:
        if image.is_zarr:
            return _geometry_of_zarr(path)
        pixels = read_pixels(path)
    except SourceError:
        return None
    z, y, x = pixels.voxel_size_um
    return Geometry(pixels.shape, (x, y, z))


def _geometry_of_zarr(folder: Path) -> Geometry:
    multiscale = read_multiscale(folder)
    names = [axis.name for axis in multiscale.axes]
    shape = read_chunk_grid(folder, multiscale.levels[0].path).shape
    if not {"z", "y", "x"} <= set(names) or len(shape) != len(names):
        raise SourceError("it has no axes z, y and x")
    scale, _ = multiscale.placement(multiscale.levels[0])
    x, y, z = (scale[names.index(axis)] for axis in "xyz")
    n_planes, n_rows, n_columns = (shape[names.index(axis)] for axis in "zyx")
    return Geometry((n_planes, n_rows, n_columns), (x, y, z))


def check_readable(tree: Tree) -> Iterator[Finding]:
    """Check that every JSON file is a JSON object, including those that BIDS validators ignore."""
    for file in _sidecars(tree):
        try:
            read_object(tree.root / file)
        except _UNREADABLE as failure:
            yield our_error("JSON_UNREADABLE", file, f"cannot be read: {failure}")


def check_provenance(tree: Tree) -> Iterator[Finding]:
    """Check that provenance.json exists in a dataset of ours, can be read, and names no run that is unfinished."""
    if RECORDS not in tree.folders:
        return
    if not (tree.root / _PROVENANCE).is_file():
        yield our_error("PROVENANCE_MISSING", _PROVENANCE, "does not exist: how this dataset was made is not known")
        return
    try:
        runs = read_object(tree.root / _PROVENANCE).get("runs")
    except _UNREADABLE as failure:
        yield our_error("PROVENANCE_INVALID", _PROVENANCE, f"cannot be read: {failure}")
        return
    for key, run in runs.items() if isinstance(runs, dict) else ():
        if isinstance(run, dict) and run.get("unfinished") is True:
            what = f"packaging {key} was interrupted, so its files may not fit each other; package its run again"
            yield our_error("RUN_UNFINISHED", _PROVENANCE, what)


def packaged_images(tree: Tree) -> Iterator[str]:
    """Yield the images that provenance lists, as POSIX paths; none if it cannot be read, as `check_provenance` says."""
    for images in _of_runs(tree, "images"):
        yield from images


def packaged_cells(tree: Tree) -> dict[str, int | None]:
    """Return the tables of cells that provenance lists, as POSIX paths, and how many cells each has, if it says so."""
    numbers = {
        table: record.get("n_cells") if isinstance(record, dict) else None
        for cells in _of_runs(tree, "cells")
        for table, record in cells.items()
    }
    return {table: n if isinstance(n, int) else None for table, n in numbers.items()}


def _of_runs(tree: Tree, field: str) -> Iterator[dict[str, Any]]:
    """Yield one field of each run of provenance, if it is an object."""
    for run in _runs(tree):
        if isinstance(found := run.get(field), dict):
            yield found


def _runs(tree: Tree) -> Iterator[dict[str, Any]]:
    runs = _content(tree.root / _PROVENANCE).get("runs")
    return (run for run in (runs.values() if isinstance(runs, dict) else ()) if isinstance(run, dict))


def check_pixel_sizes(tree: Tree) -> Iterator[Finding]:
    """Check that each image has a sidecar beside it with the voxel size of the image itself."""
    by_folder: defaultdict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for file in _sidecars(tree):
        by_folder[file.parent].append(file)
    for image in tree.images:
        sidecar = image.stem.with_name(f"{image.stem.name}.json")
        if (tree.root / sidecar).is_file():
            yield from _compare_pixel_size(tree, image, sidecar, _inherited(tree, image, by_folder))
        else:
            yield our_error("SIDECAR_MISSING", image.path, f"has no {sidecar.name} beside it")


def check_sources(tree: Tree) -> Iterator[Finding]:
    """Check that the sources of a file exist."""
    for file in _sidecars(tree):
        sources = _content(tree.root / file).get("Sources", [])
        if not isinstance(sources, list):
            yield our_error("SOURCE_INVALID", file, "has Sources that are not a list of BIDS URIs")
            continue
        for source in sources:
            if problem := _problem_of(source, tree.root / tree.dataset_of(file)):
                yield our_error("SOURCE_NOT_FOUND", file, f"names the source {source}: {problem}")


def check_generated_fields(tree: Tree) -> Iterator[Finding]:
    """Check that sidecars have the sources, space and threshold that packaging generated; sources may be added.

    Files of an interrupted run may differ from its record; `check_provenance` reports the run.
    """
    finished = [run.get("sidecars") for run in _runs(tree) if run.get("unfinished") is not True]
    generated = {
        path: fields for sidecars in finished if isinstance(sidecars, dict) for path, fields in sidecars.items()
    }
    for file in _sidecars(tree):
        fields = generated.get(file.as_posix())
        if not isinstance(fields, dict):
            continue
        try:
            said = read_object(tree.root / file)
        except _UNREADABLE:
            continue  # `check_readable` reports it
        for key in _GENERATED:
            if key in fields and not _agree(said.get(key), fields[key]):
                wrote = f"packaging wrote {_shortened(fields[key])}"
                what = f"has no {key}, and {wrote}; package its run again"
                if key in said:
                    what = f"says {key} {_shortened(said[key])}; {wrote}"
                    what += f"; correct it, or remove {key} and package its run again"
                yield our_error("SIDECAR_FIELD", file, what)


def _agree(said: object, generated: object) -> bool:
    """Tell whether a value is the generated one; a list may have more."""
    if isinstance(said, list) and isinstance(generated, list):
        return set(map(str, generated)) <= set(map(str, said))
    return said == generated


def _shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]} …"


def _sidecars(tree: Tree) -> Iterator[PurePosixPath]:
    return (file for file in tree.plain_files if file.suffix == ".json")


def _compare_pixel_size(tree: Tree, image: Image, sidecar: PurePosixPath, said: Mapping[str, Any]) -> Iterator[Finding]:
    size, unit_um = said.get("PixelSize"), _UNITS_UM.get(str(said.get("PixelSizeUnits")))
    if not _is_three_numbers(size) or unit_um is None:
        yield our_error("PIXEL_SIZE_MISSING", sidecar, "needs PixelSize (X, Y, Z) and PixelSizeUnits, such as um")
        return
    geometry = read_geometry(tree.root, image)
    if geometry is None:
        return
    size_um = [length * unit_um for length in size]
    pairs = zip(size_um, geometry.voxel_size_xyz_um, strict=True)
    if any(abs(one - other) > _TOLERANCE_UM for one, other in pairs):
        message = f"says voxels of {size_um} um, the image itself says {list(geometry.voxel_size_xyz_um)} um (X, Y, Z)"
        yield our_error("PIXEL_SIZE_MISMATCH", sidecar, message)


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
    """Read a sidecar; return an empty one if it cannot be read, which `check_readable` reports."""
    try:
        return read_object(file)
    except _UNREADABLE:
        return {}


def _is_three_numbers(value: object) -> TypeGuard[list[float]]:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(number, int | float) and 0 < number < _MOST_SIZE for number in value)
    )


def _problem_of(uri: object, dataset: Path) -> str | None:
    """Return why a BIDS URI, `bids:[name]:path`, leads to no file or folder; None if it does.

    Datasets elsewhere (links such as `https:` or `doi:`) cannot be looked at and are accepted.
    """
    scheme, _, rest = str(uri).partition(":")
    name, colon, path = rest.partition(":")
    if scheme != "bids" or not colon or not path:
        return "it is not a valid BIDS URI (bids::path or bids:name:path)"
    base = dataset
    if name:
        links = _content(dataset / DESCRIPTION).get("DatasetLinks")
        target = links.get(name) if isinstance(links, Mapping) else None
        if not isinstance(target, str):
            return f"{name} is not in the DatasetLinks of {DESCRIPTION}"
        try:
            parts = urlsplit(target)
        except ValueError:
            return f"{name} has no valid address in the DatasetLinks of {DESCRIPTION}"
        if parts.scheme not in ("", "file"):
            return None
        base = Path(unquote(parts.path)) if parts.scheme else dataset / unquote(parts.path)
    return None if exists(base / path) or exists(base / unquote(path)) else "it does not exist"
