"""OME-Zarr and OME-TIFF: resolution levels, chunks and shards, files, metadata. Knows neither BIDS nor CATNIP."""

from catnip2bids.enums import OmeZarrVersion
from catnip2bids.ome.downsampling import downsample, downsample_plainly
from catnip2bids.ome.formats import (
    ImageFormat,
    OmeTiff,
    OmeZarr,
    description_sha256,
    image_size,
    unexpected_files,
)
from catnip2bids.ome.levels import Level, plan_levels
from catnip2bids.ome.ome_tiff import OmeTiffImage, OmeXmlFields
from catnip2bids.ome.ome_zarr import OmeZarrImage
from catnip2bids.ome.ome_zarr_metadata import (
    Display,
    LabelValue,
    choose_display,
    color_of_label,
    display_of,
    ends_apart,
    image_label,
    image_metadata,
    is_label_type,
    write_labels_group,
)

__all__ = [
    "Display",
    "ImageFormat",
    "LabelValue",
    "Level",
    "OmeTiff",
    "OmeTiffImage",
    "OmeXmlFields",
    "OmeZarr",
    "OmeZarrImage",
    "OmeZarrVersion",
    "choose_display",
    "color_of_label",
    "description_sha256",
    "display_of",
    "downsample",
    "downsample_plainly",
    "ends_apart",
    "image_label",
    "image_metadata",
    "image_size",
    "is_label_type",
    "plan_levels",
    "unexpected_files",
    "write_labels_group",
]
