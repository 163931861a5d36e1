"""Arrays as pictures: what they hold when another library reads them."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catnip2bids.reporting.views import ScaleBar, gray_picture, heat_picture, map_picture


def pixels(address: str) -> npt.NDArray[np.uint8]:
    """Read the picture that an address holds, with Pillow."""
    kind, _, data = address.partition(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{str(picture.format).lower()}"
    return np.asarray(picture.convert("RGB"))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_maps_keep_every_value(seed: int) -> None:
    random = np.random.default_rng(seed)
    regions = random.integers(0, 2**16, (5, 7)).astype(np.uint16)
    cells = random.integers(0, 2**8, (5, 7)).astype(np.uint8)
    seen = pixels(map_picture(regions, cells)).astype(int)
    assert np.array_equal(seen[..., 0] + 256 * seen[..., 1], regions)
    assert np.array_equal(seen[..., 2], cells)


def test_gray_runs_from_black_to_white() -> None:
    values = np.repeat(np.array([[0, 100, 150, 200, 900]], np.uint16), 16, axis=0).repeat(16, axis=1)
    seen = pixels(gray_picture(values, (100.0, 200.0)))[8, 8::16].astype(int)
    assert np.abs(seen - np.array([[0], [0], [128], [255], [255]])).max() < 12


def test_what_is_no_number_is_black() -> None:
    values = np.full((16, 16), np.nan, np.float32)
    assert pixels(gray_picture(values, (0.0, 1.0))).max() == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_range_that_a_type_has_is_shown(dtype: str) -> None:
    smallest, largest = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    values = np.array([[smallest, 0, largest]], dtype).repeat(16, axis=0).repeat(16, axis=1)
    seen = pixels(gray_picture(values, (smallest, largest)))[8, 8::16].astype(int)
    assert np.abs(seen - np.array([[0], [128], [255]])).max() < 12


def test_heat_runs_from_black_over_red_and_yellow_to_white() -> None:
    values = np.repeat(np.array([[0, 1, 2, 3]], np.float32), 16, axis=0).repeat(16, axis=1)
    seen = pixels(heat_picture(values, 3.0))[8, 8::16].astype(int)
    assert np.abs(seen - np.array([[0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 255]])).max() < 40


@pytest.mark.parametrize(
    ("width_um", "text", "percent"),
    [(300.0, "100 um", 100 / 3), (1006.4, "200 um", 19.87), (10130.0, "2 mm", 19.74), (2.9, "0.5 um", 17.24)],
)
def test_scale_bars_have_round_lengths(width_um: float, text: str, percent: float) -> None:
    bar = ScaleBar.of_width(width_um)
    assert bar.text == text
    assert bar.percent == pytest.approx(percent, rel=1e-3)


def test_what_was_set_to_0_in_a_heat_map_is_blue() -> None:
    values = np.zeros((32, 32), np.float32)
    excluded = np.zeros(values.shape, bool)
    excluded[:, 16:] = True
    seen = pixels(heat_picture(values, 1.0, excluded)).astype(int)
    assert seen[16, 8].max() < 12
    red, green, blue = seen[16, 24].tolist()
    assert blue > green > red > 20
