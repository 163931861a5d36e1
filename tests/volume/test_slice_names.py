"""Slice numbers: the true order of the planes, or a refusal that says how to choose; never another order."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catnip2bids.errors import UsageError
from catnip2bids.volume import number_slices, slice_pattern
from catnip2bids.volume.slice_names import NumberedSlices

FOLDER = Path("folder")


def numbered(names: list[str], pattern: str | None = None) -> NumberedSlices:
    return number_slices([FOLDER / name for name in names], pattern)


def order(found: NumberedSlices) -> list[str]:
    """Names in the order of their slice numbers."""
    assert found.problem is None, found.problem
    return [file.name for files in found.by_number.values() for file in files]


def refusal(found: NumberedSlices) -> str:
    assert found.problem is not None
    assert not found.by_number
    assert not any(word in found.problem for word in ("delete", "remove", "keep one"))
    return found.problem


TIMES = [datetime(2021, 10, 28, 12, 39, 30) + timedelta(seconds=second) for second in range(60)]
CHANNELS = [f"10-50-16_UltraII_C{c:02d}_Table Z{z:04d}.ome.tif" for c in range(2) for z in range(6)]
SECTIONS = [f"section{n:02d}_label{11 - n:02d}.tif" for n in range(1, 11)]
MINUSES = ["z\u22122.tif", "z\u22121.tif", "z0.tif"]
HUNDREDTHS = [f"brain_z{n / 100:.2f}mm.tif" for n in range(1, 101)]


@pytest.mark.parametrize(
    "names",
    [
        ["brain_0001_640nm.tif", "brain_0002_640nm.tif", "brain_0003_640nm.tif"],
        ["img_000000000_Default_000.tif", "img_000000001_Default_000.tif"],
        ["slice009_8bit.tif", "slice010_8bit.tif"],
        ["45670_0009_640nm_corrected.tif", "45670_0010_640nm_corrected.tif"],
        ["Z9.tif", "Z10.tif", "Z0011.tif", "Z00012.tif", "Z013.tif"],
        ["z000001.tif", "Z000002.TIF", "z000003.tif"],
        [f"brain_{time:%Y-%m-%d_%H-%M-%S}.tif" for time in TIMES[:30]],
        [f"brain_z0.{n:02d}mm.tif" for n in range(1, 100)],
        [f"z{n}.5um.tif" for n in range(1, 12)],
        ["Z000001_FRST_T001000.tif", "Z000002_FRST_T001000.tif"],
        ["a1.tif"],
        ["(1) brain [2]_Z1.tif", "(1) brain [2]_Z2.tif"],
        [f"{20210130 + day}.tif" for day in range(2)],
        ["sub-01_slice-0009.tif", "sub-01_slice-0010.tif"],
        ["brain-1.tif", "brain-2.tif", "brain-10.tif"],
        ["Z-000001.tif", "Z-000002.tif", "Z-000010.tif"],
        ["-001.tif", "-002.tif"],
        ["brain -01.tif", "brain -02.tif"],
        [unicodedata.normalize("NFC", "Zé_1.tif"), unicodedata.normalize("NFD", "Zé_2.tif")],
    ],
    ids=lambda names: names[0],
)
def test_the_one_number_that_varies_orders_the_slices_wherever_it_stands(names: list[str]) -> None:
    assert order(numbered(names)) == names
    assert order(numbered(names[::-1])) == names


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (SECTIONS, ["section#_label*.tif", "section*_label#.tif"]),
        ([f"brain_{time:%Y-%m-%d_%H-%M-%S}.tif" for time in TIMES], ["12-39-#.tif", "12-40-#.tif", "(30 files)"]),
        (HUNDREDTHS, ["brain_z1.00mm.tif", "brain_z#.#mm.tif"]),
        ([f"z{n / 2}.tif" for n in range(1, 9)], ["z#.#.tif"]),
        (["z0.25.tif", "z0.5.tif", "z0.75.tif"], ["z#.#.tif"]),
        (["z0,25.tif", "z0,5.tif", "z0,75.tif"], ["z#.#.tif"]),
        (CHANNELS, ["2 series", "C00_Table Z#.ome.tif' (6 files)", "C01_Table Z#.ome.tif' (6 files)"]),
        ([f"brain{'B' if n == 5 else 'A'}_{n:04d}.tif" for n in range(1, 11)], ["brainB_0005.tif", "brainA_#.tif"]),
        ([f"ch{561 if n < 6 else 640}_{n:04d}.tif" for n in range(1, 11)], ["ch561_#.tif", "ch640_#.tif"]),
        (["Z000001.tif", "Z000002.tif", "brain45671_Z000003.tif"], ["brain45671_Z000003.tif", "Z#.tif"]),
        (["Z000001.tif", "Z000002.tif", "Z000003.tiff"], ["Z000003.tiff"]),
        (["Z1.tif", "Z2.tif", "mean.tif"], ["mean.tif"]),
        (["mean.tif"], ["mean.tif"]),
        (["scan1_slice2.tif"], ["scan#_slice2.tif", "scan1_slice#.tif"]),
        (["z-1.tif", "z0.tif", "z1.tif"], ["z-1.tif"]),
        ([f"N4_z=-{n}um.tif" for n in range(1, 9)], ["N4_z=-#um.tif", r"'^N4_z=([-+]?[0-9]+)um\.tif$'"]),
        ([f"brain_-{n}.tif" for n in range(1, 4)], ["may be negative"]),
        ([f"z{n}.tif" for n in range(-3, 4)], [r"'^z([-+]?[0-9]+)\.tif$'"]),
        ([f"z{n:+}.tif" for n in range(-3, 4)], [r"'^z([-+]?[0-9]+)\.tif$'"]),
        ([f"z=\u2212{n:02}.tif" for n in range(1, 9)], ["^z=([\u2212+]?[0-9]+)"]),
        ([f"brain--{n}.tif" for n in range(1, 4)], ["may be negative"]),
        ([f"depth-{n:02}micron.tif" for n in range(1, 4)], ["may be negative"]),
        ([f"z=1e-{n}.tif" for n in range(1, 4)], ["may be negative"]),
        (["z0.5mm.tif", "z1mm.tif", "z1.5mm.tif", "z2mm.tif"], ["z#.#mm.tif"]),
        (["s1_ch1.tif", "s2_ch01.tif"], ["s#_ch*.tif"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_names_that_do_not_tell_the_order_are_refused_with_patterns_to_choose_from(
    names: list[str], named: list[str]
) -> None:
    told = refusal(numbered(names))
    assert all(text in told for text in named), told


@pytest.mark.parametrize(
    ("names", "pattern", "expected"),
    [
        (SECTIONS, "section#_label*.tif", SECTIONS),
        (SECTIONS, "*label#.tif", SECTIONS[::-1]),
        (SECTIONS, r"section(\d+)", SECTIONS),
        (SECTIONS, r"(?P<plane>\d+)\.tif$", SECTIONS[::-1]),
        (HUNDREDTHS, "brain_z#.#mm.tif", HUNDREDTHS),
        (["z0.25.tif", "z0.5.tif", "z0.75.tif"], "z#.#.tif", ["z0.25.tif", "z0.5.tif", "z0.75.tif"]),
        (["v1.9.tif", "v1.10.tif"], "v1.#.tif", ["v1.9.tif", "v1.10.tif"]),
        (["v1.9.tif", "v1.10.tif"], "v#.#.tif", ["v1.10.tif", "v1.9.tif"]),
        (["z0,5.tif", "z1,0.tif", "z1,5.tif"], "z#.#.tif", ["z0,5.tif", "z1,0.tif", "z1,5.tif"]),
        (CHANNELS, "*_c01_*Z#.ome.tif", CHANNELS[6:]),
        (["z0.5mm.tif", "z1mm.tif", "z1.5mm.tif"], "z#.#mm.tif", ["z0.5mm.tif", "z1mm.tif", "z1.5mm.tif"]),
        (["z-2.tif", "z-1.tif", "z0.tif"], r"^z([-+]?[0-9]+)\.tif$", ["z-2.tif", "z-1.tif", "z0.tif"]),
        (
            ["z\u22122.tif", "z\u22121.tif", "z0.tif"],
            "^z([\u2212+]?[0-9]+)",
            ["z\u22122.tif", "z\u22121.tif", "z0.tif"],
        ),
        (["z-2um.tif", "z-1um.tif"], "z-#um.tif", ["z-1um.tif", "z-2um.tif"]),
    ],
)
def test_a_pattern_chooses_the_number_that_counts(names: list[str], pattern: str, expected: list[str]) -> None:
    found = numbered(names, pattern)
    assert order(found) == expected
    assert sorted(file.name for file in found.not_matching) == sorted(set(names) - set(expected))


def test_decimals_are_numbered_in_units_of_the_last_one() -> None:
    assert list(numbered(["z0.5.tif", "z0.75.tif", "z1.0.tif"], "z#.#.tif").by_number) == [50, 75, 100]


@pytest.mark.parametrize("pattern", ["*#*", "other_#.tif", r"section\d+_(label)"])
def test_a_pattern_that_does_not_tell_one_number_is_refused(pattern: str) -> None:
    assert pattern in refusal(numbered(SECTIONS, pattern)).replace("\\\\", "\\")


@pytest.mark.parametrize("pattern", ["", "Z*.tif", "#_#.tif", "(", r"(\d)(\d)"])
def test_a_pattern_has_to_name_one_number(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        slice_pattern(pattern)


def test_each_pattern_that_a_refusal_offers_is_one_that_works() -> None:
    for names in (SECTIONS, CHANNELS, HUNDREDTHS, ["a #1_2.tif", "a #2_1.tif"]):
        offered = refusal(numbered(names)).split("choose ")[1].split("'")[1::2]
        assert offered
        for pattern in offered:
            assert len(order(numbered(names, pattern))) + len(numbered(names, pattern).not_matching) == len(names)


TEXT = st.text("abZz_- .()#", max_size=6)
CONSTANT = st.integers(0, 999).map(str) | st.sampled_from(["2021-10-28", "12.5", "640nm", "007"])
WRITTEN: dict[str, Callable[[int], str]] = {
    "plain": lambda n: str(n),
    "padded": lambda n: f"{n:04d}",
    "padded too little": lambda n: f"{n:02d}",
    "hundredths": lambda n: f"{n / 100:.2f}",
    "shortest decimal": lambda n: f"{n / 100:g}",
    "time": lambda n: f"{datetime(2021, 12, 31, 23, 59, 50) + timedelta(seconds=n):%H-%M-%S}",
    "date": lambda n: f"{datetime(2021, 12, 25) + timedelta(days=n):%Y-%m-%d}",
    "day first": lambda n: f"{datetime(2021, 12, 25) + timedelta(days=n):%d%m%Y}",
}


@st.composite
def series_of_names(draw: st.DrawFn) -> list[str]:
    """Names of slices in their true order: the number in some notation, and what else a program adds to names."""
    start, step, n = draw(st.integers(0, 120)), draw(st.sampled_from([1, 1, 2, 7, 40])), draw(st.integers(3, 30))
    write = WRITTEN[draw(st.sampled_from(sorted(WRITTEN)))]
    before, between, after = draw(TEXT), draw(TEXT), draw(TEXT)
    constant, counter = draw(CONSTANT), draw(st.sampled_from(["none", "none", "down", "up", "channel"]))
    counters: dict[str, Iterable[object]] = {
        "none": itertools.repeat(""),
        "down": range(n, 0, -1),
        "up": range(n),
        "channel": itertools.cycle("01"),
    }
    names = []
    for at, count in zip(range(n), counters[counter], strict=False):
        number = write(start + at * step)
        parts = [before, constant, between or "_", number, after, f"_c{count}" if counter != "none" else "", ".tif"]
        names.append("".join(parts))
    return names


@settings(max_examples=300, deadline=None)
@given(names=series_of_names(), data=st.data())
def test_names_give_the_true_order_or_are_refused(names: list[str], data: st.DataObject) -> None:
    found = numbered(data.draw(st.permutations(names)))
    if found.problem is None and all(len(files) == 1 for files in found.by_number.values()):
        numbers = list(found.by_number)
        steps = {after - before for before, after in itertools.pairwise(numbers)}
        if len(steps) == 1:  # anything else is a gap, which the inspection refuses
            assert order(found) == names
