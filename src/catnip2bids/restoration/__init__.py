"""The way back: CATNIP's files, pixel for pixel and under their names, from the dataset alone."""

from catnip2bids.restoration.result import Restoration
from catnip2bids.restoration.run import restore

__all__ = ["Restoration", "restore"]
