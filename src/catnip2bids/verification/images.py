"""Verify one image: each plane is what was read, and each lower level follows from the level above.

Invariant: everything wrong with an image becomes a problem of its verdict and stops no other image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from catnip2bids.bids.plane_hashes import PlaneRecord, hashes_path, read_hashes
from catnip2bids.bids.provenance import PROVENANCE, ImageRecord, Provenance
from catnip2bids.catnip.components import kind_of
from catnip2bids.engine import OVERHEAD_BYTES, BoundedMap, Resources
from catnip2bids.errors import DatasetError, NotEnoughMemoryError, SourceError
from catnip2bids.formatting import format_bytes_up, format_count, format_list, format_shape
from catnip2bids.leftovers import without_leftovers
from catnip2bids.ome import downsample, downsample_plainly, image_size, unexpected_files
from catnip2bids.paths import file_name, inside
from catnip2bids.verification.image_readers import Found, ImageReader, TiffReader, ZarrReader
from catnip2bids.verification.result import ImageVerdict, Problem, ProblemKind

_DOCUMENTS = {"zarr.json", ".zattrs", ".zgroup"}


@dataclass(frozen=True)
class ExpectedImage:
    """An image as recorded in the dataset."""

    path: PurePosixPath  # below the dataset
    record: ImageRecord  # from provenance.json
    planes: tuple[PlaneRecord, ...]  # empty if the table cannot be read
    problem: str | None = None  # why the hashes are missing
    # the image that this label image is embedded in
    inside: PurePosixPath | None = None
    labels: frozenset[str] = frozenset()  # names of its embedded label images

    @property
    def n_voxels(self) -> int:
        """Voxels of level 0."""
        return math.prod(self.record.shape)


def expected_images(dataset: Path, provenance: Provenance) -> Iterator[ExpectedImage]:
    """Yield all images that provenance lists, and the label images inside of them."""
    for run in provenance.runs.values():
        images = {
            target: _expected(dataset, inside(target, PROVENANCE.name), run.images[target]) for target in run.images
        }
        by_fingerprint = {image.record.fingerprint: image for image in images.values()}
        for image in images.values():
            embedded = {
                file_name(name, PROVENANCE.name): by_fingerprint[fingerprint]
                for name, fingerprint in image.record.embedded.items()
                if fingerprint in by_fingerprint
            }
            yield replace(image, labels=frozenset(embedded))
            for name, original in embedded.items():
                yield replace(original, path=image.path / "labels" / name, inside=image.path)


def _expected(dataset: Path, path: PurePosixPath, record: ImageRecord) -> ExpectedImage:
    try:
        planes = read_hashes(dataset, path)
    except DatasetError as error:
        return ExpectedImage(path, record, (), str(error).removeprefix(f"{dataset}/"))
    if len(planes) != record.shape[0]:
        problem = f"{hashes_path(path)}: has {format_count(len(planes), 'plane')}, the image had {record.shape[0]}"
        return ExpectedImage(path, record, (), problem)
    return ExpectedImage(path, record, planes)


def verify_image(
    dataset: Path, image: ExpectedImage, resources: Resources, deep: bool, on_voxels: Callable[[int], None]
) -> ImageVerdict:
    """Read a whole image with a library that did not write it; `on_voxels` is told about voxels of level 0.

    `deep` does everything in a second way too: OME-Zarr is decoded with tensorstore as well, and lower levels are
    recomputed with tensorstore instead of the faster code that made them.
    """
    path = dataset / image.path
    if not path.exists():
        return _verdict(image, 0, [Problem("does not exist", kind=ProblemKind.MISSING)])
    problems = [Problem(image.problem)] if image.problem else []
    problems += [*_size_problems(image, path), *_unrecorded_labels(image, path)]
    try:
        reader = _open(path, image.record, deep, resources.memory_bytes - OVERHEAD_BYTES)
    except SourceError as error:
        unread = Problem(str(error).removeprefix(f"{path}: "), kind=ProblemKind.NOT_READ)
        return _verdict(image, 0, [*problems, unread])
    shape, dtype = reader.shapes[0], reader.dtype
    if shape != tuple(image.record.shape) or dtype != np.dtype(image.record.dtype):
        had = f"{format_shape(image.record.shape)} of {image.record.dtype}"
        what = f"has {format_shape(shape)} voxels of {dtype}, and had {had}"
        return _verdict(image, len(reader.shapes), [*problems, Problem(what)])
    if isinstance(reader, TiffReader) and image.record.description_sha256 not in (None, reader.description_sha256):
        problems.append(Problem("its OME-XML was changed"))
    if reader.piece_bytes > resources.memory_bytes - OVERHEAD_BYTES:
        needed = format_bytes_up(reader.piece_bytes + OVERHEAD_BYTES)
        raise NotEnoughMemoryError(f"{path}: verifying it needs at least {needed} of memory; give more with --memory")
    with BoundedMap(resources, reader.piece_bytes, about=path) as threads:
        found = []
        for one in threads.map(reader.check, reader.pieces()):
            found.append(one)
            on_voxels(one.n_voxels)
    return _verdict(image, len(reader.shapes), [*problems, *_compared(image, found)])


def not_verified(image: ExpectedImage, why: str) -> ImageVerdict:
    """Return the verdict on an image that was not read."""
    return _verdict(image, 0, [Problem(f"could not be verified: {why}", kind=ProblemKind.NOT_READ)])


def _open(path: Path, record: ImageRecord, deep: bool, most_bytes: int) -> ImageReader:
    kind, merge = kind_of(record.role), downsample_plainly if deep else downsample
    if path.is_dir():
        return ZarrReader(path, kind, merge, twice=deep, most_bytes=most_bytes)
    return TiffReader(path, kind, merge)


def _size_problems(image: ExpectedImage, path: Path) -> list[Problem]:
    record, size = image.record, image_size(path)
    if record.n_files is None or (size.n_files, size.n_bytes) == (record.n_files, record.n_bytes):
        return []
    had = f"{format_count(record.n_files, 'file')} of {record.n_bytes} bytes"
    unexpected = list(unexpected_files(path)) if path.is_dir() else []
    if unexpected:
        had += f"; {format_list(unexpected)} {'is' if len(unexpected) == 1 else 'are'} not part of it"
    return [Problem(f"has {format_count(size.n_files, 'file')} of {size.n_bytes} bytes, and had {had}")]


def _unrecorded_labels(image: ExpectedImage, path: Path) -> list[Problem]:
    """Name the label images in an image, stored or recorded, that were not packaged."""
    stored = set() if path.is_file() else {entry.name for entry in without_leftovers((path / "labels").glob("*"))}
    unrecorded = sorted((stored | image.record.embedded.keys()) - image.labels - _DOCUMENTS)
    return [Problem(f"labels/{name} is not known: nothing can be said of its pixels") for name in unrecorded]


def _compared(image: ExpectedImage, found: Sequence[Found]) -> list[Problem]:
    """Compare the hashes that were found with those that are recorded, and merge the problems of all pieces."""
    hashes = {plane: sha256 for piece in found for plane, sha256 in piece.sha256.items()}
    wrong = [plane for plane, sha256 in hashes.items() if image.planes and sha256 != image.planes[plane].sha256]
    together: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for problem in (problem for piece in found for problem in piece.problems):
        together[problem.what, problem.level].extend(problem.planes)
    problems = [Problem(what, level, tuple(sorted(planes))) for (what, level), planes in together.items()]
    if wrong:
        first, last = (image.planes[plane].source for plane in (min(wrong), max(wrong)))
        sources = first if first == last else f"{first} ... {PurePosixPath(last).name}"
        problems.append(Problem(f"is not what was read from {sources}", 0, tuple(sorted(wrong))))
    return sorted(problems, key=lambda problem: (problem.level or 0, problem.planes))


def _verdict(image: ExpectedImage, n_levels: int, problems: Sequence[Problem]) -> ImageVerdict:
    n_planes = image.record.shape[0] if n_levels else 0
    return ImageVerdict(image.path.as_posix(), n_planes, n_levels, tuple(problems))
