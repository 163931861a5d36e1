"""OME-Zarr and OME-TIFF: resolution levels, chunks and shards, files, metadata. Knows neither BIDS nor CATNIP."""

from catnip2bids.choices import OmeZarrVersion
from catnip2bids.ome.formats import ImageFormat, OmeTiff, OmeZarr
from catnip2bids.ome.merging import downsample, downsample_plainly
from catnip2bids.ome.metadata import Display, LabelValue, choose_display, ends_apart, image_metadata, is_label_type
from catnip2bids.ome.omexml import Described
from catnip2bids.ome.pyramid import Level, plan_levels
from catnip2bids.ome.size import description_sha256, image_size, unexpected_files
from catnip2bids.ome.tiff_image import OmeTiffImage
from catnip2bids.ome.zarr import OmeZarrImage, write_labels_group

__all__ = [
    "Described",
    "Display",
    "ImageFormat",
    "LabelValue",
    "Level",
    "OmeTiff",
    "OmeTiffImage",
    "OmeZarr",
    "OmeZarrImage",
    "OmeZarrVersion",
    "choose_display",
    "description_sha256",
    "downsample",
    "downsample_plainly",
    "ends_apart",
    "image_metadata",
    "image_size",
    "is_label_type",
    "plan_levels",
    "unexpected_files",
    "write_labels_group",
]
