"""Find the slice number in the names of slice files.

Invariant: the order of planes is never guessed. Names differ in exactly one number, ignoring case, or a pattern
says which number counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from catnip2bids.errors import UsageError
from catnip2bids.formatting import SHOWN, format_count, format_list

_DIGITS = re.compile(r"([0-9]+)")
_AFTER_A_POINT = re.compile(r"[0-9][.,]#")
_MINUS = "\\-\u2212\u2013\ufe63\uff0d"  # hyphen, minus, dash, and their small and wide forms
# always a sign: after "=", in an exponent, before a unit, or written as a Unicode minus
_SIGNED = re.compile(
    rf"(?:=\s*|[0-9]e)[{_MINUS}]#|[\u2212\ufe63\uff0d]#|[{_MINUS}]#\s*(?:[uµμmn]m|micro(?:n|meter|metre)s?)(?![a-z])",
    re.IGNORECASE,
)
# a sign unless the numbers are padded: after a blank, punctuation or the name of an axis
_PERHAPS_SIGNED = re.compile(rf"(?:^|[\s_(\[{{:.,;{_MINUS}]|(?<![a-z])[xyz])[{_MINUS}]#", re.IGNORECASE)
_DECIMAL = re.compile(r"(?<![0-9])[0-9]+[.,]#|#[.,][0-9]+(?![0-9])")
_WILDCARD = re.compile(r"(#\.#|[#*?])")
_WHERE = "slice_number in the plan, or --slice-number of convert and compare"
_NUMBER = re.compile(rf"[{_MINUS}+]?[0-9]+(?:[.,][0-9]+)?")
_SIGN = re.compile(rf"[{_MINUS}+]?#")
_EXAMPLE = "write the file name with # for the slice number and * for other text that varies, such as 'brain_Z#_*.tif'"


@dataclass(frozen=True)
class NumberedSlices:
    """The slices of a folder by their numbers."""

    # files by slice number, ascending; several files if a number is used twice; decimals are counted
    # in units of the last decimal
    by_number: Mapping[int, list[Path]] = field(default_factory=dict)
    problem: str | None = None  # why the order is unknown; there are no numbers then
    not_matching: tuple[Path, ...] = ()  # files that a given pattern does not match


@dataclass(frozen=True)
class _Series:
    """Files whose names differ in one number only."""

    pattern: str  # with ``#`` for that number
    digits: Mapping[Path, str]  # of each name
    choices: tuple[str, ...]  # patterns to choose from

    def __len__(self) -> int:
        return len(self.digits)

    def __str__(self) -> str:
        return (
            next(iter(self.digits)).name if len(self) == 1 else f"{self.pattern!r} ({format_count(len(self), 'file')})"
        )


def number_slices(files: Iterable[Path], pattern: str | None = None) -> NumberedSlices:
    """Find the slice number in the name of each slice of a folder: the one that varies, or the one of a pattern."""
    slices = sorted(files)
    if not slices:
        return NumberedSlices()
    if pattern is not None:
        return _matched(slices, pattern)
    series = _series_in(slices)
    if len(series) > 1 or "#" not in series[0].pattern:
        return NumberedSlices(problem=_explained(slices, series))
    only, digits, doubt = series[0].pattern, series[0].digits, None
    if _AFTER_A_POINT.search(only) and len({len(number) for number in digits.values()}) > 1:
        doubt, other = "may be decimals, of which 1.10 comes before 1.9", _DECIMAL.sub("#.#", only)
    elif len(digits) > 1 and (_SIGNED.search(only) or (_PERHAPS_SIGNED.search(only) and not _are_padded(digits))):
        doubt, other = "may be negative, which reverses their order", _signed(only)
    if doubt is not None:
        what = f"numbers in names such as {slices[0].name} {doubt}"
        choice = f"if they are, choose '{other}', else '{only}' ({_WHERE})"
        return NumberedSlices(problem=f"{slices[0].parent}: {what}; {choice}")
    return NumberedSlices(_by_number(digits))


def _are_padded(digits: Mapping[Path, str]) -> bool:
    return len({len(number) for number in digits.values()}) == 1 and any(n.startswith("0") for n in digits.values())


def other_series(files: Iterable[Path], pattern: str) -> dict[str, int]:
    """Group the files that a pattern does not match by their names; return how many each group has."""
    others = sorted(number_slices(files, pattern).not_matching)
    return {
        found.pattern if len(found) > 1 else next(iter(found.digits)).name: len(found) for found in _series_in(others)
    }


def slice_pattern(text: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the pattern of the slice number in file names.

    The pattern is the file name with ``#`` for the slice number (``#.#`` where it is a decimal), ``*`` for any text and
    ``?`` for any character, or a regular expression with one group. Case does not matter. If it does not name one
    number, UsageError is raised.

    Both expressions that are returned find the number as group 1: the first lets ``*`` stand for as much text as
    possible, the second for as little. A name is ambiguous if they find different numbers in it.

    >>> slice_pattern("section#_label*.tif")[0].search("section07_label04.tif")[1]
    '07'
    """
    n_numbers = len(re.findall(r"#(?:\.#)?", text))
    if n_numbers > 1:
        raise UsageError(f"the slice number pattern {text!r} has more than one #; {_EXAMPLE}")
    if n_numbers == 1:
        return _wildcards(text, ".*"), _wildcards(text, ".*?")
    try:
        expression = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise UsageError(f"the slice number pattern {text!r} is not valid: {error}; {_EXAMPLE}") from error
    if expression.groups != 1:
        raise UsageError(f"the slice number pattern {text!r} does not say which number counts; {_EXAMPLE}")
    return expression, expression


def _wildcards(text: str, any_text: str) -> re.Pattern[str]:
    meanings = {
        "#": r"(?<![0-9])([0-9]+)(?![0-9])",
        "#.#": r"(?<![0-9])(?<![0-9][.,])([0-9]+(?:[.,][0-9]+)?)(?![0-9])",
        "*": any_text,
        "?": ".",
    }
    expression = "".join(meanings.get(piece, re.escape(piece)) for piece in _WILDCARD.split(_composed(text)))
    return re.compile(rf"\A(?:{expression})\Z", re.IGNORECASE | re.DOTALL)


def _composed(name: str) -> str:
    """Write accents as part of their letters (NFC); macOS writes them apart."""
    return unicodedata.normalize("NFC", name)


def _matched(slices: list[Path], text: str) -> NumberedSlices:
    """Find the slice number in names by a pattern."""
    greedy, lazy = slice_pattern(text)
    digits: dict[Path, str] = {}
    for file in slices:
        first, second = greedy.search(_composed(file.name)), lazy.search(_composed(file.name))
        if first is None or second is None:
            continue
        if first.span(1) != second.span(1) or not _NUMBER.fullmatch(first[1] or ""):
            return NumberedSlices(
                problem=f"{file}: the slice number pattern '{text}' does not tell which number counts; write more of "
                "the name in place of *, and # or one group for a number"
            )
        digits[file] = re.sub(f"[{_MINUS}]", "-", first[1]).replace(",", ".")
    if not digits:
        return NumberedSlices(
            problem=f"{slices[0].parent}: the slice number pattern {text!r} matches none of its files, such as "
            f"{slices[0].name}; {_EXAMPLE}"
        )
    return NumberedSlices(_by_number(digits), not_matching=tuple(file for file in slices if file not in digits))


def _by_number(digits: Mapping[Path, str]) -> dict[int, list[Path]]:
    n_decimals = max(len(number.partition(".")[2]) for number in digits.values())
    found: dict[int, list[Path]] = {}
    for file, number in digits.items():
        whole, _, decimals = number.partition(".")  # with the sign, if there is one
        found.setdefault(int(whole + decimals.ljust(n_decimals, "0")), []).append(file)
    return dict(sorted(found.items()))


def _series_in(slices: list[Path]) -> list[_Series]:
    """Group files whose names are the same but for their digits and the case of letters, and split these groups."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for file in slices:
        groups.setdefault(tuple(_DIGITS.split(_composed(file.name).casefold())[::2]), []).append(file)
    return [found for alike in groups.values() for found in _split(alike)]


def _split(alike: list[Path]) -> list[_Series]:
    """Split files with the same text in their names into series in each of which one number varies.

    The number that gives the fewest series is the slice number; a tie leaves it unknown.
    """
    numbers = {file: _DIGITS.split(file.name)[1::2] for file in alike}
    columns = [set(column) for column in zip(*numbers.values(), strict=True)]
    varying = [at for at, column in enumerate(columns) if len(column) > 1] or [0] * (len(columns) == 1)
    ways = sorted((_split_by(numbers, at) for at in varying), key=len)
    if ways and (len(ways) == 1 or len(ways[0]) < len(ways[1])):
        return ways[0]
    candidates = varying or range(len(columns))
    choices = [_pattern(alike[0], at, {*varying} - {at}) for at in candidates]
    return [_Series(_pattern(alike[0], None, {*varying}), dict.fromkeys(alike, ""), tuple(choices))]


def _split_by(numbers: Mapping[Path, list[str]], at: int) -> list[_Series]:
    """Group files into series in which only the number at one position varies."""
    found: dict[tuple[str, ...], dict[Path, str]] = {}
    for file, digits in numbers.items():
        found.setdefault((*digits[:at], *digits[at + 1 :]), {})[file] = digits[at]
    patterns = (_pattern(next(iter(digits)), at, set()) for digits in found.values())
    return [_Series(pattern, digits, (pattern,)) for pattern, digits in zip(patterns, found.values(), strict=True)]


def _pattern(file: Path, at: int | None, others: set[int]) -> str:
    """Return a name with ``#`` for one number and ``*`` for others; its own wildcard characters become ``?``."""
    parts = _DIGITS.split(re.sub(r"[#*]", "?", _composed(file.name)))
    for position in range(len(parts) // 2):
        if position == at:
            parts[2 * position + 1] = "#"
        elif position in others:
            parts[2 * position + 1] = "*"
    return "".join(parts)


def _signed(pattern: str) -> str:
    """Write a pattern with ``#`` or ``-#`` as a regular expression for whole numbers with their signs."""
    before, after = _SIGN.split(pattern)
    minus = pattern[len(before)].replace("+", "-").replace("#", "-")
    return f"^{re.escape(before)}([{minus}+]?[0-9]+){re.escape(after)}$"


def _explained(slices: list[Path], series: list[_Series]) -> str:
    """Return why the names leave the order of the slices open, and what to do."""
    folder, largest = slices[0].parent, sorted(series, key=len, reverse=True)
    patterns = [pattern for found in largest if len(found) > 1 or len(series) == 1 for pattern in found.choices]
    all_of_them = [_DECIMAL.sub("#.#", pattern) for pattern in patterns if _DECIMAL.search(pattern)]
    n_alike = Counter(_SIGN.sub("#", pattern) for pattern in patterns)  # but for their signs
    all_of_them += [_signed(pattern) for pattern in patterns if n_alike[_SIGN.sub("#", pattern)] > 1]
    offered = " or ".join(f"'{pattern}'" for pattern in [*all_of_them[:1], *patterns[:2]])
    remedy = f"choose {offered} ({_WHERE})"
    renumber = "number the files in the order of their planes, under names that are the same but for that number"
    if len(series) == 1:
        n_numbers = format_count(len(patterns), "number") if patterns else "no number"
        what = f"{n_numbers} could be the slice number in names such as {slices[0].name}"
        return f"{folder}: {what}; {remedy if patterns else renumber}"
    odd = [file.name for file in slices if file not in largest[0].digits]
    if len(odd) <= SHOWN and 2 * len(odd) < len(slices):
        what = f"{format_list(odd)} {'is' if len(odd) == 1 else 'are'} not named like the other slices, {largest[0]}"
    else:
        what = f"holds {len(series)} series of slices: {format_list([str(found) for found in largest])}"
    if not patterns:
        return f"{folder}: {what}; {renumber}"
    return f"{folder}: {what}; {remedy}, which leaves the other files out, or {renumber}"
