"""A small picture of an image for the list of scenes.

Invariant: only one plane of the smallest level is read.
"""

from __future__ import annotations

import imagecodecs
import numpy as np

from catnip2bids.heatmap_scales import heat_colors
from catnip2bids.ome import ends_apart
from catnip2bids.viewing.scene import DisplayMode, Layer

_SIDE = 320
_QUALITY = 75


def thumbnail(layer: Layer) -> bytes:
    """Return the middle plane of a layer as WebP, at most 640 pixels long; black if its smallest level is too large.

    Raises SourceError if the image cannot be read.
    """
    plane = layer.image.middle_plane()
    if plane is None:
        plane = np.zeros((_SIDE, _SIDE))
    step = max(max(plane.shape) // _SIDE, 1)
    low, high = ends_apart(*(layer.limits or layer.image.channels[layer.channel].window))
    scaled = np.clip((np.nan_to_num(plane[::step, ::step].astype(np.float64)) - low) / (high - low), 0, 1)
    shades = (scaled * 255).astype(np.uint8)
    is_heat = layer.mode == DisplayMode.HEATMAP
    pixels = heat_colors(shades) if is_heat else np.repeat(shades[..., np.newaxis], 3, axis=2)
    return bytes(imagecodecs.webp_encode(np.ascontiguousarray(pixels), level=_QUALITY))
