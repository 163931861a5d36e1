"""One image of the dataset: pixels, metadata, plane hashes, and the record of it.

Invariant: an image is made again only if its source files, or a setting that decides what it looks like, have
changed; otherwise the existing image is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.atomic_write import atomic_output, partial_path, remove
from catnip2bids.bids.dataset_paths import sidecar_of
from catnip2bids.bids.plane_hashes import PlaneRecord, hashes_path, write_hashes
from catnip2bids.bids.provenance import ImageRecord
from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.build_image import build_image
from catnip2bids.engine import ProgressCallbacks, Scheduler
from catnip2bids.errors import WriteError
from catnip2bids.ome import (
    OmeZarrImage,
    OmeZarrVersion,
    description_sha256,
    image_size,
    write_labels_group,
)
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.paths import safe_path
from catnip2bids.staging import discard_staging


def is_current(task: ImageTask, dataset: Path, record: ImageRecord) -> bool:
    """Tell whether an image exists and is what its task would make.

    Raises
    ------
    SourceError
        If a source file does not exist any more.
    """
    return _exists(task, dataset) and record.fingerprint == task.spec.fingerprint()


def current_metadata(task: ImageTask, dataset: Path, record: ImageRecord) -> dict[str, Any] | None:
    """Return new metadata for an image of an earlier version, if its pixels would be the same today.

    None if the image has to be made again.
    """
    image = task.spec.image(dataset / task.target)
    if not isinstance(image, OmeZarrImage) or not _exists(task, dataset):
        return None
    size = image_size(image.folder)
    is_whole = (size.n_files, size.n_bytes) == (record.n_files, record.n_bytes)
    if not is_whole or record.fingerprint != task.spec.fingerprint(metadata_format=1):
        return None
    try:
        return task.spec.metadata(image, record.value_range, record.label_values)
    except WriteError:  # its smallest level cannot be read
        return None


def replace_metadata(
    task: ImageTask, dataset: Path, record: ImageRecord, document: dict[str, Any]
) -> tuple[PurePosixPath, ImageRecord]:
    """Write new metadata into an OME-Zarr image; returns the file, and the record of the image."""
    image = task.spec.image(dataset / task.target)
    if not isinstance(image, OmeZarrImage):
        raise TypeError(f"{task.target} is not an OME-Zarr image")
    file = image.replace_metadata(document)
    changes = {"fingerprint": task.spec.fingerprint(), "n_bytes": image_size(image.folder).n_bytes}
    return PurePosixPath(file.relative_to(dataset)), record.model_copy(update=changes)


def make_image(task: ImageTask, dataset: Path, workers: Scheduler, listener: ProgressCallbacks) -> ImageRecord:
    """Write an image and the hashes of its planes; returns its record.

    Call `discard_staging` once the record is saved.

    Raises
    ------
    SourceError
        If the source cannot be read, or holds labels that cannot be trusted.
    """
    volume = task.volume
    learned, fingerprint = build_image(task.spec, safe_path(dataset, task.target), workers, listener)
    write_hashes(dataset, task.target, _plane_records(task, learned.sha256))
    size = image_size(dataset / task.target)
    return ImageRecord(
        source=task.entry.path,
        recovered_from=task.recovered_from.path if task.recovered_from else None,
        role=task.component.role,
        shape=volume.shape,
        dtype=volume.dtype.name,
        voxel_size_um=task.spec.voxel_size_um,
        value_range=learned.value_range or (0.0, 0.0),
        label_values=sorted(learned.labels) if task.has_labels and learned.labels is not None else None,
        how=task.spec.how,
        fingerprint=fingerprint,
        n_files=size.n_files,
        n_bytes=size.n_bytes,
        description_sha256=description_sha256(dataset / task.target),
    )


def _exists(task: ImageTask, dataset: Path) -> bool:
    return (dataset / task.target).exists() and (dataset / hashes_path(task.target)).is_file()


def embed_labels(dataset: Path, raw: ImageTask, labels: Sequence[ImageTask], version: OmeZarrVersion) -> None:
    """Put copies of label images inside the raw image, as its group ``labels``; without any it has no such group."""
    if not labels:
        remove(safe_path(dataset, raw.target / "labels"))
        return
    with atomic_output(safe_path(dataset, raw.target / "labels"), near=safe_path(dataset, raw.target)) as partial:
        names = []
        for task in labels:
            names.append(task.spec.channel)
            shutil.copytree(dataset / task.target, partial / names[-1], copy_function=shutil.copyfile)
        write_labels_group(partial, names, version)


def remove_image(dataset: Path, target: PurePosixPath, *, with_sidecar: bool = True) -> None:
    """Remove an image with its sidecar and the hashes of its planes, and what was begun of it."""
    image = safe_path(dataset, target)
    discard_staging(image)
    if image.exists():
        image.replace(partial_path(image))  # no half image under its name, whatever happens
        remove(partial_path(image))
    if with_sidecar:
        remove(safe_path(dataset, sidecar_of(target)))
    remove(safe_path(dataset, hashes_path(target)))


def _plane_records(task: ImageTask, sha256: Iterable[str]) -> Iterator[PlaneRecord]:
    for plane, plane_hash in enumerate(sha256):
        file = task.volume.plane_source(plane).path
        source = f"{task.source}/{file.name}" if task.entry.location.is_dir() else task.source
        if task.recovered_from is not None:
            source = UNKNOWN  # no file holds these pixels
        yield PlaneRecord(source, plane_hash)
