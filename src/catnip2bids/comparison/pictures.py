"""Small pictures of planes of both volumes, and of their differences.

Invariant: every differing voxel stays visible in the smaller picture. Planes are read in bands, so a picture takes no
more memory than comparing.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import imagecodecs
import numpy as np

from catnip2bids.comparison.compared_volume import BAND_BYTES
from catnip2bids.comparison.values import Array, differing
from catnip2bids.comparison.volumes import Relation, VolumeComparison
from catnip2bids.errors import SourceError
from catnip2bids.html_pages import picture_address
from catnip2bids.ome import color_of_label

_LONGEST_SIDE = 360
_MOST_DIFFERENT, _MOST_SAME = 6, 2
_LOW, _HIGH = 1.0, 99.7
_SAME, _OTHER, _ZEROED_2, _ZEROED_1 = range(4)
_COLORS = np.array([(24, 26, 30), (255, 196, 61), (239, 71, 111), (76, 154, 255)], np.uint8)
"""Colours of the difference: none, other values, 0 in 2, 0 in 1."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one pair of planes, as addresses that hold the whole PNG file."""

    # slice numbers
    number_1: int
    number_2: int
    n_different: int
    one: str
    two: str
    difference: str
    # of each picture, in pixels
    width: int
    height: int


def pictures_of(item: VolumeComparison) -> list[Pictures]:
    """Draw the planes that differ most, and a few equal ones, sorted by slice number."""
    if item.relation == Relation.SHIFTED:
        planes_1, planes_2 = item.pairing.volume_1.planes, item.pairing.volume_2.planes
        numbers_2 = ((number, item.numbers.in_2(number)) for number in sorted(planes_1))
        partners = {one: two for one, two in numbers_2 if two is not None and two in planes_2}
        chosen = [(number, partners[number], 0) for number in _spread(list(partners))]
    else:
        voxels = {pair.number: pair.difference.n_different for pair in item.pairs if pair.difference}
        same = [pair.number for pair in item.pairs if pair.difference and pair.same]
        chosen = [(number, number, voxels[number]) for number in sorted(_most_different(voxels) + _spread(same))]
    pictures = []
    for number_1, number_2, n_different in chosen:
        with suppress(SourceError):  # planes that cannot be decoded, of which only the files were compared
            pictures.append(_draw(item, number_1, number_2, n_different))
    return pictures


def _most_different(n_different: dict[int, int]) -> list[int]:
    """Choose the planes that differ most, without close neighbours if there are enough others."""
    ranked = sorted((number for number, n in n_different.items() if n), key=lambda number: -n_different[number])
    apart = len(ranked) // (2 * _MOST_DIFFERENT)
    chosen: list[int] = []
    for number in ranked:
        if len(chosen) < _MOST_DIFFERENT and all(abs(number - other) > apart for other in chosen):
            chosen.append(number)
    return chosen


def _spread(numbers: list[int]) -> list[int]:
    """Choose a few numbers that are spread over a list."""
    return numbers[len(numbers) // 3 :: max(len(numbers) // 2, 1)][:_MOST_SAME]


def _draw(item: VolumeComparison, number_1: int, number_2: int, n_different: int) -> Pictures:
    ones, twos, codes = [], [], []
    with item.pairing.volume_1.open(number_1) as one, item.pairing.volume_2.open(number_2) as two:
        stride = max(-(-max(one.layout.shape) // _LONGEST_SIDE), 1)
        row_bytes = one.layout.shape[1] * max(one.layout.dtype.itemsize, two.layout.dtype.itemsize)
        height = max(BAND_BYTES // (row_bytes * stride), 1) * stride
        for rows_1, rows_2 in zip(one.bands(height), two.bands(height), strict=True):
            ones.append(rows_1[::stride, ::stride].copy())
            twos.append(rows_2[::stride, ::stride].copy())
            codes.append(_codes(rows_1, rows_2, stride))
    small_1, small_2 = np.concatenate(ones), np.concatenate(twos)
    if item.evidence.are_labels:
        pictures = [_colored(small) for small in (small_1, small_2)]
    else:
        pictures = _gray(small_1, small_2)
    pictures.append(_COLORS[np.concatenate(codes)])
    one_png, two_png, difference = (
        picture_address("png", imagecodecs.png_encode(np.ascontiguousarray(image))) for image in pictures
    )
    height, width = small_1.shape
    return Pictures(number_1, number_2, n_different, one_png, two_png, difference, width, height)


def _codes(rows_1: Array, rows_2: Array, stride: int) -> Array:
    """Return how voxels differ; squares are merged by their maximum, so that each difference stays visible."""
    different = differing(rows_1, rows_2)
    codes = np.where(different, _OTHER, _SAME).astype(np.uint8)
    codes[different & (rows_2 == 0)] = _ZEROED_2
    codes[different & (rows_1 == 0)] = _ZEROED_1
    rows, columns = (np.arange(0, n, stride) for n in codes.shape)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(codes, rows, axis=0), columns, axis=1))


def _colored(labels: Array) -> Array:
    values, which = np.unique(labels, return_inverse=True)
    colors = [_color(value) for value in values.tolist()]
    return np.array(colors, np.uint8)[which.reshape(labels.shape)]


def _color(value: float) -> tuple[int, ...]:
    if not math.isfinite(value):
        return (128, 128, 128)
    return (0, 0, 0) if value == 0 else tuple(bytes.fromhex(color_of_label(int(value))[1:]))


def _gray(*images: Array) -> list[Array]:
    """Show images in gray levels, with one window for all of them."""
    values = np.concatenate([image[np.isfinite(image)].astype("f8") for image in images])
    low, high = np.percentile(values, [_LOW, _HIGH]) if values.size else (0.0, 1.0)
    if high <= low:
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    scale = 255 / (high - low) if high > low else 1.0
    shown = [np.clip((np.nan_to_num(image.astype("f8"), nan=low) - low) * scale, 0, 255) for image in images]
    return [np.repeat(image.astype(np.uint8)[..., np.newaxis], 3, axis=2) for image in shown]
