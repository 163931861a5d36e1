"""Resolution levels: their geometry, and the merging of voxels held against a slow plain version."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from catnip2bids.ome import Level, downsample, plan_levels
from catnip2bids.volume import Kind
from made_up import Array

Zyx = tuple[int, int, int]

AXIS = st.integers(1, 9) | st.integers(1, 20_000) | st.sampled_from([1, 63, 64, 256, 257, 2560])
SHAPES = st.tuples(AXIS, AXIS, AXIS)
SIZE_UM = st.floats(0.05, 100) | st.sampled_from([1.0, 1.82, 3.7, 5.0, 25.0])
VOXELS_UM = st.tuples(SIZE_UM, SIZE_UM, SIZE_UM)

IMAGES = arrays.arrays(
    st.sampled_from(["uint8", "uint16", "int16", "uint32"]),
    arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
)
STEPS = st.tuples(*[st.sampled_from([1, 2])] * 3)


def anisotropy(level: Level, shape: Zyx) -> float:
    """Longest over shortest side of a voxel, along the axes that have more than one."""
    sizes = [size for size, n in zip(level.scale_um, shape, strict=True) if n > 1]
    return max(sizes) / min(sizes) if sizes else 1.0


@given(SHAPES, VOXELS_UM)
def test_level_0_is_the_image_itself(shape: Zyx, voxel_um: tuple[float, float, float]) -> None:
    first = plan_levels(shape, voxel_um)[0]
    assert first == Level(0, shape, (1, 1, 1), (1, 1, 1), voxel_um, (0.0, 0.0, 0.0))


@given(SHAPES, VOXELS_UM)
def test_each_level_is_half_of_the_one_before_or_as_long(shape: Zyx, voxel_um: tuple[float, float, float]) -> None:
    levels = plan_levels(shape, voxel_um)
    assert [level.index for level in levels] == list(range(len(levels)))
    for before, level in itertools.pairwise(levels):
        assert set(level.step) <= {1, 2}
        assert 2 in level.step
        assert level.factors == tuple(f * s for f, s in zip(before.factors, level.step, strict=True))
        assert level.shape == tuple(math.ceil(n / s) for n, s in zip(before.shape, level.step, strict=True))
        assert level.shape == tuple(math.ceil(n / f) for n, f in zip(shape, level.factors, strict=True))
        assert all(s == 1 for s, n in zip(level.step, before.shape, strict=True) if n == 1)


@given(SHAPES, VOXELS_UM)
def test_centres_move_by_half_of_what_was_merged(shape: Zyx, voxel_um: tuple[float, float, float]) -> None:
    for level in plan_levels(shape, voxel_um):
        assert level.scale_um == pytest.approx([size * f for size, f in zip(voxel_um, level.factors, strict=True)])
        # the centre of the first merged voxel is the mean of the centres it was made of
        centres = [np.mean(np.arange(f) * size) for size, f in zip(voxel_um, level.factors, strict=True)]
        assert level.translation_um == pytest.approx(centres)


@given(SHAPES, VOXELS_UM)
def test_voxels_move_toward_isotropic(shape: Zyx, voxel_um: tuple[float, float, float]) -> None:
    for before, level in itertools.pairwise(plan_levels(shape, voxel_um)):
        assert anisotropy(level, before.shape) <= anisotropy(before, before.shape) * (1 + 1e-9)


@given(SHAPES, VOXELS_UM)
def test_the_last_level_is_small_and_no_level_is_needless(shape: Zyx, voxel_um: tuple[float, float, float]) -> None:
    *before, last = plan_levels(shape, voxel_um)
    assert max(last.shape) <= 256
    assert all(max(level.shape) > 256 for level in before[1:])
    assert bool(before) == (max(shape) >= 64)


def test_a_plane_is_merged_along_y_and_x_alone() -> None:
    levels = plan_levels((1, 1000, 1000), (5.0, 1.0, 1.0))
    assert [level.shape for level in levels] == [(1, 1000, 1000), (1, 500, 500), (1, 250, 250)]
    assert levels[-1].translation_um == (0.0, 1.5, 1.5)


def test_the_long_side_of_a_voxel_waits_for_the_short_ones() -> None:
    levels = plan_levels((1000, 2000, 2000), (4.0, 1.0, 1.0))
    assert [level.factors for level in levels] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]
    assert levels[-1].scale_um == (16.0, 16.0, 16.0)


def blocks(array: Array, step: Zyx) -> Iterable[tuple[Zyx, list[Any]]]:
    """List the voxels that become one, as Python numbers, for each voxel of the result."""
    shape = [math.ceil(n / s) for n, s in zip(array.shape, step, strict=True)]
    for at in itertools.product(*map(range, shape)):
        block = array[tuple(slice(i * s, i * s + s) for i, s in zip(at, step, strict=True))]
        yield (at[0], at[1], at[2]), block.ravel().tolist()


def plain(array: Array, step: Zyx, merge: Callable[[list[Any]], Any]) -> Array:
    merged = {at: merge(values) for at, values in blocks(array, step)}
    result = np.zeros(tuple(math.ceil(n / s) for n, s in zip(array.shape, step, strict=True)), array.dtype)
    for at, value in merged.items():
        result[at] = value
    return result


@settings(deadline=None)
@given(IMAGES, STEPS)
def test_the_mean_is_rounded_half_to_even(image: Array, step: Zyx) -> None:
    expected = plain(image, step, lambda values: round(Fraction(sum(values), len(values))))
    merged = downsample(image, step, Kind.IMAGE)
    assert merged.dtype == image.dtype
    np.testing.assert_array_equal(merged, expected)


@pytest.mark.parametrize(("values", "mean"), [([0, 1], 0), ([1, 2], 2), ([2, 3], 2), ([65535, 65534], 65534)])
def test_halves_go_to_the_even_neighbour(values: list[int], mean: int) -> None:
    assert downsample(np.array([[values]], "uint16"), (1, 1, 2), Kind.IMAGE).tolist() == [[[mean]]]


@settings(deadline=None)
@given(
    arrays.arrays(
        st.sampled_from(["float32", "float64"]),
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(-(2**20), 2**20, width=32),
    ),
    STEPS,
)
def test_the_mean_of_floats_is_not_rounded(image: Array, step: Zyx) -> None:
    expected = plain(image, step, lambda values: math.fsum(values) / len(values))
    np.testing.assert_allclose(downsample(image, step, Kind.IMAGE), expected, rtol=1e-5, atol=1)
    halves = np.array([[[0.0, 1.0, 2.5]]], image.dtype)
    assert downsample(halves, (1, 1, 2), Kind.IMAGE).tolist() == [[[0.5, 2.5]]]


@settings(deadline=None)
@given(IMAGES, STEPS)
def test_the_maximum_keeps_small_cells(mask: Array, step: Zyx) -> None:
    np.testing.assert_array_equal(downsample(mask, step, Kind.MASK), plain(mask, step, max))


LABELS = arrays.arrays(
    st.sampled_from(["uint8", "uint16", "uint32"]),
    arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.sampled_from([0, 1, 7, 97]),
)


@settings(deadline=None)
@given(LABELS, STEPS)
def test_the_mode_is_one_of_the_most_frequent_labels(labels: Array, step: Zyx) -> None:
    merged = downsample(labels, step, Kind.LABELS)
    assert merged.dtype == labels.dtype
    assert merged.shape == tuple(math.ceil(n / s) for n, s in zip(labels.shape, step, strict=True))
    for at, values in blocks(labels, step):
        counts = Counter(values)
        assert counts[merged[at].item()] == max(counts.values())


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "uint32", "float32", "float64"])
def test_the_end_of_an_odd_axis_is_merged_alone(kind: Kind, dtype: str) -> None:
    image = np.array([0, 0, 1], dtype).reshape(1, 1, 3)
    assert downsample(image, (1, 1, 2), kind).tolist() == [[[0, 1]]]
    assert downsample(image.reshape(3, 1, 1), (2, 1, 1), kind).ravel().tolist() == [0, 1]
