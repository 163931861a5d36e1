"""Build one image from one volume: pixels, metadata, publication. Used by `package` and `convert`.

Invariant: the image gets its name only when it is complete and on disk, and if the source files did not change while
they were read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from catnip2bids.atomic_write import staged_output
from catnip2bids.engine import ProgressCallbacks, Scheduler, UnitResult, convert_volume
from catnip2bids.enums import Kind
from catnip2bids.errors import SourceError
from catnip2bids.ome import (
    ImageFormat,
    LabelValue,
    OmeTiff,
    OmeTiffImage,
    OmeXmlFields,
    OmeZarr,
    OmeZarrImage,
    choose_display,
    image_metadata,
)
from catnip2bids.paths import SafePath
from catnip2bids.volume import Copyable, Volume, source_states

METADATA_FORMAT = 3
"""Increased when metadata or codecs of OME-Zarr change for the same pixels.

The metadata of existing images is rewritten then, and their pixels stay; unfinished images are begun again.
"""


@dataclass(frozen=True)
class ImageSpec:
    """Everything that decides what an image becomes."""

    volume: Volume
    name: str
    channel: str
    voxel_size_um: tuple[float, float, float]  # X Y Z
    kind: Kind
    format: ImageFormat = field(default_factory=OmeZarr)
    description: str = ""  # one sentence, stored by OME-TIFF only
    name_label: Callable[[int], LabelValue] | None = None  # None if the image is not a label image of OME-Zarr
    fingerprint_extra: Sequence[Any] = ()  # more JSON values for the fingerprint

    def image(self, path: Path) -> OmeZarrImage | OmeTiffImage:
        """Return the writer of the image in the folder or file `path`."""
        x, y, z = self.voxel_size_um
        shape, dtype = self.volume.shape, self.volume.dtype.name
        if isinstance(self.format, OmeZarr):
            return OmeZarrImage(path, shape, dtype, (z, y, x), self.kind, self.format.version)
        return OmeTiffImage(
            file=path,
            fields=OmeXmlFields(self.name, self.channel, self.description, shape, dtype, (z, y, x)),
            kind=self.kind,
            source_encoding=self.volume.encoding if isinstance(self.volume, Copyable) else None,
            format=self.format,
        )

    @property
    def how(self) -> str | None:
        """How pixels get into an OME-TIFF: copied or encoded; None for OME-Zarr."""
        image = self.image(Path(self.name))
        return image.summary if isinstance(image, OmeTiffImage) else None

    def fingerprint(self, *, metadata_format: int = METADATA_FORMAT) -> str:
        """Hash everything that decides what the image becomes: source files with size and time, settings, format.

        With an earlier value of `METADATA_FORMAT`, it is the fingerprint of that time for the same pixels. Raises
        SourceError if a source file no longer exists, or a slice folder has more slices than before.
        """
        document = [
            self.format.pixel_format,
            source_states(self.volume),
            self.volume.shape,
            str(self.volume.dtype),
            self.name,
            self.channel,
            self.voxel_size_um,
            self.kind.value,
            *self.format.decisive,
            *([metadata_format] if isinstance(self.format, OmeZarr) and metadata_format > 1 else []),
            *([self.description] if isinstance(self.format, OmeTiff) else []),
            self.fingerprint_extra,
        ]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    def metadata(
        self, image: OmeZarrImage, value_range: tuple[float, float], values: Iterable[int] | None
    ) -> dict[str, Any]:
        """Return the metadata of an OME-Zarr after its levels are written; the values are those of a label image.

        The smallest level of the image decides the display window of intensities.
        """
        if self.name_label is None:
            display = choose_display(self.channel, self.kind, value_range, image.read_smallest_level())
            return image_metadata(self.name, image.levels, self.kind, display)
        labels = [self.name_label(value) for value in sorted(values or ()) if value != 0]
        return image_metadata(self.name, image.levels, self.kind, labels)


def build_image(
    spec: ImageSpec, target: SafePath, scheduler: Scheduler, callbacks: ProgressCallbacks
) -> tuple[UnitResult, str]:
    """Build an image, or resume an interrupted attempt; returns the findings about its pixels and its fingerprint.

    Call `discard_staging` once the image is recorded. Raises SourceError if the source cannot be read, changes while it
    is read, or holds labels that cannot be trusted, and WriteError if the image cannot be written.
    """
    fingerprint = spec.fingerprint()
    with staged_output(target, fingerprint, is_folder=spec.format.is_folder) as staged:
        image = spec.image(staged.path)
        result = convert_volume(spec.volume, image, scheduler, callbacks, staged.markers)
        if spec.fingerprint() != fingerprint:
            first, last = (spec.volume.plane_source(plane).path for plane in (0, spec.volume.shape[0] - 1))
            where = first if first == last else first.parent
            raise SourceError(f"{where}: changed while it was read; run again when nothing writes to it")
        if isinstance(image, OmeZarrImage):
            image.finish(spec.metadata(image, result.value_range or (0.0, 0.0), result.labels))
    return result, fingerprint


def unnamed_labels_warning(source: Path, dtype: DTypeLike) -> str:
    """Return the warning that an OME-Zarr of labels does not name them."""
    return (
        f"{source}: labels are stored as {dtype}: OME-NGFF allows only integers, so the image carries no label names "
        "and colours; save them as integers and run again to have them"
    )
