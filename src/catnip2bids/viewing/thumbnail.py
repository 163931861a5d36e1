"""A small picture of an image for the list of scenes.

Invariant: only one plane of the smallest level is read.
"""

from __future__ import annotations

import imagecodecs
import numpy as np

from catnip2bids.ome import ends_apart
from catnip2bids.viewing.scene import ViewedImage

_SIDE = 320
_QUALITY = 75


def thumbnail(image: ViewedImage) -> bytes:
    """Return the middle plane of an image as WebP, at most 640 pixels long; black if its smallest level is too large.

    Raises SourceError if the image cannot be read.
    """
    plane = image.middle_plane()
    if plane is None:
        plane = np.zeros((_SIDE, _SIDE))
    step = max(max(plane.shape) // _SIDE, 1)
    low, high = ends_apart(*image.channels[0].window)
    shades = np.clip((np.nan_to_num(plane[::step, ::step].astype(np.float64)) - low) / (high - low), 0, 1)
    pixels = np.repeat((shades * 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    return bytes(imagecodecs.webp_encode(np.ascontiguousarray(pixels), level=_QUALITY))
