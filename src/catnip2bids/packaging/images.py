"""One image of the dataset: its pixels, metadata, plane hashes and record.

Invariant: an image is made again only if its source files or a setting that affects it have changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.atomic_write import atomic_output, discard_staging, partial_path, remove
from catnip2bids.bids.dataset_paths import sidecar_of
from catnip2bids.bids.plane_hashes import PlaneRecord, hashes_path, write_hashes
from catnip2bids.bids.provenance import ImageRecord
from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.build_image import METADATA_FORMAT, build_image, unnamed_labels_warning
from catnip2bids.catnip.atlas import UNLISTED, AtlasTable
from catnip2bids.catnip.component_type import Content
from catnip2bids.cells.connected_components import INSIDE_CELLS
from catnip2bids.engine import ProgressCallbacks, Scheduler
from catnip2bids.errors import WriteError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.ome import OmeZarr, OmeZarrImage, OmeZarrVersion, description_sha256, image_size, write_labels_group
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.paths import safe_path
from catnip2bids.progress import Progress


def is_current(task: ImageTask, dataset: Path, record: ImageRecord) -> bool:
    """Tell whether an image exists and its task would make the same."""
    return _exists(task, dataset) and record.fingerprint == task.spec.fingerprint()


def current_metadata(task: ImageTask, dataset: Path, record: ImageRecord) -> dict[str, Any] | None:
    """Return new metadata for an image of an earlier version; None if its pixels have to be written again."""
    image = task.spec.image(dataset / task.target)
    if not isinstance(image, OmeZarrImage) or not _exists(task, dataset):
        return None
    size = image_size(image.folder)
    is_whole = (size.n_files, size.n_bytes) == (record.n_files, record.n_bytes)
    earlier = {task.spec.fingerprint(metadata_format=number) for number in range(1, METADATA_FORMAT)}
    if not is_whole or record.fingerprint not in earlier:
        return None
    try:
        return task.spec.metadata(image, record.value_range, record.label_values)
    except WriteError:  # its smallest level cannot be read
        return None


def replace_metadata(
    task: ImageTask, dataset: Path, record: ImageRecord, document: dict[str, Any]
) -> tuple[PurePosixPath, ImageRecord]:
    """Write new metadata into an OME-Zarr image; return the file and the new record of the image."""
    image = task.spec.image(dataset / task.target)
    if not isinstance(image, OmeZarrImage):
        raise TypeError(f"{task.target} is not an OME-Zarr image")
    file = image.replace_metadata(document)
    changes = {"fingerprint": task.spec.fingerprint(), "n_bytes": image_size(image.folder).n_bytes}
    return PurePosixPath(file.relative_to(dataset)), record.model_copy(update=changes)


def make_image(
    dataset: Path, scheduler: Scheduler, progress: Progress, task: ImageTask, *, overwrite: bool
) -> ImageRecord:
    """Write an image and the hashes of its planes; return its record.

    Call `discard_staging` once the record is saved. With `overwrite`, what an interrupted command left is discarded.
    """
    progress.item(task.target.name, task.spec.how)
    if overwrite:
        discard_staging(safe_path(dataset, task.target))
    volume, callbacks = task.volume, ProgressCallbacks(progress.advance, progress.skip)
    unit, fingerprint = build_image(task.spec, safe_path(dataset, task.target), scheduler, callbacks)
    write_hashes(dataset, task.target, _plane_records(task, unit.sha256))
    size = image_size(dataset / task.target)
    return ImageRecord(
        source=task.entry.path,
        recovered_from=task.recovered_from.path if task.recovered_from else None,
        role=task.component.role,
        shape=volume.shape,
        dtype=volume.dtype.name,
        voxel_size_um=task.spec.voxel_size_um,
        value_range=unit.value_range or (0.0, 0.0),
        label_values=sorted(unit.labels) if task.has_labels and unit.labels is not None else None,
        how=task.spec.how,
        fingerprint=fingerprint,
        n_files=size.n_files,
        n_bytes=size.n_bytes,
        description_sha256=description_sha256(dataset / task.target),
    )


def value_warnings(task: ImageTask, record: ImageRecord, atlas: AtlasTable) -> Iterator[str]:
    """Yield what may be wrong with the values of labels and of binary segmentations."""
    values = set(record.label_values or ())
    if task.component.content == Content.LABELS:
        if unlisted := atlas.unlisted_values(values):
            in_no_table = f"{format_count(len(unlisted), 'label value')} in no table"
            listed = format_list([*map(str, unlisted)])
            yield f"{task.entry.location}: {in_no_table}: {listed}; listed as {UNLISTED}_... in the atlas table"
        if isinstance(task.spec.format, OmeZarr) and task.spec.name_label is None:
            yield unnamed_labels_warning(task.entry.location, task.volume.dtype)
    if task.component.is_segmentation and (others := sorted(values - {0, INSIDE_CELLS})):
        yield (
            f"{task.entry.location}: has voxels of {format_list([*map(str, others)])}; CATNIP writes {INSIDE_CELLS} "
            f"inside cells and 0 outside, and only voxels of {INSIDE_CELLS} are found as cells; replace it by the file "
            "that CATNIP wrote"
        )


def _exists(task: ImageTask, dataset: Path) -> bool:
    return (dataset / task.target).exists() and (dataset / hashes_path(task.target)).is_file()


def embed_labels(dataset: Path, raw: PurePosixPath, labels: Mapping[str, str], version: OmeZarrVersion) -> None:
    """Copy label images, by name, into the group ``labels`` of an image; without any, remove that group."""
    if not labels:
        remove(safe_path(dataset, raw / "labels"))
        return
    with atomic_output(safe_path(dataset, raw / "labels"), near=safe_path(dataset, raw)) as partial:
        for name, image in labels.items():
            shutil.copytree(dataset / image, partial / name, copy_function=shutil.copyfile)
        write_labels_group(partial, list(labels), version)


def remove_image(dataset: Path, target: PurePosixPath, *, with_sidecar: bool = True) -> None:
    """Remove an image, its sidecar, its plane hashes and its unfinished files."""
    image = safe_path(dataset, target)
    discard_staging(image)
    if image.exists():
        image.replace(partial_path(image))  # an interruption must not leave half an image under its name
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
