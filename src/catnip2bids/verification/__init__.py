"""Proof that every pixel in a dataset is the one that was read, from the dataset alone. Reads with other libraries."""

from catnip2bids.verification.result import ImageVerdict, Problem, Verification
from catnip2bids.verification.verify_dataset import verify

__all__ = ["ImageVerdict", "Problem", "Verification", "verify"]
