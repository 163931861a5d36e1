"""Reading OME-Zarr: metadata of groups and arrays, and level 0 of an image as a volume."""

from catnip2bids.volume.zarr.array import ZarrArray, decode_in_one_thread, open_array, os_error_in
from catnip2bids.volume.zarr.chunk_grid import MOST_CHUNK_BYTES, read_chunk_grid
from catnip2bids.volume.zarr.metadata import document_of, read_attributes, read_metadata
from catnip2bids.volume.zarr.zarr_volume import ZarrVolume, inspect_zarr, is_ome_zarr

__all__ = [
    "MOST_CHUNK_BYTES",
    "ZarrArray",
    "ZarrVolume",
    "decode_in_one_thread",
    "document_of",
    "inspect_zarr",
    "is_ome_zarr",
    "open_array",
    "os_error_in",
    "read_attributes",
    "read_chunk_grid",
    "read_metadata",
]
