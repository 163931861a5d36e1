"""One image of the dataset: pixels, metadata, plane hashes, and the record of it.

Invariant: an image is made again only if its source files, or a setting that decides what it looks like, have
changed; otherwise the existing image is kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.bids.pixels import PlaneRecord, hashes_path, write_hashes
from catnip2bids.bids.places import sidecar_of
from catnip2bids.bids.provenance import ImageRecord
from catnip2bids.bids.tables import UNKNOWN
from catnip2bids.building import ImagePlan, build_image, describe_image
from catnip2bids.catnip.atlas import AtlasTable, Region
from catnip2bids.catnip.component import Content
from catnip2bids.choices import Format
from catnip2bids.colors import made_up_color
from catnip2bids.engine import Listener, Workers
from catnip2bids.errors import WriteError
from catnip2bids.ome import (
    ImageFormat,
    LabelValue,
    OmeTiff,
    OmeZarr,
    OmeZarrImage,
    OmeZarrVersion,
    description_sha256,
    image_size,
    is_label_type,
    write_labels_group,
)
from catnip2bids.packaging.settings import Settings
from catnip2bids.packaging.tasks import ImageTask
from catnip2bids.paths import safe_path
from catnip2bids.publish import forget_construction, partial_path, publication, remove
from catnip2bids.volume import RecoveredMask


@dataclass(frozen=True)
class ImageJob:
    """Everything that decides what an image is.

    Attributes
    ----------
    task
        What becomes what.
    atlas
        Names of the label values.
    format
        In which format it is written.
    """

    task: ImageTask
    atlas: AtlasTable
    format: ImageFormat

    @property
    def plan(self) -> ImagePlan:
        """What the image is to be."""
        task = self.task
        kind = task.component.content.kind
        channel = task.desc or task.stem
        return ImagePlan(task.volume, task.stem, channel, task.voxel_size_um, kind, self.format, task.description)

    def fingerprint(self) -> str:
        """Hash everything that decides what the image is.

        Raises
        ------
        SourceError
            If a source file is not there any more.
        """
        return self.plan.fingerprint(*self._decisive)

    @property
    def _decisive(self) -> list[Any]:
        named = self.task.component.content == Content.LABELS
        regions = [(r.index, r.name, r.abbreviation, r.color) for r in self.atlas.regions.values()] if named else []
        emptied = sorted(self.task.volume.emptied) if isinstance(self.task.volume, RecoveredMask) else []
        return [self.task.source, str(self.task.target), self.task.component.content.value, regions, *emptied]

    def is_done(self, dataset: Path, record: ImageRecord | None) -> bool:
        """Tell whether the image is there and is what this job would make."""
        return record is not None and self._is_there(dataset) and record.fingerprint == self.fingerprint()

    def metadata_of_today(self, dataset: Path, record: ImageRecord) -> dict[str, Any] | None:
        """Return new metadata for an image that an earlier version made, if its pixels would be the same today.

        None if the image has to be made again.
        """
        image = self.plan.image(dataset / self.task.target)
        if not isinstance(image, OmeZarrImage) or not self._is_there(dataset):
            return None
        size = image_size(image.folder)
        is_whole = (size.n_files, size.n_bytes) == (record.n_files, record.n_bytes)
        if not is_whole or record.fingerprint != self.plan.fingerprint(*self._decisive, metadata_format=1):
            return None
        try:
            labels = self._labels_of(record.label_values or ())
            return describe_image(self.plan, image, record.value_range, labels)
        except WriteError:  # its smallest level cannot be read
            return None

    def replace_metadata(
        self, dataset: Path, record: ImageRecord, document: dict[str, Any]
    ) -> tuple[PurePosixPath, ImageRecord]:
        """Write new metadata into an OME-Zarr image; returns the file, and the record of the image."""
        image = self.plan.image(dataset / self.task.target)
        if not isinstance(image, OmeZarrImage):
            raise TypeError(f"{self.task.target} is not an OME-Zarr image")
        file = image.replace_metadata(document)
        changes = {"fingerprint": self.fingerprint(), "n_bytes": image_size(image.folder).n_bytes}
        return PurePosixPath(file.relative_to(dataset)), record.model_copy(update=changes)

    def _is_there(self, dataset: Path) -> bool:
        return (dataset / self.task.target).exists() and (dataset / hashes_path(self.task.target)).is_file()

    def make(self, dataset: Path, workers: Workers, listener: Listener) -> ImageRecord:
        """Write the image and the hashes of its planes; returns the record of it.

        When the record is safe, `forget_construction` is to be called.

        Raises
        ------
        SourceError
            If the source cannot be read, or holds labels that cannot be trusted.
        """
        task, volume = self.task, self.task.volume
        converted, fingerprint = build_image(
            self.plan,
            safe_path(dataset, task.target),
            self._decisive,
            workers,
            listener,
            lambda converted: self._labels_of(converted.labels or ()),
        )
        write_hashes(dataset, task.target, _plane_records(task, converted.sha256))
        size = image_size(dataset / task.target)
        return ImageRecord(
            source=task.entry.path,
            recovered_from=task.recovered_from.path if task.recovered_from else None,
            role=task.component.role,
            shape=volume.shape,
            dtype=volume.dtype.name,
            voxel_size_um=task.voxel_size_um,
            value_range=converted.value_range,
            label_values=sorted(converted.labels) if _has_labels(task) and converted.labels is not None else None,
            how=self.plan.how,
            fingerprint=fingerprint,
            n_files=size.n_files,
            n_bytes=size.n_bytes,
            description_sha256=description_sha256(dataset / task.target),
        )

    def _labels_of(self, values: Iterable[int]) -> list[LabelValue] | None:
        """Names and colours of the values that occur; None if the image is not a label image."""
        if not can_be_label_image(self.task):
            return None
        occurring = sorted(value for value in values if value != 0)
        if self.task.component.content == Content.LABELS:
            return [_label(self.atlas.region_of(value)) for value in occurring]
        name = self.task.component.value_name or "inside"
        return [LabelValue(value, name, None, "#ffffff") for value in occurring]


def can_be_label_image(task: ImageTask) -> bool:
    """Tell whether an image of the dataset holds labels or a mask, of a type that OME-Zarr allows for label images."""
    return _has_labels(task) and is_label_type(task.volume.dtype)


def format_of(task: ImageTask, settings: Settings) -> ImageFormat:
    """Return the format of an image of the dataset."""
    if settings.image_format == Format.OME_ZARR:
        return OmeZarr(settings.ome_zarr_version)
    big = task.target.name.endswith(".btf")
    return OmeTiff(big=big, compression=settings.compression, pyramid=settings.pyramid)


def embed_labels(dataset: Path, raw: ImageTask, labels: Sequence[ImageTask], version: OmeZarrVersion) -> None:
    """Put copies of label images inside the raw image, as its group ``labels``; without any it has no such group."""
    if not labels:
        remove(safe_path(dataset, raw.target / "labels"))
        return
    with publication(safe_path(dataset, raw.target / "labels"), near=safe_path(dataset, raw.target)) as partial:
        names = []
        for task in labels:
            names.append(task.desc or task.stem)
            shutil.copytree(dataset / task.target, partial / names[-1], copy_function=shutil.copyfile)
        write_labels_group(partial, names, version)


def remove_image(dataset: Path, target: PurePosixPath, *, with_sidecar: bool = True) -> None:
    """Remove an image with its sidecar and the hashes of its planes, and what was begun of it."""
    image = safe_path(dataset, target)
    forget_construction(image)
    if image.exists():
        image.replace(partial_path(image))  # no half image under its name, whatever happens
        remove(partial_path(image))
    if with_sidecar:
        remove(safe_path(dataset, sidecar_of(target)))
    remove(safe_path(dataset, hashes_path(target)))


def _has_labels(task: ImageTask) -> bool:
    return task.component.content in {Content.LABELS, Content.MASK}


def _label(region: Region) -> LabelValue:
    return LabelValue(region.index, region.name, region.abbreviation, region.color or made_up_color(region.index))


def _plane_records(task: ImageTask, sha256: Iterable[str]) -> Iterator[PlaneRecord]:
    for plane, plane_hash in enumerate(sha256):
        file = task.volume.plane_source(plane).path
        source = f"{task.source}/{file.name}" if task.entry.location.is_dir() else task.source
        if task.recovered_from is not None:
            source = UNKNOWN  # no file holds these pixels
        yield PlaneRecord(source, plane_hash)
