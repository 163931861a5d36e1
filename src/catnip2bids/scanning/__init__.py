"""Finding the runs below source folders, and what is in them."""

from catnip2bids.scanning.examining import with_slice_numbers
from catnip2bids.scanning.files import files_below
from catnip2bids.scanning.model import Entry, Run, Scan
from catnip2bids.scanning.sources import listed_sources, scan

__all__ = ["Entry", "Run", "Scan", "files_below", "listed_sources", "scan", "with_slice_numbers"]
