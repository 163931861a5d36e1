from collections.abc import Iterable

import pytest

from catnip2bids.engine import parse_bytes
from catnip2bids.formatting import (
    first_problems,
    format_bytes,
    format_bytes_up,
    format_count,
    format_duration,
    format_list,
    format_planes,
    format_range,
    format_ranges,
    format_shape,
    in_xml,
)

MIB = 2**20


@pytest.mark.parametrize(
    ("n", "thing", "text"),
    [(1, "copy", "1 copy"), (0, "copy", "0 copies"), (2, "image", "2 images"), (1200, "plane", "1,200 planes")],
)
def test_things_are_counted(n: int, thing: str, text: str) -> None:
    assert format_count(n, thing) == text


def test_problems_after_the_tenth_are_counted() -> None:
    assert first_problems(["a"] * 10) == ["a"] * 10
    assert first_problems([*["a"] * 10, "b", "c"]) == [*["a"] * 10, "and 2 more"]


@pytest.mark.parametrize(
    ("n_named", "n_all", "text"),
    [
        (0, None, ""),
        (2, None, "0, 1"),
        (8, None, "0, 1, 2, 3, 4, 5, 6, 7"),
        (10, None, "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
        (8, 2000, "0, 1, 2, 3, 4, 5, 6, 7 and 1,992 more"),
    ],
)
def test_long_lists_are_cut(n_named: int, n_all: int | None, text: str) -> None:
    assert format_list([str(n) for n in range(n_named)], n_all) == text


def test_a_range_of_one_is_a_number() -> None:
    assert (format_range(7, 7), format_range(7, 9)) == ("7", "7 to 9")


@pytest.mark.parametrize(
    ("numbers", "text"), [([3], "3"), ([3, 4, 5], "3 to 5"), ([9, 1, 2, 2], "1 to 2, 9"), ([0, 2, 4], "0, 2, 4")]
)
def test_numbers_are_written_as_ranges(numbers: list[int], text: str) -> None:
    assert format_ranges(numbers) == text


def test_many_ranges_are_cut() -> None:
    assert format_ranges(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, ... (20 in all)"


@pytest.mark.parametrize(
    ("planes", "text"), [([0], "plane 1"), (range(3), "planes 1 to 3"), ([3, 7, 8], "planes 4, 8 to 9")]
)
def test_people_count_planes_from_1(planes: Iterable[int], text: str) -> None:
    assert format_planes(planes) == text


@pytest.mark.parametrize(("shape", "text"), [((11, 40, 36), "36 x 40 x 11"), ((40, 36), "36 x 40")])
def test_shapes_are_written_x_first(shape: tuple[int, ...], text: str) -> None:
    assert format_shape(shape) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(128 * MIB, "128 MiB"), (128 * MIB + 1, "129 MiB"), (2**30 + 1, "1.1 GiB")],
)
def test_memory_that_is_asked_for_is_enough(n_bytes: int, text: str) -> None:
    assert format_bytes_up(n_bytes) == text
    assert parse_bytes(text) >= n_bytes


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (512 * MIB, "512 MiB"), (2**31, "2.0 GiB")]
)
def test_sizes_are_shown(n_bytes: int, text: str) -> None:
    assert format_bytes(n_bytes) == text
    if n_bytes:
        assert parse_bytes(text) == n_bytes  # what is shown can be given with --memory


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 second"),
        (90, "90 seconds"),
        (121, "3 minutes"),
        (7200, "120 minutes"),
        (9000, "2.5 hours"),
        (2 * 86400 + 1, "2.1 days"),
    ],
)
def test_durations_are_rounded_up(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_characters_that_xml_does_not_have_are_replaced() -> None:
    assert in_xml("a\0b\udc80c") == "a\ufffdb\ufffdc"
