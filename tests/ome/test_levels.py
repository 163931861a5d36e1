"""Resolution levels: their geometry, and the merging of voxels held against a slow plain version.

Chunks and shards: small enough to read, few enough to store, and each file written by one unit alone.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.ome import Level, OmeZarrImage, downsample, plan_levels
from catnip2bids.ome.levels import Sharding, Zyx, n_files, plan_sharding, waiting_bytes
from catnip2bids.ome.ome_zarr import Region, UnitWriter
from made_up import Array

ENDS = [1, 63, 64, 128, 129, 256, 257, 2048, 2049, 2560]
AXIS = st.integers(1, 9) | st.integers(1, 20_000) | st.sampled_from(ENDS)
SHAPES = st.tuples(AXIS, AXIS, AXIS)
SIZE_UM = st.floats(0.05, 100) | st.sampled_from([1.0, 1.82, 3.7, 5.0, 25.0])
VOXELS_UM = st.tuples(SIZE_UM, SIZE_UM, SIZE_UM)
USUAL_SIZE_UM = st.floats(0.2, 50)
USUAL_VOXELS_UM = st.tuples(USUAL_SIZE_UM, USUAL_SIZE_UM, USUAL_SIZE_UM)
LEVELS = st.builds(plan_levels, SHAPES, USUAL_VOXELS_UM)
ITEMSIZES = st.sampled_from([1, 2, 4, 8])

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


def n_shards(level: Level, planned: Sharding) -> int:
    shard = planned.levels[level.index].shard
    return math.prod(math.ceil(n / size) for n, size in zip(level.shape, shard, strict=True))


@given(LEVELS, ITEMSIZES)
def test_chunks_hold_at_most_4_mib(levels: tuple[Level, ...], itemsize: int) -> None:
    planned = plan_sharding(levels, itemsize)
    assert len(planned.levels) == len(levels)
    for level in planned.levels:
        assert 0 < math.prod(level.chunk) * itemsize <= 4 * 2**20


@given(LEVELS, ITEMSIZES)
def test_a_shard_is_whole_chunks(levels: tuple[Level, ...], itemsize: int) -> None:
    for level in plan_sharding(levels, itemsize).levels:
        assert all(shard % chunk == 0 for shard, chunk in zip(level.shard, level.chunk, strict=True))


@given(LEVELS, ITEMSIZES)
def test_no_two_units_touch_one_shard(levels: tuple[Level, ...], itemsize: int) -> None:
    planned = plan_sharding(levels, itemsize)
    assert 1 <= planned.n_unit_levels <= len(levels)
    starts = range(0, levels[0].shape[0], planned.unit_depth)
    for level in levels[: planned.n_unit_levels]:
        shard_depth = planned.levels[level.index].shard[0]
        owners: dict[int, int] = {}
        n_written = 0
        for start in starts:
            stop = min(start + planned.unit_depth, levels[0].shape[0])
            first, last = start // level.factors[0], math.ceil(stop / level.factors[0])
            assert start % level.factors[0] == 0
            n_written += last - first
            for shard in range(first // shard_depth, math.ceil(last / shard_depth)):
                assert owners.setdefault(shard, start) == start
        assert n_written == level.shape[0]


WIDE = st.integers(1, 300) | st.integers(1, 120_000)


@example(shape=(2, 224, 96_726), voxel_um=(2.0, 1.0, 5.0), itemsize=2)
@given(shape=st.tuples(WIDE, WIDE, WIDE), voxel_um=USUAL_VOXELS_UM, itemsize=ITEMSIZES)
def test_a_shard_has_whole_voxels_of_the_next_level(
    shape: tuple[int, int, int], voxel_um: tuple[float, float, float], itemsize: int
) -> None:
    levels = plan_levels(shape, voxel_um)
    planned = plan_sharding(levels, itemsize)
    for level in levels[1 : planned.n_unit_levels]:
        above = planned.levels[level.index - 1].shard
        for size, step, n in zip(above, level.step, levels[level.index - 1].shape, strict=True):
            assert size % step == 0 or size >= n


@given(LEVELS, ITEMSIZES)
def test_sharding_follows_from_shape_and_type_alone(levels: tuple[Level, ...], itemsize: int) -> None:
    assert plan_sharding(levels, itemsize) == plan_sharding(plan_levels(levels[0].shape, levels[0].scale_um), itemsize)


@given(
    planes=st.integers(1, 8192) | st.integers(1, 10**6),
    rows=st.integers(100, 20_000),
    itemsize=st.sampled_from([1, 2, 4]),
    size_um=USUAL_SIZE_UM,
    z_to_xy=st.floats(0.25, 8),
)
@example(planes=4993, rows=897, itemsize=1, size_um=1.0, z_to_xy=3.0)
@example(planes=8065, rows=910, itemsize=4, size_um=1.0, z_to_xy=4.0)
@example(planes=644_245, rows=100, itemsize=2, size_um=1.0, z_to_xy=1.0)
@example(planes=11_147, rows=134, itemsize=4, size_um=1.0, z_to_xy=8.0)
def test_a_volume_of_12_gib_is_at_most_500_files(
    planes: int, rows: int, itemsize: int, size_um: float, z_to_xy: float
) -> None:
    columns = 12 * 2**30 // (itemsize * planes * rows)
    assume(100 <= columns <= 20_000)
    levels = plan_levels((planes, rows, columns), (size_um * z_to_xy, size_um, size_um))
    planned = plan_sharding(levels, itemsize)
    n_metadata = 1 + len(levels)
    assert n_metadata + sum(n_shards(level, planned) for level in levels) == n_files(levels, planned) <= 500


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 700), st.integers(1, 300)),
    USUAL_VOXELS_UM,
    st.booleans(),
)
def test_what_waits_in_memory_is_no_more_than_was_said(
    shape: tuple[int, int, int], voxel_um: tuple[float, float, float], small: bool
) -> None:
    """Run the writer on voxels of one byte, without writing them, to see what it holds."""
    image = OmeZarrImage(Path("image.ome.zarr"), shape, "uint8", voxel_um, Kind.IMAGE)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            for name, value in SMALL_SIZES.items():
                patch.setattr(f"catnip2bids.ome.levels.{name}", value)
        patch.setattr("catnip2bids.ome.ome_zarr.downsample", lambda *_: None)
        planned = image.sharding
        held = Held(image)
        depth, rows, _ = planned.levels[0].shard
        stop = min(planned.unit_depth, shape[0])
        for z in range(0, stop, depth):
            for y in range(0, shape[1], rows):
                n_planes, n_rows = min(depth, stop - z), min(rows, shape[1] - y)
                held.put((z, y, 0), np.broadcast_to(np.uint8(0), (n_planes, n_rows, shape[2])))
                assert held.waiting_bytes <= waiting_bytes(image.levels, planned, 1)
        assert held.waiting_bytes == 0
        n_written = sum(math.prod(part.stop - part.start for part in region) for region in held.written)
        assert n_written == math.prod((stop, *shape[1:]))


SMALL_SIZES = {
    "USUAL_BLOCK_BYTES": 2**20,
    "SMALLEST_BLOCK_BYTES": 2**16,
    "SMALLEST_SHARD_BYTES": 2**17,
    "SMALLEST_UNIT_BYTES": 2**22,
}


class NowhereArray:
    """An array that remembers only which regions were written."""

    def __init__(self) -> None:
        self.written: list[Region] = []

    def __getitem__(self, region: Region) -> NowhereArray:
        self.written.append(region)
        return self

    def write(self, shard: Array, **_: bool) -> NowhereArray:
        del shard
        return self

    def done(self) -> bool:
        return True

    def exception(self) -> None:
        return None


class Held(UnitWriter):
    """Writes no voxels, and tells what it holds."""

    def __init__(self, image: OmeZarrImage) -> None:
        super().__init__(image, None, 1)
        self._arrays = {level.index: NowhereArray() for level in image.levels}

    @property
    def written(self) -> list[Region]:
        return list(self._arrays[0].written)

    @property
    def waiting_bytes(self) -> int:
        return sum(shard.nbytes for shard, _ in self._incomplete.values())


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 300), st.integers(1, 300)),
    USUAL_VOXELS_UM,
    st.sampled_from(OmeZarrVersion),
)
def test_no_two_units_write_one_file(
    shape: tuple[int, int, int], voxel_um: tuple[float, float, float], version: OmeZarrVersion
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL_SIZES.items():
            patch.setattr(f"catnip2bids.ome.levels.{name}", value)
        image = OmeZarrImage(Path("image.ome.zarr"), shape, "uint8", voxel_um, Kind.IMAGE, version)
        planned = image.sharding
    owners: dict[str, int] = {}
    for start in range(0, shape[0], image.unit_depth):
        stop = min(start + image.unit_depth, shape[0])
        for level in image.levels[: planned.n_unit_levels]:
            planes = slice(start // level.factors[0], math.ceil(stop / level.factors[0]))
            for name in image.file_names(level, (planes, slice(0, level.shape[1]), slice(0, level.shape[2]))):
                assert owners.setdefault(name, start) == start, name


@given(st.tuples(st.integers(1, 200), st.integers(1, 256), st.integers(1, 256)), st.sampled_from([1, 2, 4]))
def test_a_small_volume_is_one_file_a_level(shape: tuple[int, int, int], itemsize: int) -> None:
    levels = plan_levels(shape, (2.0, 1.0, 1.0))
    planned = plan_sharding(levels, itemsize)
    assert {n_shards(level, planned) for level in levels} == {1}
