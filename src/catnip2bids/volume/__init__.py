"""Reading 3D images: slice folders, TIFF stacks, NIfTI and OME-Zarr behind one protocol.

Invariant: whatever is wrong with a file is a SourceError that names it and says what to do.
"""

from catnip2bids.enums import Kind
from catnip2bids.volume.derived_volumes import PlaneSubset, RecoveredMask
from catnip2bids.volume.detect_format import inspect_volume, is_nifti, is_slice, is_tiff, slice_files, source_states
from catnip2bids.volume.nifti import NiftiVolume, inspect_nifti
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.pixel_values import (
    hash_stored_plane,
    hashing_bytes,
    label_values,
    little_endian_bytes,
    plane_sha256,
    value_range,
)
from catnip2bids.volume.read_block import read_block
from catnip2bids.volume.slice_names import number_slices, other_series, slice_pattern
from catnip2bids.volume.slice_series import SliceSeries, inspect_slices
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding, FileRange
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_page import PageLayout, open_lone_page, plane_pages
from catnip2bids.volume.tiff_stack import TiffStack, inspect_stack
from catnip2bids.volume.volume import (
    Copyable,
    Inspection,
    PlaneSource,
    ReadCost,
    Volume,
    file_states,
    pixel_bytes,
    read_planes,
)
from catnip2bids.volume.voxel_size import format_voxel_size, stated_voxel_size
from catnip2bids.volume.zarr import is_ome_zarr

__all__ = [
    "Copyable",
    "EncodedPlane",
    "Encoding",
    "FileRange",
    "Inspection",
    "Kind",
    "NiftiVolume",
    "OpenPlane",
    "PageLayout",
    "PlaneSource",
    "PlaneSubset",
    "ReadCost",
    "RecoveredMask",
    "SliceSeries",
    "TiffStack",
    "Volume",
    "file_states",
    "format_voxel_size",
    "hash_stored_plane",
    "hashing_bytes",
    "inspect_nifti",
    "inspect_slices",
    "inspect_stack",
    "inspect_volume",
    "is_nifti",
    "is_ome_zarr",
    "is_slice",
    "is_tiff",
    "label_values",
    "little_endian_bytes",
    "number_slices",
    "open_lone_page",
    "open_tiff",
    "other_series",
    "page_offsets",
    "pixel_bytes",
    "plane_pages",
    "plane_sha256",
    "read_block",
    "read_planes",
    "slice_files",
    "slice_pattern",
    "source_states",
    "stated_voxel_size",
    "value_range",
]
