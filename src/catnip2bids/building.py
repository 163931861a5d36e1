"""One image from one volume: pixels, metadata, publication. What packaging and single conversions share.

Invariant: the image stands under its name only when it is whole, on disk, and made of files that did not change while
they were read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from catnip2bids.choices import Kind
from catnip2bids.engine import Conversion, Listener, Workers, convert_volume
from catnip2bids.errors import SourceError
from catnip2bids.ome import (
    Described,
    ImageFormat,
    LabelValue,
    OmeTiff,
    OmeTiffImage,
    OmeZarr,
    OmeZarrImage,
    choose_display,
    image_metadata,
)
from catnip2bids.paths import SafePath
from catnip2bids.publish import construction
from catnip2bids.volume import Copyable, Volume, states_of

_METADATA_FORMAT = (
    2  # raised whenever OME-Zarr says something else of its pixels, so that old metadata is written again
)


@dataclass(frozen=True)
class ImagePlan:
    """What an image is to be.

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
        In which format it is written.
    description
        What it is, in a sentence; only OME-TIFFs say it.
    """

    volume: Volume
    name: str
    channel: str
    voxel_size_um: tuple[float, float, float]
    kind: Kind
    format: ImageFormat = field(default_factory=OmeZarr)
    description: str = ""

    def image(self, path: Path) -> OmeZarrImage | OmeTiffImage:
        """Return the image, to be written into a folder or file."""
        x, y, z = self.voxel_size_um
        shape, dtype = self.volume.shape, self.volume.dtype.name
        if isinstance(self.format, OmeZarr):
            return OmeZarrImage(path, shape, dtype, (z, y, x), self.kind, self.format.version)
        return OmeTiffImage(
            file=path,
            described=Described(self.name, self.channel, self.description, shape, dtype, (z, y, x)),
            kind=self.kind,
            encoding=self.volume.encoding if isinstance(self.volume, Copyable) else None,
            big=self.format.big,
            compression=self.format.compression,
            pyramid=self.format.pyramid,
            inspect=self.format.inspect,
        )

    @property
    def how(self) -> str | None:
        """How the pixels get into the image, where there is more than one way."""
        image = self.image(Path(self.name))
        return image.summary if isinstance(image, OmeTiffImage) else None

    def fingerprint(self, *decisive: Any, metadata_format: int = _METADATA_FORMAT) -> str:
        """Hash everything that decides what the image is: source files with size and time, settings, format.

        Parameters
        ----------
        decisive
            What else decides it: anything that can be written as JSON.
        metadata_format
            That of an earlier version gives the fingerprint of the same pixels with the metadata of that version.

        Raises
        ------
        SourceError
            If a source file is not there any more.
        """
        document = [
            self.format.pixel_format,
            states_of(self.volume.files),
            self.volume.shape,
            str(self.volume.dtype),
            self.name,
            self.channel,
            self.voxel_size_um,
            self.kind.value,
            *self.format.decisive,
            *([metadata_format] if isinstance(self.format, OmeZarr) and metadata_format > 1 else []),
            *([self.description] if isinstance(self.format, OmeTiff) else []),
            decisive,
        ]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def build_image(
    plan: ImagePlan,
    target: SafePath,
    decisive: Sequence[Any],
    workers: Workers,
    listener: Listener,
    labels_of: Callable[[Conversion], list[LabelValue] | None],
) -> tuple[Conversion, str]:
    """Build an image, or go on with building it; returns what was learned of the volume, and the fingerprint.

    When the caller has noted that the image is there, `forget_construction` is to be called.

    Parameters
    ----------
    plan
        What to build.
    target
        Where.
    decisive
        What else decides what the image is, see `ImagePlan.fingerprint`.
    workers, listener
        Who does it, and who is told.
    labels_of
        Names the label values that were found; None where the image is not a label image.

    Raises
    ------
    SourceError
        If the source cannot be read, changes while it is read, or holds labels that cannot be trusted.
    WriteError
        If the image cannot be written.
    """
    fingerprint = plan.fingerprint(*decisive)
    with construction(target, fingerprint, is_folder=plan.format.is_folder) as under:
        image = plan.image(under.path)
        converted = convert_volume(plan.volume, image, workers, listener, under.markers)
        if plan.fingerprint(*decisive) != fingerprint:
            first, last = (plan.volume.plane_source(plane).path for plane in (0, plan.volume.shape[0] - 1))
            where = first if first == last else first.parent
            raise SourceError(f"{where}: changed while it was read; run again when it is at rest")
        if isinstance(image, OmeZarrImage):
            image.finish(describe_image(plan, image, converted.value_range, labels_of(converted)))
    return converted, fingerprint


def describe_image(
    plan: ImagePlan, image: OmeZarrImage, value_range: tuple[float, float], labels: list[LabelValue] | None
) -> dict[str, Any]:
    """Return the metadata of an OME-Zarr whose levels are written: of a label image, or else with a display window."""
    if labels is not None:
        return image_metadata(plan.name, image.levels, plan.kind, labels)
    display = choose_display(plan.channel, plan.kind, value_range, image.read_smallest_level())
    return image_metadata(plan.name, image.levels, plan.kind, display)


def labels_without_names(source: Path, dtype: DTypeLike) -> str:
    """Say why an OME-Zarr of labels does not name them."""
    return (
        f"{source}: labels are stored as {dtype}: OME-NGFF allows only integers, so the image carries no label names "
        "and colours; save them as integers and run again to have them"
    )
