"""Planes of strips: any rows are read exactly wherever strips lie in the file, and a damaged strip is an error."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catnip2bids.errors import SourceError
from catnip2bids.volume import inspect_stack
from catnip2bids.volume.open_plane import StripPlane
from made_up import DEFLATE, Array, Flavour, found, some_image, some_labels, write_tiff

WHERE = "plane.tif: page 2: "
PIXELS = some_labels((1, 23, 31))[0]


@dataclass(frozen=True)
class Strips:
    """The strips of `PIXELS`."""

    rows: int
    deflated: bool

    def encoded(self) -> list[bytes]:
        """Return their bytes."""
        strips = [PIXELS[top : top + self.rows].tobytes() for top in range(0, len(PIXELS), self.rows)]
        return [zlib.compress(strip) for strip in strips] if self.deflated else strips

    def opened(self, path: Path, strips: Sequence[bytes], order: Iterable[int], gap: int = 0) -> StripPlane:
        """Write strips in some order, with a gap behind each, and open them as a plane."""
        offsets, file = [0] * len(strips), bytearray(b"header")
        for strip in order:
            offsets[strip] = len(file)
            file += strips[strip] + bytes(gap)
        path.write_bytes(file)
        counts = tuple(map(len, strips))
        return StripPlane(
            path, WHERE, None, tuple(offsets), counts, PIXELS.shape, PIXELS.dtype, self.rows, self.deflated
        )


@settings(max_examples=200, deadline=None)
@given(
    rows=st.sampled_from([1, 2, 4, 10, 23]),
    deflated=st.booleans(),
    cuts=st.sets(st.integers(1, len(PIXELS) - 1)),
    gap=st.sampled_from([0, 1, 1000]),
    data=st.data(),
)
def test_any_bands_of_strips_in_any_order_are_read(
    tmp_path_factory: pytest.TempPathFactory, rows: int, deflated: bool, cuts: set[int], gap: int, data: st.DataObject
) -> None:
    strips = Strips(rows, deflated)
    encoded = strips.encoded()
    order = data.draw(st.one_of(st.just(range(len(encoded))), st.permutations(range(len(encoded)))))
    plane = strips.opened(tmp_path_factory.getbasetemp() / "strips.tif", encoded, order, gap)
    band = np.empty_like(PIXELS)
    edges = [0, *sorted(cuts), len(PIXELS)]
    for start, stop in pairwise(edges):
        plane.read_rows(start, stop, band[: stop - start])
        np.testing.assert_array_equal(band[: stop - start], PIXELS[start:stop])


@pytest.mark.parametrize("deflated", [False, True])
def test_strips_that_share_bytes_are_read(tmp_path: Path, deflated: bool) -> None:
    row, strip = PIXELS[:1], Strips(1, deflated).encoded()[0]
    path = tmp_path / "shared.tif"
    path.write_bytes(strip)
    plane = StripPlane(path, WHERE, None, (0,) * 5, (len(strip),) * 5, (5, row.shape[1]), row.dtype, 1, deflated)
    out = np.empty((5, row.shape[1]), row.dtype)
    plane.read_rows(0, 5, out)
    np.testing.assert_array_equal(out, row.repeat(5, axis=0))


def test_uncompressed_strips_that_follow_one_another_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strips = Strips(1, deflated=False)
    plane = strips.opened(tmp_path / "rows.tif", strips.encoded(), range(len(PIXELS)))
    sizes = []
    fill = StripPlane._fill

    def counting(self: StripPlane, out: memoryview, offset: int) -> None:
        sizes.append(len(out))
        fill(self, out, offset)

    monkeypatch.setattr(StripPlane, "_fill", counting)
    plane.read_rows(3, 20, np.empty((17, PIXELS.shape[1]), PIXELS.dtype))
    assert sizes == [17 * PIXELS[0].nbytes]


@pytest.mark.parametrize(
    "row",
    [some_labels((1, 1, 300))[0], some_image((1, 1, 3000))[0] % 16, np.zeros((1, 300), "uint16")],
    ids=["few bytes", "many", "black"],
)
def test_each_flipped_bit_of_a_strip_is_found_or_changes_nothing(tmp_path: Path, row: Array) -> None:
    volume = np.concatenate([row, row[:, ::-1], row])[:, np.newaxis, :].repeat(3, axis=1)
    path = write_tiff(tmp_path / "flipped.tif", volume, Flavour(DEFLATE, rows_per_strip=1))
    whole, strip = path.read_bytes(), zlib.compress(volume[1, 1].tobytes())
    places = [match.start() for match in re.finditer(re.escape(strip), whole)]
    at = places[len(places) // 2]  # the second row of the second page
    stack, out, unnoticed, intact = found(inspect_stack(path)), np.empty_like(volume[1]), [], []
    trailer = range(8 * len(strip) - 32, 8 * len(strip))
    # flips near the end of the last block may make the strip longer: its first bytes are right, and it is damaged
    last = range(trailer[0] - 24, trailer[0])
    for bit in (*range(16), *range(16, last[0], 1 + len(strip) // 32), *last, *trailer):
        damaged = bytearray(whole)
        damaged[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with suppress(RuntimeError):  # with room for more, a strip that became longer is not intact
            decoded = imagecodecs.deflate_decode(bytes(damaged[at : at + len(strip)]), out=2 * volume[1, 1].nbytes)
            if bytes(decoded) == volume[1, 1].tobytes():
                intact.append(bit)
        try:
            with closing(stack.open_plane(1)) as plane:
                plane.read_rows(0, len(out), out)
            np.testing.assert_array_equal(out, volume[1])
            unnoticed.append(bit)
        except SourceError as error:
            assert re.search(r"flipped\.tif: page 2: .*strip 2", str(error))  # noqa: PT017 (an error is allowed)
    assert unnoticed == intact


@pytest.mark.parametrize(
    ("size", "message"), [(-1, "strip 3 is too short"), (1, "damaged TIFF (strip 3: ")], ids=["shorter", "longer"]
)
def test_a_strip_of_few_bytes_that_holds_too_little_or_too_much_is_refused(
    tmp_path: Path, size: int, message: str
) -> None:
    strips = Strips(1, deflated=True)
    encoded, row = strips.encoded(), PIXELS[2].tobytes()
    encoded[2] = zlib.compress((row + row)[: len(row) + size])
    plane = strips.opened(tmp_path / "strips.tif", encoded, range(len(encoded)))
    with pytest.raises(SourceError, match=re.escape(WHERE + message)):
        plane.read_rows(0, len(PIXELS), np.empty_like(PIXELS))


def test_a_strip_like_the_one_before_it_must_hold_as_many_rows(tmp_path: Path) -> None:
    rows, strip = PIXELS[:2], zlib.compress(PIXELS[:2].tobytes())
    path = tmp_path / "strips.tif"
    path.write_bytes(strip)
    shape = (5, rows.shape[1])  # the third strip has one row
    plane = StripPlane(path, WHERE, None, (0,) * 3, (len(strip),) * 3, shape, rows.dtype, 2, deflated=True)
    out = np.empty(shape, rows.dtype)
    plane.read_rows(0, 4, out[:4])
    np.testing.assert_array_equal(out[:4], np.concatenate([rows, rows]))
    with pytest.raises(SourceError, match=re.escape(f"{WHERE}damaged TIFF (strip 3: ")):
        plane.read_rows(0, 5, out)
