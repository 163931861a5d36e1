"""One image from one volume: pixels, metadata, publication. What packaging and single conversions share.

Invariant: the image stands under its name only when it is whole, on disk, and made of files that did not change while
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
from catnip2bids.staging import staged_output
from catnip2bids.volume import Copyable, Volume, file_states

_METADATA_FORMAT = (
    2  # raised whenever OME-Zarr says something else of its pixels, so that old metadata is written again
)


@dataclass(frozen=True)
class ImageSpec:
    """An image to make: everything that decides what it becomes.

    Attributes
    ----------
    volume
        The pixels.
    name, channel
        Names of the image and of its only channel.
    voxel_size_um
        Voxel size X Y Z in micrometers.
    kind
        What the values mean.
    format
        The format to write.
    description
        One sentence about the image; only OME-TIFF stores it.
    name_label
        Returns the name and colour of a label value; None if the image is not a label image of OME-Zarr.
    fingerprint_extra
        JSON values that are part of the fingerprint, beside the fields above and the source files.
    """

    volume: Volume
    name: str
    channel: str
    voxel_size_um: tuple[float, float, float]
    kind: Kind
    format: ImageFormat = field(default_factory=OmeZarr)
    description: str = ""
    name_label: Callable[[int], LabelValue] | None = None
    fingerprint_extra: Sequence[Any] = ()

    def image(self, path: Path) -> OmeZarrImage | OmeTiffImage:
        """Return the writer of the image in the folder or file `path`."""
        x, y, z = self.voxel_size_um
        shape, dtype = self.volume.shape, self.volume.dtype.name
        if isinstance(self.format, OmeZarr):
            return OmeZarrImage(path, shape, dtype, (z, y, x), self.kind, self.format.version)
        return OmeTiffImage(
            file=path,
            described=OmeXmlFields(self.name, self.channel, self.description, shape, dtype, (z, y, x)),
            kind=self.kind,
            encoding=self.volume.encoding if isinstance(self.volume, Copyable) else None,
            big=self.format.big,
            compression=self.format.compression,
            pyramid=self.format.pyramid,
            inspect=self.format.inspect,
        )

    @property
    def how(self) -> str | None:
        """How pixels get into an OME-TIFF: copied or encoded; None for OME-Zarr."""
        image = self.image(Path(self.name))
        return image.summary if isinstance(image, OmeTiffImage) else None

    def fingerprint(self, *, metadata_format: int = _METADATA_FORMAT) -> str:
        """Hash everything that decides what the image is: source files with size and time, settings, format.

        Parameters
        ----------
        metadata_format
            An earlier version of `_METADATA_FORMAT` gives the fingerprint that this version wrote for the same pixels.

        Raises
        ------
        SourceError
            If a source file does not exist any more.
        """
        document = [
            self.format.pixel_format,
            file_states(self.volume.files),
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
        """Return the metadata of an OME-Zarr whose levels are written.

        Parameters
        ----------
        image
            The image, whose smallest level is read to choose the display range of an intensity image.
        value_range
            Smallest and largest finite value.
        values
            The label values that occur.
        """
        if self.name_label is None:
            display = choose_display(self.channel, self.kind, value_range, image.read_smallest_level())
            return image_metadata(self.name, image.levels, self.kind, display)
        labels = [self.name_label(value) for value in sorted(values or ()) if value != 0]
        return image_metadata(self.name, image.levels, self.kind, labels)


def build_image(
    spec: ImageSpec, target: SafePath, workers: Scheduler, listener: ProgressCallbacks
) -> tuple[UnitResult, str]:
    """Make an image, or continue an interrupted attempt; returns what was learned of its pixels, and its fingerprint.

    Call `discard_staging` once the image is recorded.

    Raises
    ------
    SourceError
        If the source cannot be read, changes while it is read, or holds labels that cannot be trusted.
    WriteError
        If the image cannot be written.
    """
    fingerprint = spec.fingerprint()
    with staged_output(target, fingerprint, is_folder=spec.format.is_folder) as staged:
        image = spec.image(staged.path)
        learned = convert_volume(spec.volume, image, workers, listener, staged.markers)
        if spec.fingerprint() != fingerprint:
            first, last = (spec.volume.plane_source(plane).path for plane in (0, spec.volume.shape[0] - 1))
            where = first if first == last else first.parent
            raise SourceError(f"{where}: changed while it was read; run again when it is at rest")
        if isinstance(image, OmeZarrImage):
            image.finish(spec.metadata(image, learned.value_range or (0.0, 0.0), learned.labels))
    return learned, fingerprint


def unnamed_labels_warning(source: Path, dtype: DTypeLike) -> str:
    """Say why an OME-Zarr of labels does not name them."""
    return (
        f"{source}: labels are stored as {dtype}: OME-NGFF allows only integers, so the image carries no label names "
        "and colours; save them as integers and run again to have them"
    )
