"""Finding runs below source folders, and listing and inspecting their entries."""

from catnip2bids.scanning.inspect_entries import with_slice_numbers
from catnip2bids.scanning.model import Entry, Run, Scan
from catnip2bids.scanning.scan_sources import scan, source_list
from catnip2bids.scanning.walk import files_below

__all__ = ["Entry", "Run", "Scan", "files_below", "scan", "source_list", "with_slice_numbers"]
