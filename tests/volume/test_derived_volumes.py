"""The mask between a volume and the same volume masked."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from catnip2bids.errors import SourceError
from catnip2bids.volume import RecoveredMask, Volume, inspect_slices
from made_up import DEFLATE, FLAVOURS, Array, Flavour, found, read_all, some_labels, write_slices

SHAPE = (6, 50, 40)
LABELS = some_labels(SHAPE)
INSIDE = np.broadcast_to(np.arange(40) < 25, SHAPE)


def volume(folder: Path, voxels: Array, flavour: Flavour) -> Volume:
    write_slices(folder, voxels, flavour=flavour)
    return found(inspect_slices(folder.iterdir()))


def recovered(folder: Path, masked: Array, *emptied: int, flavour: str = "deflate") -> RecoveredMask:
    stored = FLAVOURS.get(flavour, Flavour(DEFLATE, rows_per_strip=4))
    whole = volume(folder / "whole", LABELS, stored)
    return RecoveredMask(whole, volume(folder / "masked", masked, stored), frozenset(emptied))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_volume_times_the_mask_is_the_masked_volume(tmp_path: Path, flavour: str) -> None:
    masked = LABELS * INSIDE
    masked[4] = 0
    mask = recovered(tmp_path, masked, 4, flavour=flavour)
    voxels = read_all(mask)
    assert (voxels.shape, voxels.dtype, mask.dtype) == (SHAPE, np.dtype("uint16"), np.dtype("uint16"))
    np.testing.assert_array_equal(LABELS * voxels, masked)
    assert not voxels[4].any()
    assert (voxels[(LABELS == 0) & (np.arange(6) != 4)[:, None, None]] == 1).all()
    np.testing.assert_array_equal(read_all(pickle.loads(pickle.dumps(mask))), voxels)


def test_rows_can_be_read_in_any_pieces(tmp_path: Path) -> None:
    mask = recovered(tmp_path, LABELS * INSIDE)
    assert mask.read_cost.by_rows
    plane = mask.open_plane(2)
    rows = np.empty((SHAPE[1], SHAPE[2]), mask.dtype)
    for start, stop in ((0, 3), (3, 17), (17, 50)):
        plane.read_rows(start, stop, rows[start:stop])
    plane.close()
    np.testing.assert_array_equal(rows, read_all(mask)[2])


@pytest.mark.parametrize(("value", "emptied"), [(9999, ()), (None, (3,))])
def test_what_no_mask_can_make_is_refused(tmp_path: Path, value: int | None, emptied: tuple[int, ...]) -> None:
    masked = LABELS * INSIDE
    if value is not None:
        masked[3, 4, 5] = value
    mask = recovered(tmp_path, masked, *emptied)
    with pytest.raises(SourceError, match=r"masked/Z0004\.tif: is not .*whole/Z0004\.tif times a mask"):
        read_all(mask)


def test_memory_is_that_of_both_volumes(tmp_path: Path) -> None:
    mask = recovered(tmp_path, LABELS * INSIDE)
    assert mask.read_cost.open_bytes == 2 * mask.whole.read_cost.open_bytes > 0
    assert (mask.read_cost.decoding_bytes, mask.read_cost.shared_bytes) == (0, 0)
    assert set(mask.files) == {*mask.whole.files, *mask.masked.files}
