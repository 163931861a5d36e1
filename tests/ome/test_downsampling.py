"""The fast ways to merge voxels, held against tensorstore's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from catnip2bids.ome import downsample
from catnip2bids.ome.downsampling import DOWNSAMPLING
from catnip2bids.volume import Kind
from made_up import Array, some_image

Zyx = tuple[int, int, int]

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
STEPS = st.tuples(*[st.sampled_from([1, 2])] * 3)
SEEDS = st.integers(0, 2**32 - 1)


def by_tensorstore(array: Array, step: Zyx, kind: Kind) -> Array:
    return np.asarray(ts.downsample(ts.array(array), list(step), method=DOWNSAMPLING[kind]).read().result())


def few_labels(shape: Zyx, seed: int, n_labels: int) -> Array:
    """Make noise of a few labels: hardly any voxels that are merged are all alike."""
    return np.random.default_rng(seed).integers(0, n_labels, shape).astype("uint32")


def regions(shape: Zyx, seed: int) -> Array:
    """Make halves of labels with an oblique border: most voxels that are merged are alike."""
    z, y, x = np.indices(shape)
    border = np.random.default_rng(seed).integers(0, sum(shape) + 1)
    return np.where(z + y + x < border, 97, 12009).astype("uint32")


@settings(deadline=None)
@given(SHAPES, STEPS, SEEDS, st.sampled_from(["uint8", "uint16", "uint32", "int16"]), st.sampled_from(Kind))
def test_all_ways_give_the_same_voxels(shape: Zyx, step: Zyx, seed: int, dtype: str, kind: Kind) -> None:
    array = few_labels(shape, seed, 3).astype(dtype) if kind == Kind.LABELS else some_image(shape, dtype, seed)
    np.testing.assert_array_equal(downsample(array, step, kind), by_tensorstore(array, step, kind))


@settings(deadline=None)
@given(SHAPES, STEPS, SEEDS)
def test_means_of_small_values_are_the_same_as_those_of_large_ones(shape: Zyx, step: Zyx, seed: int) -> None:
    """Sums of values below 2**14 are added up in 16 bits, all others in 32."""
    dark = some_image(shape, "uint16", seed) >> 2
    bright = np.pad(dark, ((0, 0), (0, 0), (0, 2)), constant_values=65535)
    merged = downsample(bright, step, Kind.IMAGE)[:, :, : dark.shape[2] // step[2]]
    np.testing.assert_array_equal(downsample(dark, step, Kind.IMAGE)[:, :, : dark.shape[2] // step[2]], merged)


@settings(deadline=None)
@given(SHAPES, STEPS, SEEDS, st.sampled_from([regions, lambda shape, seed: few_labels(shape, seed, 5)]))
def test_of_labels_that_are_equally_frequent_the_smallest_wins(
    shape: Zyx, step: Zyx, seed: int, make: Callable[[Zyx, int], Array]
) -> None:
    labels = make(shape, seed)
    merged = downsample(labels, step, Kind.LABELS)
    for at in np.ndindex(merged.shape):
        block = labels[tuple(slice(i * s, i * s + s) for i, s in zip(at, step, strict=True))]
        values, counts = np.unique(block, return_counts=True)
        assert merged[at] == values[counts.argmax()]  # the first of the largest counts, and values are sorted


@settings(deadline=None)
@given(SHAPES, STEPS, st.sampled_from(Kind), st.integers(1, 50))
def test_pieces_are_merged_as_the_whole(shape: Zyx, step: Zyx, kind: Kind, n_pieces: int) -> None:
    array = some_image(shape, "uint16")
    whole = downsample(array, step, kind)
    with ThreadPoolExecutor(2) as threads:
        np.testing.assert_array_equal(downsample(array, step, kind, threads, n_pieces), whole)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_merged_voxels_go_where_they_are_wanted(kind: Kind, dtype: str) -> None:
    array, room = some_image((5, 9, 7), dtype), np.zeros((3, 8, 4), dtype)
    assert downsample(array, (2, 2, 2), kind, out=room[:, 2:7]) is not None
    np.testing.assert_array_equal(room[:, 2:7], downsample(array, (2, 2, 2), kind))
    assert not room[:, :2].any()
    assert not room[:, 7:].any()


@pytest.mark.parametrize("kind", Kind)
def test_the_merged_array_is_not_changed(kind: Kind) -> None:
    array = some_image((5, 9, 7))
    before = array.copy()
    downsample(array, (2, 2, 2), kind)
    np.testing.assert_array_equal(array, before)
