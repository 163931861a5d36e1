"""Finding runs below source folders, and listing and inspecting their entries."""

from catnip2bids.scanning.entries import files_below
from catnip2bids.scanning.model import Entry, Run, Scan
from catnip2bids.scanning.scan_sources import scan, source_list, with_slice_numbers

__all__ = ["Entry", "Run", "Scan", "files_below", "scan", "source_list", "with_slice_numbers"]
