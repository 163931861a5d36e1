"""Serve images with their labels to Neuroglancer, on this machine only."""

from catnip2bids.viewing.serve import Viewing, open_in_browser, view

__all__ = ["Viewing", "open_in_browser", "view"]
