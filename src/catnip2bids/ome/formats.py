"""Output formats of images, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from catnip2bids.enums import Compression, OmeZarrVersion


@dataclass(frozen=True)
class OmeZarr:
    """OME-Zarr: a folder of shards."""

    version: OmeZarrVersion = OmeZarrVersion.V05
    ending: ClassVar[str] = ".ome.zarr"
    is_folder: ClassVar[bool] = True
    pixel_format: ClassVar[int] = 2  # raised when pixels are written differently, to rewrite existing images

    @property
    def decisive(self) -> list[Any]:
        """The options that affect the files, as JSON values."""
        return [self.version.value]


@dataclass(frozen=True)
class OmeTiff:
    """OME-TIFF: one file."""

    big: bool = True  # BigTIFF (.ome.btf), or a classic TIFF of less than 4 GiB (.ome.tif)
    compression: Compression = Compression.KEEP
    pyramid: bool = False  # whether planes have lower levels
    inspect: bool = True  # whether pixels are decoded even if they are copied
    is_folder: ClassVar[bool] = False
    pixel_format: ClassVar[int] = 3

    @property
    def ending(self) -> str:
        """Ending of the file name."""
        return ".ome.btf" if self.big else ".ome.tif"

    @property
    def decisive(self) -> list[Any]:
        """The options that affect the file and the findings about its pixels, as JSON values."""
        return [self.ending, self.compression.value, self.pyramid, self.inspect]


ImageFormat = OmeZarr | OmeTiff
