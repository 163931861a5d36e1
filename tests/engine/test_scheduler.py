"""From volumes of every storage to images: what is read is what is hashed and what is written."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.engine import (
    ProgressCallbacks,
    Resources,
    UnitResult,
    WorkUnit,
    convert_unit,
    convert_volume,
    makespan,
    own_resources,
    scheduler_for,
    split_into_units,
)
from catnip2bids.engine.unit_results import read_marker
from catnip2bids.errors import SourceError
from catnip2bids.ome import OmeZarrImage
from catnip2bids.paths import safe_path
from catnip2bids.volume import Kind, Volume, inspect_nifti, inspect_slices, inspect_stack
from in_memory import VolumeInMemory
from made_up import (
    DEFLATE,
    THREE_UNITS,
    Array,
    Flavour,
    count_unpackings,
    found,
    small_units,
    some_image,
    some_labels,
    write_slices,
    write_tiff,
)
from runs import files_of

DEPTH = (THREE_UNITS[0] - 88) // 2
RESOURCES = Resources(n_threads=2, memory_bytes=2**28)
__all__ = ["small_units"]


def slice_folder(folder: Path, planes: Array) -> Volume:
    write_slices(folder, planes, "Z{plane:04d}.tif", Flavour(DEFLATE, rows_per_strip=4))
    return found(inspect_slices(folder.iterdir()))


def stack(folder: Path, planes: Array) -> Volume:
    return found(inspect_stack(write_tiff(folder / "stack.tif", planes, Flavour(DEFLATE, rows_per_strip=1))))


def memory(folder: Path, planes: Array) -> Volume:
    del folder
    return VolumeInMemory(planes)


def image_of(folder: Path, volume: Volume, kind: Kind = Kind.IMAGE) -> OmeZarrImage:
    return OmeZarrImage(folder / "image.ome.zarr", volume.shape, volume.dtype.name, (2.0, 1.0, 1.0), kind)


def level(image: OmeZarrImage, index: int) -> Array:
    return np.asarray(zarr.open_array(image.folder / str(index), mode="r")[...])


def hashes(planes: Array) -> tuple[str, ...]:
    return tuple(hashlib.sha256(plane.astype(plane.dtype.newbyteorder("<")).tobytes()).hexdigest() for plane in planes)


def convert(volume: Volume, image: OmeZarrImage, done: list[int] | None = None) -> UnitResult:
    callbacks = ProgressCallbacks(([] if done is None else done).append, list[int]().append)
    with scheduler_for([(volume, image)], own_resources(2, None)) as workers:
        return convert_volume(volume, image, workers, callbacks)


@pytest.mark.parametrize("store", [slice_folder, stack, memory])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_every_storage_becomes_the_same_image(
    tmp_path: Path, store: Callable[[Path, Array], Volume], dtype: str
) -> None:
    planes = some_image((11, 70, 65), dtype)
    volume = store(tmp_path / "source", planes)
    image = image_of(tmp_path, volume)
    conversion = convert(volume, image)
    np.testing.assert_array_equal(level(image, 0), planes)
    assert conversion.sha256 == hashes(planes)
    assert conversion.value_range == (float(planes.min()), float(planes.max()))
    assert conversion.labels is None


@pytest.mark.slow
@pytest.mark.usefixtures("small_units")
def test_all_units_together_are_the_whole_volume(tmp_path: Path) -> None:
    planes = some_image(THREE_UNITS)
    planes[DEPTH + 9, 7, 1], planes[-1, 3, 0] = 65535, 0
    volume, done = VolumeInMemory(planes), list[int]()
    image = image_of(tmp_path, volume)
    conversion = convert(volume, image, done)
    assert image.block_shape[:2] == (64, 128)
    assert sum(done) == planes.size
    assert volume.reads == Counter(np.ndindex(THREE_UNITS[:2]))  # each row of each plane once
    assert conversion.sha256 == hashes(planes)
    assert conversion.value_range == (0.0, 65535.0)
    np.testing.assert_array_equal(level(image, 0), planes)
    assert {level(image, index).shape for index in range(len(image.levels))} == {lev.shape for lev in image.levels}


@pytest.mark.usefixtures("small_units")
def test_units_cover_each_plane_once(tmp_path: Path) -> None:
    volume = VolumeInMemory(np.zeros(THREE_UNITS, "uint16"))
    units = list(split_into_units(volume, image_of(tmp_path, volume)))
    assert [(unit.start, unit.stop) for unit in units] == [
        (0, DEPTH),
        (DEPTH, 2 * DEPTH),
        (2 * DEPTH, 2 * DEPTH + 88),
    ]


@pytest.mark.usefixtures("small_units")
def test_labels_of_all_units_are_collected(tmp_path: Path) -> None:
    planes = np.zeros(THREE_UNITS, "uint16")
    planes[0, 0, 0], planes[DEPTH + 9, 5, 1], planes[-1, -1, -1] = 97, 672, 12009
    volume = VolumeInMemory(planes)
    conversion = convert(volume, image_of(tmp_path, volume, Kind.LABELS))
    assert conversion.labels == frozenset({0, 97, 672, 12009})


@pytest.mark.parametrize("kind", [Kind.LABELS, Kind.MASK])
def test_labels_and_masks_tell_their_values(tmp_path: Path, kind: Kind) -> None:
    planes = some_labels((9, 70, 65), "float32")
    volume = stack(tmp_path, planes)
    conversion = convert(volume, image_of(tmp_path, volume, kind))
    assert conversion.labels == frozenset(planes.ravel().tolist())


@pytest.mark.parametrize("value", [0.5, 2.0**24, np.nan])
def test_labels_that_cannot_be_trusted_stop_the_conversion(tmp_path: Path, value: float) -> None:
    planes = some_labels((9, 70, 65), "float32")
    planes[4, 3, 2] = value
    volume = stack(tmp_path, planes)
    with pytest.raises(SourceError, match="cannot be trusted"):
        convert(volume, image_of(tmp_path, volume, Kind.LABELS))


def test_an_image_without_a_finite_value_has_no_range(tmp_path: Path) -> None:
    volume = VolumeInMemory(np.full((2, 3, 4), np.nan, "float32"))
    image = image_of(tmp_path, volume)
    assert convert(volume, image).value_range is None
    assert np.isnan(level(image, 0)).all()


@pytest.mark.usefixtures("small_units")
def test_a_unit_without_a_finite_value_has_no_part_in_the_range(tmp_path: Path) -> None:
    planes = np.full(THREE_UNITS, np.nan, "float16")
    planes[DEPTH + 9, 5] = -2.5
    volume = VolumeInMemory(planes)
    assert convert(volume, image_of(tmp_path, volume)).value_range == (-2.5, -2.5)


def test_a_slice_that_changed_after_the_census_stops_the_conversion(tmp_path: Path) -> None:
    volume = slice_folder(tmp_path / "source", some_image((11, 70, 65)))
    changed = volume.files[6]
    write_tiff(changed, some_image((1, 70, 64)))
    with pytest.raises(SourceError, match=changed.name):
        convert(volume, image_of(tmp_path, volume))


def test_a_slice_cut_off_after_the_census_stops_the_conversion(tmp_path: Path) -> None:
    volume = slice_folder(tmp_path / "source", some_image((11, 70, 65)))
    cut = volume.files[6]
    cut.write_bytes(cut.read_bytes()[:-60])
    with pytest.raises(SourceError, match=cut.name):
        convert(volume, image_of(tmp_path, volume))


@pytest.mark.parametrize("store", [slice_folder, stack])
def test_units_of_work_can_be_sent_to_any_worker(tmp_path: Path, store: Callable[[Path, Array], Volume]) -> None:
    planes = some_image((11, 70, 65))
    volume = store(tmp_path / "source", planes)
    image = image_of(tmp_path, volume)
    image.create()
    (unit,) = split_into_units(volume, image)
    sent: WorkUnit = pickle.loads(pickle.dumps(unit))
    assert (sent.volume.shape, sent.start, sent.stop) == (volume.shape, 0, 11)
    assert convert_unit(sent, RESOURCES).sha256 == hashes(planes)
    np.testing.assert_array_equal(level(image, 0), planes)


@pytest.mark.slow
@pytest.mark.usefixtures("small_units")
def test_units_may_be_converted_all_at_the_same_time(tmp_path: Path) -> None:
    planes = some_image(THREE_UNITS)
    volume = VolumeInMemory(planes)
    image = image_of(tmp_path, volume)
    image.create()
    with ThreadPoolExecutor(3) as workers:
        results = list(workers.map(partial(convert_unit, resources=RESOURCES), split_into_units(volume, image)))
    image.write_remaining_levels(2)
    assert tuple(h for result in results for h in result.sha256) == hashes(planes)
    np.testing.assert_array_equal(level(image, 0), planes)


@pytest.mark.slow
@pytest.mark.usefixtures("small_units")
def test_units_may_be_converted_by_other_processes(tmp_path: Path) -> None:
    planes = some_image(THREE_UNITS)
    volume = slice_folder(tmp_path / "source", planes)
    image, alone = image_of(tmp_path / "many", volume), image_of(tmp_path / "one", volume)
    image.create()
    units = list(split_into_units(volume, image, safe_path(tmp_path, "markers")))
    assert len(units) == 3
    # started from nothing, as workers on other machines are
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        results = list(workers.map(partial(convert_unit, resources=RESOURCES), reversed(units)))
    image.write_remaining_levels(2)
    assert tuple(h for result in reversed(results) for h in result.sha256) == hashes(planes)
    assert all(read_marker(unit.marker, image.folder) for unit in units)
    convert(volume, alone)
    assert files_of(image.folder) == files_of(alone.folder)


@pytest.mark.slow
@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize("reads_rows", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_image_does_not_depend_on_memory_or_threads(tmp_path: Path, reads_rows: bool) -> None:
    planes = some_image(THREE_UNITS)
    volume = VolumeInMemory(planes, reads_rows=reads_rows)
    images = []
    for number, (memory_bytes, jobs) in enumerate([(2**28, 1), (2**29, 2), (2**31, 8)]):
        image = image_of(tmp_path / str(number), volume)
        with scheduler_for([(volume, image)], own_resources(jobs, memory_bytes)) as workers:
            convert_volume(volume, image, workers, ProgressCallbacks(list[int]().append, list[int]().append))
        images.append(files_of(image.folder))
    assert images[0] == images[1] == images[2]
    assert set(volume.reads.values()) == {len(images)}


def test_one_slice_that_can_only_be_decoded_as_a_whole_is_enough(tmp_path: Path) -> None:
    planes = some_image((5, 130, 40))
    flavours = [Flavour(DEFLATE, rows_per_strip=4)] * 3 + [Flavour(DEFLATE), Flavour(DEFLATE, rows_per_strip=4)]
    for index, flavour in enumerate(flavours):
        write_tiff(tmp_path / f"source/Z{index + 1:04d}.tif", planes[index : index + 1], flavour)
    volume = found(inspect_slices((tmp_path / "source").iterdir()))
    assert not volume.read_cost.by_rows
    image = image_of(tmp_path, volume)
    assert convert(volume, image).sha256 == hashes(planes)
    np.testing.assert_array_equal(level(image, 0), planes)


@pytest.mark.usefixtures("small_units")
def test_a_packed_file_is_unpacked_once_for_all_blocks_of_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = some_image((128, 20, 10))
    path = tmp_path / "volume.nii.gz"
    nib.save(nib.Nifti1Image(planes.T, np.eye(4)), path)  # nibabel has no types for it
    volume = found(inspect_nifti(path))
    opened = count_unpackings(monkeypatch)
    image = image_of(tmp_path, volume)
    assert volume.shape[0] > image.block_shape[0]
    assert convert(volume, image).sha256 == hashes(planes)
    assert opened == [path]


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(1, 50))
def test_work_takes_no_less_than_its_share_and_no_less_than_its_longest_part(units: list[float], n: int) -> None:
    total, longest = sum(units), max(units)
    found = makespan(units, n)
    assert max(total / n, longest) <= found * (1 + 1e-9)
    assert found <= (total / n + longest) * (1 + 1e-9)
    assert makespan(units, 1) == pytest.approx(total)
