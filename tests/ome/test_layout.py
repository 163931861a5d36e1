"""Chunks and shards: small enough to read, few enough to store, and each file written by one unit alone."""

from __future__ import annotations

import math

from hypothesis import assume, example, given
from hypothesis import strategies as st

from catnip2bids.ome.layout import Layout, plan_layout
from catnip2bids.ome.pyramid import Level, plan_levels

AXIS = st.integers(1, 9) | st.integers(1, 20_000) | st.sampled_from([1, 64, 128, 129, 2048, 2049])
SIZE_UM = st.floats(0.2, 50)
LEVELS = st.builds(plan_levels, st.tuples(AXIS, AXIS, AXIS), st.tuples(SIZE_UM, SIZE_UM, SIZE_UM))
ITEMSIZES = st.sampled_from([1, 2, 4, 8])


def n_shards(level: Level, layout: Layout) -> int:
    shard = layout.levels[level.index].shard
    return math.prod(math.ceil(n / size) for n, size in zip(level.shape, shard, strict=True))


@given(LEVELS, ITEMSIZES)
def test_chunks_hold_at_most_4_mib(levels: tuple[Level, ...], itemsize: int) -> None:
    layout = plan_layout(levels, itemsize)
    assert len(layout.levels) == len(levels)
    for level in layout.levels:
        assert 0 < math.prod(level.chunk) * itemsize <= 4 * 2**20


@given(LEVELS, ITEMSIZES)
def test_a_shard_is_whole_chunks(levels: tuple[Level, ...], itemsize: int) -> None:
    for level in plan_layout(levels, itemsize).levels:
        assert all(shard % chunk == 0 for shard, chunk in zip(level.shard, level.chunk, strict=True))


@given(LEVELS, ITEMSIZES)
def test_no_two_units_touch_one_shard(levels: tuple[Level, ...], itemsize: int) -> None:
    layout = plan_layout(levels, itemsize)
    assert 1 <= layout.n_unit_levels <= len(levels)
    starts = range(0, levels[0].shape[0], layout.unit_depth)
    for level in levels[: layout.n_unit_levels]:
        shard_depth = layout.levels[level.index].shard[0]
        owners: dict[int, int] = {}
        n_written = 0
        for start in starts:
            stop = min(start + layout.unit_depth, levels[0].shape[0])
            first, last = start // level.factors[0], math.ceil(stop / level.factors[0])
            assert start % level.factors[0] == 0
            n_written += last - first
            for shard in range(first // shard_depth, math.ceil(last / shard_depth)):
                assert owners.setdefault(shard, start) == start
        assert n_written == level.shape[0]


@given(LEVELS, ITEMSIZES)
def test_the_layout_follows_from_shape_and_type_alone(levels: tuple[Level, ...], itemsize: int) -> None:
    assert plan_layout(levels, itemsize) == plan_layout(plan_levels(levels[0].shape, levels[0].scale_um), itemsize)


@example(planes=4993, rows=897, itemsize=1, size_um=1.0, z_to_xy=3.0)
@example(planes=8065, rows=910, itemsize=4, size_um=1.0, z_to_xy=4.0)
@given(
    planes=st.integers(256, 8192),
    rows=st.integers(256, 8192),
    itemsize=st.sampled_from([1, 2, 4]),
    size_um=st.floats(0.5, 10),
    z_to_xy=st.floats(0.5, 4),
)
def test_a_volume_of_12_gib_is_at_most_500_files(
    planes: int, rows: int, itemsize: int, size_um: float, z_to_xy: float
) -> None:
    columns = 12 * 2**30 // (itemsize * planes * rows)
    assume(256 <= columns <= 16384)
    levels = plan_levels((planes, rows, columns), (size_um * z_to_xy, size_um, size_um))
    layout = plan_layout(levels, itemsize)
    n_metadata = 1 + len(levels)
    assert n_metadata + sum(n_shards(level, layout) for level in levels) <= 500


@given(st.tuples(st.integers(1, 200), st.integers(1, 256), st.integers(1, 256)), st.sampled_from([1, 2, 4]))
def test_a_small_volume_is_one_file_a_level(shape: tuple[int, int, int], itemsize: int) -> None:
    levels = plan_levels(shape, (2.0, 1.0, 1.0))
    layout = plan_layout(levels, itemsize)
    assert {n_shards(level, layout) for level in levels} == {1}
