"""What a user may choose for a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catnip2bids.choices import Naming, OmeZarrVersion


@dataclass(frozen=True)
class Settings:
    """Choices for `catnip2bids.package`; what is None is taken from the plan or from what was found.

    Attributes
    ----------
    voxel_size_um
        Voxel size X Y Z of the images in micrometers.
    ome_zarr_version
        Version of OME-Zarr.
    naming
        How files that BIDS has no name for yet are named.
    subject, sample
        Labels for one run whose name does not tell them.
    stain
        Label of the stain of all runs.
    atlas_table
        CATNIP's ``atlas_info.txt`` for all runs.
    participants
        TSV file that is merged into participants.tsv.
    embed_labels
        Whether label images are also put inside the raw image, for viewers that look there.
    overwrite
        Whether images are made anew even if they are there already.
    """

    voxel_size_um: tuple[float, float, float] | None = None
    ome_zarr_version: OmeZarrVersion = OmeZarrVersion.V05
    naming: Naming = Naming.BIDS
    subject: str | None = None
    sample: str | None = None
    stain: str | None = None
    atlas_table: Path | str | None = None
    participants: Path | str | None = None
    embed_labels: bool = False
    overwrite: bool = False

    def published(self) -> dict[str, Any]:
        """Return the settings as they stand in the provenance: files by their names alone."""
        return {
            key: Path(value).name if key in ("atlas_table", "participants") else value
            for key, value in vars(self).items()
            if value is not None and key != "overwrite"
        }
