"""Memory: how a budget is read, divided, and refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catnip2bids.engine import Resources, divide_memory, parse_bytes
from catnip2bids.engine.memory import MOST_BLOCKS, OVERHEAD_BYTES, default_memory_bytes
from catnip2bids.errors import UsageError
from catnip2bids.ome import OmeZarrImage
from catnip2bids.volume import Kind
from in_memory import VolumeInMemory

MIB = 2**20


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GiB", 2 * 2**30),
        ("512 MiB", 512 * MIB),
        (" 1.5G ", 1_500_000_000),
        ("800000000", 800_000_000),
        ("64Ki", 65_536),
        ("3 kB".upper(), 3_000),
        ("1TiB", 2**40),
    ],
)
def test_sizes_are_read(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "2 XiB", "1,5G", "i", "0x10", "2GiB!", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a valid size"):
        parse_bytes(text)


def test_the_default_is_a_quarter_of_the_machine_at_most() -> None:
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < default_memory_bytes() <= min(machine_bytes // 4, 8 * 2**30)


AXES = st.tuples(st.integers(1, 3_000), st.integers(1, 15_000), st.integers(1, 15_000))


def volume_of(shape: tuple[int, int, int], dtype: str, reads_rows: bool) -> VolumeInMemory:
    """Make a volume of any size that takes no memory."""
    return VolumeInMemory(np.broadcast_to(np.zeros((), dtype), shape), reads_rows=reads_rows)


def image_of(volume: VolumeInMemory) -> OmeZarrImage:
    return OmeZarrImage(Path("image.ome.zarr"), volume.shape, volume.dtype.name, (5.0, 1.0, 1.0), Kind.IMAGE)


@settings(deadline=None)
@given(
    AXES,
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.booleans(),
    st.integers(1, 16),
    st.integers(1 * MIB, 8192 * MIB),
)
def test_a_unit_keeps_within_its_memory_or_is_refused(
    shape: tuple[int, int, int], dtype: str, reads_rows: bool, n_threads: int, memory_bytes: int
) -> None:
    volume = volume_of(shape, dtype, reads_rows)
    image = image_of(volume)
    try:
        portions = divide_memory(volume, image, Resources(n_threads, memory_bytes))
    except UsageError:
        with pytest.raises(UsageError, match=rf"planes of {shape[2]} x {shape[1]} pixels .* give more with --memory"):
            divide_memory(volume, image, Resources(n_threads, memory_bytes))
        return
    assert portions.total_bytes <= memory_bytes
    assert 1 <= portions.n_blocks <= MOST_BLOCKS
    assert 1 <= portions.n_decoders <= n_threads
    depth, rows, _ = image.block_shape
    assert portions.block_bytes == min(depth, shape[0]) * min(rows, shape[1]) * shape[2] * volume.dtype.itemsize
    assert (portions.reading.decoding_bytes == 0) == reads_rows


@settings(deadline=None)
@given(AXES, st.sampled_from(["uint8", "uint16"]), st.integers(10 * MIB, 4096 * MIB))
def test_with_more_memory_it_is_never_refused_nor_slower(
    shape: tuple[int, int, int], dtype: str, memory_bytes: int
) -> None:
    volume = volume_of(shape, dtype, reads_rows=False)
    image = image_of(volume)
    try:
        before = divide_memory(volume, image, Resources(2, memory_bytes))
    except UsageError:
        assume(False)
    after = divide_memory(volume, image, Resources(2, memory_bytes + 256 * MIB))
    assert (after.slab_bytes > 0, after.n_decoders, after.n_blocks) >= (
        before.slab_bytes > 0,
        before.n_decoders,
        before.n_blocks,
    )


@pytest.mark.parametrize(
    ("shape", "reads_rows", "memory_bytes"),
    [
        ((1786, 13_413, 10_130), True, 512 * MIB),
        ((4, 13_413, 10_130), True, 512 * MIB),
        ((1786, 13_413, 10_130), False, 1024 * MIB),
        ((10_000, 2048, 2560), True, 512 * MIB),
    ],
)
def test_real_sizes_fit(shape: tuple[int, int, int], reads_rows: bool, memory_bytes: int) -> None:
    volume = volume_of(shape, "uint16", reads_rows)
    portions = divide_memory(volume, image_of(volume), Resources(2, memory_bytes - OVERHEAD_BYTES))
    assert portions.total_bytes <= memory_bytes - OVERHEAD_BYTES


def test_the_message_names_a_size_that_is_enough() -> None:
    volume = volume_of((100, 13_413, 10_130), "uint16", reads_rows=False)
    with pytest.raises(UsageError) as refused:
        divide_memory(volume, image_of(volume), Resources(2, 100 * MIB))
    enough = parse_bytes(str(refused.value).split("at least ")[1].split(" of memory")[0])
    assert divide_memory(volume, image_of(volume), Resources(2, enough - OVERHEAD_BYTES)).n_blocks == 1
