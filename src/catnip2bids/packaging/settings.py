"""The options of packaging."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from catnip2bids.enums import (
    Cluster,
    Compression,
    Format,
    Naming,
    OmeZarrVersion,
    check_resources,
    parse_choice,
    parse_voxel_size,
)
from catnip2bids.errors import UsageError

_CHOICES = {
    "image_format": Format,
    "ome_zarr_version": OmeZarrVersion,
    "compression": Compression,
    "naming": Naming,
}
_ONLY_FOR = {Format.OME_ZARR: ("ome_zarr_version", "embed_labels"), Format.OME_TIFF: ("pyramid", "compression")}
_NOT_PUBLISHED = ("overwrite", "report", "jobs", "memory_bytes", "cluster")


class Options(TypedDict, total=False):
    """The fields of `Settings`, as keywords."""

    voxel_size_um: tuple[float, float, float] | None
    image_format: Format
    ome_zarr_version: OmeZarrVersion
    pyramid: bool
    compression: Compression
    naming: Naming
    subject: str | None
    sample: str | None
    stain: str | None
    atlas_table: Path | str | None
    participants: Path | str | None
    embed_labels: bool
    overwrite: bool
    report: bool
    jobs: int | None
    memory_bytes: int | None
    cluster: Cluster | None


@dataclass(frozen=True)
class Settings:
    """Options of `catnip2bids.package`; None means: as in the plan or in the sources.

    Raises
    ------
    UsageError
        If an option is invalid, or options contradict each other.

    Attributes
    ----------
    voxel_size_um
        Voxel size X Y Z of the images in micrometers.
    image_format
        Format of the images.
    ome_zarr_version
        Version of OME-Zarr.
    pyramid
        Whether OME-TIFFs have lower resolution levels; OME-Zarr images always do.
    compression
        Compression of OME-TIFFs.
    naming
        Names of files for which BIDS has no names yet.
    subject, sample
        Labels of a single run whose name does not contain them.
    stain
        Label of the stain of all runs.
    atlas_table
        CATNIP's ``atlas_info.txt`` for all runs.
    participants
        Table (TSV or CSV) to merge into participants.tsv.
    embed_labels
        Whether label images are also embedded into the raw image, for viewers that search for them there.
    overwrite
        Whether existing images are made again.
    report
        Whether the report is drawn at the end.
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB.
    cluster
        A cluster that reads and writes pixels instead of this process.
    """

    voxel_size_um: tuple[float, float, float] | None = None
    image_format: Format = Format.OME_ZARR
    ome_zarr_version: OmeZarrVersion = OmeZarrVersion.V05
    pyramid: bool = False
    compression: Compression = Compression.KEEP
    naming: Naming = Naming.BIDS
    subject: str | None = None
    sample: str | None = None
    stain: str | None = None
    atlas_table: Path | str | None = None
    participants: Path | str | None = None
    embed_labels: bool = False
    overwrite: bool = False
    report: bool = True
    jobs: int | None = None
    memory_bytes: int | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            object.__setattr__(self, name, parse_choice(choices, getattr(self, name)))
        check_resources(self.jobs, self.memory_bytes, self.cluster)
        if self.voxel_size_um is not None:
            object.__setattr__(self, "voxel_size_um", parse_voxel_size(self.voxel_size_um))
        refused = set(_ONLY_FOR[self._other_format]) - {"pyramid"}  # OME-Zarr images always have levels
        for choice in fields(self):
            if choice.name in refused and getattr(self, choice.name) != choice.default:
                option = "--" + choice.name.replace("_", "-")
                raise UsageError(f"{option} is for --format {self._other_format}; leave it out, or give that format")

    @property
    def _other_format(self) -> Format:
        return Format.OME_TIFF if self.image_format == Format.OME_ZARR else Format.OME_ZARR

    def published(self) -> dict[str, Any]:
        """Return the settings that affect the dataset, for provenance, with only the names of files."""
        left_out = (*_NOT_PUBLISHED, *_ONLY_FOR[self._other_format])
        return {
            key: Path(value).name if key in ("atlas_table", "participants") else value
            for key, value in vars(self).items()
            if value is not None and key not in left_out
        }
