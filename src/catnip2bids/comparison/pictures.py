"""Small pictures of planes: both sides and where they differ.

Invariant: not a single differing voxel is lost when a picture is made smaller. Planes are read in bands, so a picture
costs no more memory than comparing does.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt

from catnip2bids.colors import made_up_color
from catnip2bids.comparison.planes import BAND_BYTES, Pairing, PlanePair, differing
from catnip2bids.comparison.volumes import VolumeComparison

Array = npt.NDArray[Any]

_LONGEST_SIDE = 360
_MOST_DIFFERENT, _MOST_SAME = 6, 2
_LOW, _HIGH = 1.0, 99.7
_LABELS_RUN = 3
SAME, OTHER, ZEROED_2, ZEROED_1 = range(4)
COLORS = {SAME: (24, 26, 30), OTHER: (255, 196, 61), ZEROED_2: (239, 71, 111), ZEROED_1: (76, 154, 255)}
"""Of the picture of the difference: nothing, other values, 0 in 2, 0 in 1."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one pair of planes, as addresses that hold the whole PNG file.

    Attributes
    ----------
    pair
        The planes.
    one, two, difference
        The pictures, of one size.
    width, height
        Of each, in pixels.
    """

    pair: PlanePair
    one: str
    two: str
    difference: str
    width: int
    height: int


def pictures_of(item: VolumeComparison) -> list[Pictures]:
    """Picture the planes that differ most, and a few of those that do not, in the order of their slice numbers."""
    drawable = [pair for pair in item.pairs if pair.difference is not None]
    different = [pair for pair in drawable if pair.difference and pair.difference.n_different]
    most = sorted(different, key=lambda pair: -(pair.difference.n_different if pair.difference else 0))
    same = [pair for pair in drawable if pair.same]
    chosen = most[:_MOST_DIFFERENT] + same[len(same) // 3 :: max(len(same) // 2, 1)][:_MOST_SAME]
    return [_draw(item.pairing, pair) for pair in sorted(chosen, key=lambda pair: pair.number)]


def _draw(pairing: Pairing, pair: PlanePair) -> Pictures:
    ones, twos, codes = [], [], []
    with pairing.side_1.open(pair.number) as one, pairing.side_2.open(pair.number) as two:
        stride = max(-(-max(one.layout.shape) // _LONGEST_SIDE), 1)
        row_bytes = one.layout.shape[1] * max(one.layout.dtype.itemsize, two.layout.dtype.itemsize)
        height = max(BAND_BYTES // (row_bytes * stride), 1) * stride
        for rows_1, rows_2 in zip(one.bands(height), two.bands(height), strict=True):
            ones.append(rows_1[::stride, ::stride].copy())
            twos.append(rows_2[::stride, ::stride].copy())
            codes.append(_largest(_codes(rows_1, rows_2), stride))
    small_1, small_2 = np.concatenate(ones), np.concatenate(twos)
    if _are_labels(small_1) or _are_labels(small_2):
        pictures = [_colored(small) for small in (small_1, small_2)]
    else:
        pictures = _gray(small_1, small_2)
    colors = np.array([COLORS[code] for code in range(len(COLORS))], np.uint8)
    one_png, two_png, difference = (_address(image) for image in (*pictures, colors[np.concatenate(codes)]))
    return Pictures(pair, one_png, two_png, difference, width=small_1.shape[1], height=small_1.shape[0])


def _codes(rows_1: Array, rows_2: Array) -> Array:
    """Tell how each voxel differs."""
    different = differing(rows_1, rows_2)
    codes = np.where(different, OTHER, SAME).astype(np.uint8)
    codes[different & (rows_2 == 0)] = ZEROED_2
    codes[different & (rows_1 == 0)] = ZEROED_1
    return codes


def _largest(codes: Array, stride: int) -> Array:
    """Merge squares of voxels, so that one that differs is seen."""
    rows, columns = (np.arange(0, n, stride) for n in codes.shape)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(codes, rows, axis=0), columns, axis=1))


def _are_labels(small: Array) -> bool:
    """Tell whether values are labels: whole numbers, more than two of them, that have equal neighbours."""
    if small.dtype.kind not in "ui" or len(np.unique(small[small != 0])) < 2:
        return False
    inside = small[:, 1:][small[:, 1:] != 0]
    n_changes = np.count_nonzero((small[:, 1:] != small[:, :-1]) & (small[:, 1:] != 0))
    return bool(len(inside) > _LABELS_RUN * n_changes)


def _colored(labels: Array) -> Array:
    values, which = np.unique(labels, return_inverse=True)
    colors = [(0, 0, 0) if value == 0 else tuple(bytes.fromhex(made_up_color(int(value))[1:])) for value in values]
    return np.array(colors, np.uint8)[which.reshape(labels.shape)]


def _gray(*images: Array) -> list[Array]:
    """Show images in gray levels, with one window for all of them."""
    values = np.concatenate([image[np.isfinite(image)].astype("f8") for image in images])
    low, high = np.percentile(values, [_LOW, _HIGH]) if values.size else (0.0, 1.0)
    if high <= low:
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    scale = 255 / (high - low) if high > low else 1.0
    shown = [np.clip((np.nan_to_num(image.astype("f8"), nan=low) - low) * scale, 0, 255) for image in images]
    return [np.repeat(image.astype(np.uint8)[..., np.newaxis], 3, axis=2) for image in shown]


def _address(image: Array) -> str:
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
