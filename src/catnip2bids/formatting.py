"""Format numbers, lists and sizes for messages, results and reports.

Invariant: texts stay short however many items there are, and count what they leave out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final
from unicodedata import normalize

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters and surrogate escapes, which XML forbids (XML 1.0, section 2.2)."""
SHOWN: Final = 8
"""Items of a list that a message names."""
_MOST_PROBLEMS = 10


def as_label(text: str) -> str:
    """Return a text as a BIDS label: its letters and digits, without accents, and no other characters."""
    return re.sub("[^0-9A-Za-z]", "", normalize("NFD", text))


def format_count(n: int, noun: str) -> str:
    """Write a number with its noun: ``1 image``, ``2,146 planes``, ``0 entries``."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{n:,} {noun}s"


def format_list(items: Sequence[str], n_all: int | None = None) -> str:
    """Name the first few items, and count the rest of `n_all` (default: of `items`)."""
    n_more = (len(items) if n_all is None else n_all) - SHOWN
    shown = ", ".join(items[:SHOWN])
    return shown if n_more <= 0 else f"{shown} and {n_more:,} more"


def first_problems(problems: Sequence[str]) -> list[str]:
    """Return the first ten problems, and how many more there are."""
    n_more = len(problems) - _MOST_PROBLEMS
    return [*problems[:_MOST_PROBLEMS], *([f"and {n_more:,} more"] if n_more > 0 else [])]


def format_choices(choices: Sequence[str]) -> str:
    """Write choices: ``convert, copy or exclude``."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def format_range(first: int, last: int) -> str:
    """Write a range of numbers: ``7``, ``7 to 9``."""
    return str(first) if first == last else f"{first} to {last}"


def format_ranges(numbers: Iterable[int]) -> str:
    """Write one or more numbers as ranges: ``3, 7 to 9``."""
    ordered = sorted(set(numbers))
    begins = [n for before, n in pairwise([ordered[0] - 2, *ordered]) if n != before + 1]
    ends = [n for n, after in pairwise([*ordered, ordered[-1] + 2]) if after != n + 1]
    shown = ", ".join(format_range(a, b) for a, b in zip(begins[:SHOWN], ends, strict=False))
    return shown if len(begins) <= SHOWN else f"{shown}, ... ({len(ordered):,} in all)"


def format_shape(shape: Sequence[int]) -> str:
    """Write a shape (z, y, x) or (y, x) with X first: ``36 x 40 x 11``."""
    return " x ".join(str(n) for n in reversed(shape))


def plane_number(plane: int) -> int:
    """Return the number of a plane for people, counted from 1 as in names of files."""
    return plane + 1


def format_planes(planes: Iterable[int]) -> str:
    """Name one or more planes, given by their array indices: ``plane 5``, ``planes 4, 8 to 10``."""
    numbers = [plane_number(plane) for plane in planes]
    return f"plane{'s' if len(numbers) > 1 else ''} {format_ranges(numbers)}"


def format_duration(seconds: float) -> str:
    """Write a duration, rounded up: ``2 seconds``, ``3 minutes``, ``2.5 hours``, ``4.0 days``."""
    if seconds <= 120:
        return format_count(math.ceil(seconds), "second")
    if seconds <= 7200:
        return format_count(math.ceil(seconds / 60), "minute")
    hours = math.ceil(seconds / 360) / 10
    return f"{hours:.1f} hours" if hours <= 48 else f"{math.ceil(hours / 2.4) / 10:.1f} days"


def format_bytes(n_bytes: int) -> str:
    """Write a size: ``2.0 GiB``."""
    return _format_bytes(n_bytes, round)


def format_bytes_up(n_bytes: int) -> str:
    """Write a required size, rounded up: a user who follows the message must not be refused again."""
    return _format_bytes(n_bytes, math.ceil)


def _format_bytes(n_bytes: int, rounded: Callable[[float], int]) -> str:
    power = min(int(math.log(max(n_bytes, 1), 1024)), 4)
    n_decimals = 0 if power < 3 else 1
    number = rounded(n_bytes / 1024**power * 10**n_decimals) / 10**n_decimals
    return f"{number:.{n_decimals}f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def in_xml(text: str) -> str:
    """Replace the characters that XML forbids."""
    return _NOT_IN_XML.sub("\ufffd", text)


def format_number(value: float) -> str:
    """Write a measured number with three digits, or all before the point: ``1,234``, ``81.5``, ``0.0025``.

    The report's cohort.js does the same, also with halves: they are rounded to even digits.
    """
    value = float(f"{value:.8g}")
    if abs(value) < 1:
        return f"{float(f'{value:.3g}'):g}"
    text = f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
