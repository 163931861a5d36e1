"""Reading 3D images: slice folders, TIFF stacks, NIfTI and OME-Zarr behind one protocol."""

from catnip2bids.enums import Kind
from catnip2bids.volume.detect_format import inspect_volume, is_nifti, is_slice, is_tiff, slice_files
from catnip2bids.volume.inspection import Inspection, file_states
from catnip2bids.volume.nifti import NiftiVolume, inspect_nifti
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.plane_hash import hash_stored_plane, hashing_bytes, little_endian_bytes, plane_sha256
from catnip2bids.volume.plane_subset import PlaneSubset
from catnip2bids.volume.recovered_mask import RecoveredMask
from catnip2bids.volume.slice_names import NumberedSlices, number_slices, other_series, slice_pattern
from catnip2bids.volume.slice_series import SliceSeries, inspect_slices
from catnip2bids.volume.tiff_encoding import EncodedPlane, Encoding, FileRange
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_page import PageLayout, check_page, open_lone_page
from catnip2bids.volume.tiff_pages import plane_pages
from catnip2bids.volume.tiff_stack import TiffStack, inspect_stack
from catnip2bids.volume.values import label_values, value_range
from catnip2bids.volume.volume import Copyable, PlaneSource, ReadCost, Volume, read_planes
from catnip2bids.volume.voxel_size import StatedVoxelSize, format_voxel_size, stated_voxel_size
from catnip2bids.volume.zarr import ZarrVolume, inspect_zarr, is_ome_zarr, open_array

__all__ = [
    "Copyable",
    "EncodedPlane",
    "Encoding",
    "FileRange",
    "Inspection",
    "Kind",
    "NiftiVolume",
    "NumberedSlices",
    "OpenPlane",
    "PageLayout",
    "PlaneSource",
    "PlaneSubset",
    "ReadCost",
    "RecoveredMask",
    "SliceSeries",
    "StatedVoxelSize",
    "TiffStack",
    "Volume",
    "ZarrVolume",
    "check_page",
    "file_states",
    "format_voxel_size",
    "hash_stored_plane",
    "hashing_bytes",
    "inspect_nifti",
    "inspect_slices",
    "inspect_stack",
    "inspect_volume",
    "inspect_zarr",
    "is_nifti",
    "is_ome_zarr",
    "is_slice",
    "is_tiff",
    "label_values",
    "little_endian_bytes",
    "number_slices",
    "open_array",
    "open_lone_page",
    "open_tiff",
    "other_series",
    "page_offsets",
    "plane_pages",
    "plane_sha256",
    "read_planes",
    "slice_files",
    "slice_pattern",
    "stated_voxel_size",
    "value_range",
]
