"""catnip2bids: CATNIP's output folders as a BIDS microscopy dataset, every pixel accounted for."""

from catnip2bids._version import __version__

__all__ = ["__version__"]
