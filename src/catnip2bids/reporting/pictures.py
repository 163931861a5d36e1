"""Encode arrays as data URLs of images.

Invariant: gray and heat images are lossy; maps keep every value.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.html_pages import picture_address

Array = npt.NDArray[Any]

_QUALITY = 72


def gray_picture(values: Array, window: tuple[float, float]) -> str:
    """Encode intensities, (rows, columns), in gray; `window` holds the values of black and white."""
    shades = _scaled(values, window)
    return _webp(np.repeat(shades[..., np.newaxis], 3, axis=2))


def heat_picture(values: Array, largest: float) -> str:
    """Encode values from 0 to `largest` in colours from black over red and yellow to white."""
    heat = 3 * _scaled(values, (0.0, largest)).astype(np.int16)
    return _webp(np.stack([np.clip(heat - 255 * n, 0, 255) for n in range(3)], axis=-1).astype(np.uint8))


def map_picture(regions: Array, cells: Array) -> str:
    """Encode region numbers below 65,536 as red + 256 * green, and 8 bits of cells as blue."""
    channels = (regions & 255, regions >> 8, cells)
    pixels = np.stack([channel.astype(np.uint8) for channel in channels], axis=-1)
    return picture_address("png", imagecodecs.png_encode(np.ascontiguousarray(pixels), level=9))


def _scaled(values: Array, window: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = (end / 2 for end in window)  # halves, because the difference of the ends may overflow
    halves = np.nan_to_num(values.astype(np.float64), nan=window[0]) / 2
    shades = (halves - low) / max(high - low, 1e-12) * 255
    return np.asarray(np.clip(np.rint(shades), 0, 255), np.uint8)


def _webp(pixels: Array) -> str:
    return picture_address("webp", imagecodecs.webp_encode(np.ascontiguousarray(pixels), level=_QUALITY))
