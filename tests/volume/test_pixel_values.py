"""The identity of planes, and the values that occur in them."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from catnip2bids.errors import SourceError
from catnip2bids.volume import inspect_stack, label_values, plane_sha256, value_range
from made_up import FLAVOURS, Array, found, read_all, some_image, some_labels, write_tiff

PLANES = arrays.arrays(
    st.sampled_from(["uint8", "uint16", "int16", "uint32", "float32", "float64"]),
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
)


def test_the_hash_is_that_of_the_little_endian_bytes_in_c_order() -> None:
    plane = np.array([[1, 2, 3], [256, 65535, 0]], "uint16")
    assert plane_sha256(plane) == hashlib.sha256(bytes.fromhex("0100 0200 0300 0001 ffff 0000")).hexdigest()


@given(PLANES)
def test_the_hash_depends_on_the_pixels_alone(plane: Array) -> None:
    expected = plane_sha256(plane)
    assert plane_sha256(plane.astype(plane.dtype.newbyteorder(">"))) == expected
    assert plane_sha256(np.asfortranarray(plane)) == expected
    assert plane_sha256(np.repeat(plane, 2, axis=1)[:, ::2]) == expected
    assert plane_sha256(plane[::-1][::-1]) == expected


@given(PLANES, st.data())
def test_one_changed_pixel_changes_the_hash(plane: Array, data: st.DataObject) -> None:
    y, x = (data.draw(st.integers(0, n - 1)) for n in plane.shape)
    changed = plane.copy()
    changed[y, x] = 1 if changed[y, x] == 0 else 0
    if changed.tobytes() != plane.tobytes():
        assert plane_sha256(changed) != plane_sha256(plane)


def test_equal_pixels_in_all_encodings_have_equal_hashes(tmp_path: Path) -> None:
    image = some_image((2, 13, 11))
    expected = [plane_sha256(plane) for plane in image]
    for name, flavour in FLAVOURS.items():
        planes = read_all(found(inspect_stack(write_tiff(tmp_path / f"{name}.tif", image, flavour))))
        assert [plane_sha256(plane) for plane in planes] == expected, name


@given(arrays.arrays(st.sampled_from(["uint8", "int16", "uint32"]), arrays.array_shapes(min_dims=3, max_dims=3)))
def test_the_range_of_whole_numbers_is_exact(volume: Array) -> None:
    assert value_range(volume) == (min(volume.ravel().tolist()), max(volume.ravel().tolist()))


@given(arrays.arrays("float32", arrays.array_shapes(min_dims=3, max_dims=3)))
def test_the_range_of_floats_is_that_of_the_finite_ones(volume: Array) -> None:
    finite = [value for value in volume.ravel().tolist() if math.isfinite(value)]
    assert value_range(volume) == ((min(finite), max(finite)) if finite else None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_part_in_the_range(value: float) -> None:
    assert value_range(np.full((2, 2, 2), value, "float32")) is None
    assert value_range(np.array([[[value, 2, -3.5]]], "float64")) == (-3.5, 2.0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64", "bool"])
def test_labels_are_the_values_that_occur(dtype: str) -> None:
    labels = some_labels((9, 14, 17), "uint8").astype(dtype)
    values = label_values(labels)
    assert values == set(labels.ravel().tolist())
    assert all(type(value) is int for value in values)


@given(
    arrays.arrays(
        st.sampled_from(["uint8", "uint16", "uint32"]),
        arrays.array_shapes(min_dims=3, max_dims=3, min_side=0),
        elements=st.integers(0, 3) | st.integers(200, 255),
    )
)
def test_no_label_is_missed_wherever_it_lies(labels: Array) -> None:
    assert label_values(labels) == set(labels.ravel().tolist())


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint16", 65535), ("uint32", 4294967295), ("uint32", 2**24 + 1), ("int16", -7)]
)
def test_large_and_negative_labels_of_whole_numbers_are_kept(dtype: str, value: int) -> None:
    assert label_values(np.array([[[0, value]]], dtype)) == {0, value}


@pytest.mark.parametrize(("dtype", "value"), [("float32", 2**24 - 1), ("float64", 2**24 - 1), ("float16", 2047)])
def test_whole_labels_stored_as_float_are_kept(dtype: npt.DTypeLike, value: int) -> None:
    assert label_values(np.array([[[0, value, value]]], dtype)) == {0, value}


@pytest.mark.parametrize("value", [0.5, -3.25, np.nan, np.inf, -np.inf])
def test_labels_that_are_no_whole_numbers_are_refused(value: float) -> None:
    with pytest.raises(SourceError, match="not whole numbers"):
        label_values(np.array([[[0, 672, value]]], "float32"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("float32", 2**24), ("float32", -(2**24)), ("float32", 6e8), ("float16", 2048), ("float64", 2**24 + 1)],
)
def test_labels_that_a_float_may_have_rounded_are_refused(dtype: npt.DTypeLike, value: float) -> None:
    with pytest.raises(SourceError, match="may have been rounded"):
        label_values(np.array([[[0, value]]], dtype))
