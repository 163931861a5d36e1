"""The formats that images are written in, with what a user may choose of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from catnip2bids.enums import Compression, OmeZarrVersion


@dataclass(frozen=True)
class OmeZarr:
    """OME-Zarr: a folder of shards.

    Attributes
    ----------
    version
        Version of OME-Zarr.
    """

    version: OmeZarrVersion = OmeZarrVersion.V05
    ending: ClassVar[str] = ".ome.zarr"
    is_folder: ClassVar[bool] = True
    pixel_format: ClassVar[int] = 2  # raised whenever pixels are written differently, so that old images are made again

    @property
    def decisive(self) -> list[Any]:
        """What decides how files look."""
        return [self.version.value]


@dataclass(frozen=True)
class OmeTiff:
    """OME-TIFF: one file.

    Attributes
    ----------
    big
        Whether it is a BigTIFF (``.ome.btf``); if not, it has less than 4 GiB (``.ome.tif``).
    compression
        How pixels are compressed.
    pyramid
        Whether planes have lower levels.
    inspect
        Whether pixels are decoded even if they only need to be copied.
    """

    big: bool = True
    compression: Compression = Compression.KEEP
    pyramid: bool = False
    inspect: bool = True
    is_folder: ClassVar[bool] = False
    pixel_format: ClassVar[int] = 3

    @property
    def ending(self) -> str:
        """Ending of the file's name."""
        return ".ome.btf" if self.big else ".ome.tif"

    @property
    def decisive(self) -> list[Any]:
        """What decides how files look, and what is learned while they are written."""
        return [self.ending, self.compression.value, self.pyramid, self.inspect]


ImageFormat = OmeZarr | OmeTiff
