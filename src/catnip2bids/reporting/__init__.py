"""The report: pages to look at, which open from disk without a server and without a network."""

from catnip2bids.reporting.outcomes import keep_outcome
from catnip2bids.reporting.run import MEMORY_BYTES, Report, report

__all__ = ["MEMORY_BYTES", "Report", "keep_outcome", "report"]
