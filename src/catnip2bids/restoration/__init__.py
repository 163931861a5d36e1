"""Restore CATNIP's files, pixel for pixel and under their names, from the dataset alone."""

from catnip2bids.restoration.restore_runs import Restoration, restore

__all__ = ["Restoration", "restore"]
