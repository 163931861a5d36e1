"""Checks of a finished dataset: BIDS, OME-Zarr, OME-TIFF, DANDI, and whether files agree with each other.

Knows nothing of how the dataset was made.
"""

from catnip2bids.validation.findings import Finding, Severity, ValidationReport
from catnip2bids.validation.validate_dataset import validate

__all__ = ["Finding", "Severity", "ValidationReport", "validate"]
