"""A 3D image however it is stored: slice folder, TIFF stack, NIfTI or OME-Zarr behind one small protocol."""

from catnip2bids.choices import Kind
from catnip2bids.volume.census import Census, states_of
from catnip2bids.volume.encoding import EncodedPlane, Encoding, FileRange
from catnip2bids.volume.hashing import hash_stored_plane, hashing_bytes, little_endian_bytes, plane_sha256
from catnip2bids.volume.nifti import NiftiVolume, census_nifti
from catnip2bids.volume.part import SomePlanes
from catnip2bids.volume.planes import OpenPlane
from catnip2bids.volume.recovered_mask import RecoveredMask
from catnip2bids.volume.slice_names import NumberedSlices, number_slices, other_series, slice_pattern
from catnip2bids.volume.slices import SliceSeries, census_slices
from catnip2bids.volume.stack import TiffStack, census_stack
from catnip2bids.volume.take_census import is_nifti, is_slice, is_tiff, slice_files, take_census
from catnip2bids.volume.tiff import PageLayout, check_page, open_lone_page
from catnip2bids.volume.tiff_file import open_tiff, page_offsets
from catnip2bids.volume.tiff_pages import plane_pages
from catnip2bids.volume.values import label_values, value_range
from catnip2bids.volume.volume import Copyable, PlaneSource, ReadCost, Volume, read_planes
from catnip2bids.volume.voxel_size import StatedVoxelSize, shown_size, stated_voxel_size
from catnip2bids.volume.zarr import ZarrVolume, census_zarr, is_ome_zarr, open_array

__all__ = [
    "Census",
    "Copyable",
    "EncodedPlane",
    "Encoding",
    "FileRange",
    "Kind",
    "NiftiVolume",
    "NumberedSlices",
    "OpenPlane",
    "PageLayout",
    "PlaneSource",
    "ReadCost",
    "RecoveredMask",
    "SliceSeries",
    "SomePlanes",
    "StatedVoxelSize",
    "TiffStack",
    "Volume",
    "ZarrVolume",
    "census_nifti",
    "census_slices",
    "census_stack",
    "census_zarr",
    "check_page",
    "hash_stored_plane",
    "hashing_bytes",
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
    "shown_size",
    "slice_files",
    "slice_pattern",
    "stated_voxel_size",
    "states_of",
    "take_census",
    "value_range",
]
