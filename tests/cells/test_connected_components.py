"""Connected components are those of SciPy on the whole volume, however it is divided into blocks."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from catnip2bids.cells import connected_components as module
from catnip2bids.cells.components import Components
from catnip2bids.cells.connected_components import Box, CellImages, find_components
from catnip2bids.cells.joining import Zyx
from catnip2bids.engine import Resources, parse_bytes
from catnip2bids.errors import NotEnoughMemoryError, SourceError
from in_memory import VolumeInMemory

Array = npt.NDArray[Any]
NEIGHBOURS_18 = ndimage.generate_binary_structure(3, 2)
RESOURCES = Resources(2, 2**30)


def found_in(
    segmentation: Array,
    labels: Array,
    mask: Array | None = None,
    *,
    has_volumes: bool = False,
    boxes: dict[int, Box] | None = None,
    n_labelled: Counter[int] | None = None,
) -> list[Components]:
    images = CellImages(
        VolumeInMemory(segmentation),
        VolumeInMemory(labels),
        None if mask is None else VolumeInMemory(mask),
        has_volumes=has_volumes,
        downsampling=(2, 3, 3),
        counts_voxels=True,
    )
    boxes = {} if boxes is None else boxes
    n_labelled = Counter() if n_labelled is None else n_labelled
    return list(find_components(images, boxes, n_labelled, RESOURCES, lambda _: None, unchanged))


def unchanged(components: Components) -> Components:
    return components


def described(parts: list[Components]) -> list[tuple[Any, ...]]:
    """Describe each component by its size, sums, extent and labels, those that end first before the others."""
    found = [
        (
            int(part.n_voxels[n]),
            tuple(part.sums[n].tolist()),
            tuple(part.low[n].tolist()),
            tuple(part.high[n].tolist()),
            tuple(zip(part.label[part.owner == n].tolist(), part.n_labelled[part.owner == n].tolist(), strict=True)),
        )
        for part in parts
        for n in range(len(part))
    ]
    return sorted(found, key=lambda one: (one[3][0], one[1]))


def expected(inside: Array, labels: Array, values: Array | None = None) -> list[tuple[Any, ...]]:
    """Describe the components that SciPy finds, in the order of `described`."""
    found = []
    for value in [1] if values is None else np.unique(values[values > 0]).tolist():
        connected, n = ndimage.label(inside if values is None else values == value, NEIGHBOURS_18)
        for number in range(1, n + 1):
            places = np.argwhere(connected == number)
            of_voxels = labels[tuple(places.T)]
            pairs = tuple((int(label), int((of_voxels == label).sum())) for label in np.unique(of_voxels))
            sums, low, high = (f(places, 0).tolist() for f in (np.sum, np.min, np.max))
            found.append((len(places), tuple(sums), tuple(low), tuple(high), pairs))
    return sorted(found, key=lambda one: (one[3][0], one[1]))


@pytest.mark.parametrize("block_voxels", [16, 200, 10**6])
@given(seed=st.integers(0, 10**6), density=st.sampled_from([0.05, 0.2, 0.4]))
@settings(max_examples=15, deadline=None)
def test_components_do_not_depend_on_blocks(block_voxels: int, seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 14, 3))
    inside = random.random(shape) < density
    labels = random.integers(0, 4, shape).astype(np.uint16)
    mask = (random.random(shape) < 0.8).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_VOXELS", block_voxels)
        patch.setattr(module, "_ROWS_DEPTH", 3)
        n_labelled: Counter[int] = Counter()
        found = found_in(np.where(inside, 255, 0).astype(np.uint8), labels, mask, n_labelled=n_labelled)
    assert described(found) == expected(inside, labels * mask)
    assert n_labelled == Counter((labels * mask).ravel().tolist())


@pytest.mark.parametrize("has_volumes", [False, True])
@given(seed=st.integers(0, 10**6), block=st.tuples(*[st.integers(1, 6)] * 3), density=st.sampled_from([0.1, 0.3, 0.8]))
@settings(max_examples=25, deadline=None)
def test_components_are_joined_across_all_faces(has_volumes: bool, seed: int, block: Zyx, density: float) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 14, 3))
    values = np.where(random.random(shape) < density, 255, 0).astype(np.uint8)
    if has_volumes:
        values[random.random(shape) < 0.5] //= 2
    labels = random.integers(0, 3, shape).astype(np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_block_shape", lambda _: tuple(map(min, block, shape)))
        found = found_in(values, labels, has_volumes=has_volumes)
    inside = values == 255
    assert sorted(described(found)) == sorted(expected(inside, labels, values if has_volumes else None))


@pytest.mark.parametrize("block_voxels", [16, 10**6])
def test_only_voxels_of_equal_volume_are_connected(block_voxels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_VOXELS", block_voxels)
    random = np.random.default_rng(3)
    values = random.choice(np.array([0, 0, 0, 5, 7], np.uint16), (9, 8, 7))
    labels = random.integers(0, 3, values.shape).astype(np.uint16)
    found = found_in(values, labels, has_volumes=True)
    assert described(found) == expected(values > 0, labels, values)
    assert sorted({value for part in found for value in part.value.tolist()}) == [5, 7]


def test_only_255_is_inside_of_cells() -> None:
    segmentation = np.array([[[255, 1, 0, 254, 255]]], np.uint8)
    found = found_in(segmentation, np.ones(segmentation.shape, np.uint16))
    assert [one[0] for one in described(found)] == [1, 1]


def test_boxes_are_those_of_labels_on_the_downsampled_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    downsampled = np.zeros((4, 3, 5), np.uint16)
    downsampled[1:3, 1, 2:5], downsampled[3, 2, 0] = 7, 9
    labels = downsampled.repeat(2, 0).repeat(3, 1).repeat(3, 2)
    monkeypatch.setattr(module, "_BLOCK_VOXELS", 20)
    monkeypatch.setattr(module, "_ROWS_DEPTH", 3)
    boxes: dict[int, Box] = {}
    assert described(found_in(np.zeros(labels.shape, np.uint8), labels, boxes=boxes)) == []
    assert boxes == {7: Box((1, 1, 2), (2, 1, 4)), 9: Box((3, 2, 0), (3, 2, 0))}


def test_the_memory_that_an_error_names_is_enough() -> None:
    values = np.full((4, 5, 6), 255, np.uint8)
    images = CellImages(VolumeInMemory(values), VolumeInMemory(values), None, False, (2, 3, 3))

    def find(memory_bytes: int) -> list[Components]:
        return list(find_components(images, {}, Counter(), Resources(2, memory_bytes), lambda _: None, unchanged))

    with pytest.raises(NotEnoughMemoryError, match="finding cells: this takes at least") as raised:
        find(2**20)
    named = re.search(r"[0-9.]+ .?i?B", str(raised.value))
    assert named is not None
    assert sum(map(len, find(parse_bytes(named[0].replace(" ", ""))))) == 1


def test_components_are_yielded_when_they_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_VOXELS", 4)
    monkeypatch.setattr(module, "_ROWS_DEPTH", 1)
    segmentation = np.zeros((4, 2, 2), np.uint8)
    segmentation[0, 0, 0] = segmentation[2:, 1, 1] = 255
    images = CellImages(VolumeInMemory(segmentation), VolumeInMemory(segmentation), None, False, (2, 3, 3))
    n_read: list[int] = []
    found = find_components(images, {}, Counter(), RESOURCES, n_read.append, unchanged)
    assert [(len(part), sum(n_read)) for part in found if len(part)] == [(1, 8), (1, 16)]


@pytest.mark.parametrize("value", [132.5, np.nan])
def test_volumes_that_are_no_whole_numbers_are_refused(value: float) -> None:
    segmentation = np.zeros((4, 1, 5), np.float32)
    segmentation[1, 0] = [132, 132, value, 132, 132]
    with pytest.raises(SourceError, match="whole numbers"):
        found_in(segmentation, np.ones(segmentation.shape, np.uint16), has_volumes=True)


def test_more_borders_than_memory_are_an_error() -> None:
    random = np.random.default_rng(1)
    segmentation = np.where(random.random((40, 1024, 1024)) < 0.12, 255, 0).astype(np.uint8)
    labels = np.ones(segmentation.shape, np.uint8)
    images = CellImages(VolumeInMemory(segmentation), VolumeInMemory(labels), None, False, (2, 3, 3))
    with pytest.raises(NotEnoughMemoryError, match=r"finding them takes about \d+ MiB of memory; give more"):
        list(find_components(images, {}, Counter(), Resources(1, 400 * 2**20), lambda _: None, unchanged))
