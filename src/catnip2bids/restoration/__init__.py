"""The way back: CATNIP's files, pixel for pixel and under their names, from the dataset alone."""

from catnip2bids.restoration.restore_runs import restore
from catnip2bids.restoration.result import Restoration

__all__ = ["Restoration", "restore"]
