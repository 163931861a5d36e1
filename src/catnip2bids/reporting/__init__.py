"""The HTML report, whose pages open from disk without a server or a network."""

from catnip2bids.reporting.check_results import save_check_result
from catnip2bids.reporting.write_report import MEMORY_BYTES, Report, current_report, report

__all__ = ["MEMORY_BYTES", "Report", "current_report", "report", "save_check_result"]
