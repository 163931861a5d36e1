"""Images with their labels in Neuroglancer, served from this machine to this machine."""

from catnip2bids.viewing.browser import open_in_browser
from catnip2bids.viewing.serve import Viewing, view

__all__ = ["Viewing", "open_in_browser", "view"]
