"""Our own checks, of agreement between files and of files that BIDS does not describe.

Invariant: each check is one function from the listing of the dataset to findings, and none depends on another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from catnip2bids._version import __version__
from catnip2bids.validation import file_names, provenance, sidecars, tables
from catnip2bids.validation.findings import Finding
from catnip2bids.validation.tree import Tree

CHECK = "catnip2bids"

CHECKS: tuple[Callable[[Tree], Iterator[Finding]], ...] = (
    file_names.check_sizes,
    file_names.check_case,
    file_names.check_twins,
    file_names.check_partial,
    file_names.check_links,
    file_names.check_zarr_depth,
    tables.check_readable,
    tables.check_samples,
    tables.check_participants,
    tables.check_scans,
    tables.check_label_tables,
    sidecars.check_readable,
    sidecars.check_pixel_sizes,
    sidecars.check_sources,
    provenance.check_provenance,
    provenance.check_plane_tables,
)


def cross_check(tree: Tree) -> list[Finding]:
    """Run all our own checks."""
    return [finding for check in CHECKS for finding in check(tree)]


def describe() -> str:
    """Name the check with its version."""
    return f"catnip2bids {__version__}"
