"""Chunks and shards: small enough to read, few enough to store, and each file written by one unit alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from catnip2bids.enums import Kind, OmeZarrVersion
from catnip2bids.ome import OmeZarrImage, sharding
from catnip2bids.ome.levels import Level, Zyx, plan_levels
from catnip2bids.ome.ome_zarr import Region, UnitWriter
from catnip2bids.ome.sharding import Sharding, n_files, plan_sharding, waiting_bytes
from made_up import Array

AXIS = st.integers(1, 9) | st.integers(1, 20_000) | st.sampled_from([1, 64, 128, 129, 2048, 2049])
SIZE_UM = st.floats(0.2, 50)
LEVELS = st.builds(plan_levels, st.tuples(AXIS, AXIS, AXIS), st.tuples(SIZE_UM, SIZE_UM, SIZE_UM))
ITEMSIZES = st.sampled_from([1, 2, 4, 8])


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
@given(shape=st.tuples(WIDE, WIDE, WIDE), voxel_um=st.tuples(SIZE_UM, SIZE_UM, SIZE_UM), itemsize=ITEMSIZES)
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
    size_um=SIZE_UM,
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
    st.tuples(SIZE_UM, SIZE_UM, SIZE_UM),
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
                patch.setattr(sharding, name, value)
        planned = image.sharding  # is computed now
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
    """Neither merges nor writes voxels, and tells what it holds."""

    def __init__(self, image: OmeZarrImage) -> None:
        super().__init__(image, None, 1)
        self._arrays = {level.index: NowhereArray() for level in image.levels}

    @property
    def written(self) -> list[Region]:
        return list(self._arrays[0].written)

    def _merge(self, source: Array, step: Zyx, out: Array) -> None:
        pass

    @property
    def waiting_bytes(self) -> int:
        return sum(shard.nbytes for shard, _ in self._incomplete.values())


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 300), st.integers(1, 300)),
    st.tuples(SIZE_UM, SIZE_UM, SIZE_UM),
    st.sampled_from(OmeZarrVersion),
)
def test_no_two_units_write_one_file(
    shape: tuple[int, int, int], voxel_um: tuple[float, float, float], version: OmeZarrVersion
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL_SIZES.items():
            patch.setattr(sharding, name, value)
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
