"""A volume as a folder of 2D TIFF slices, one file per plane.

Invariant: planes are ordered by slice number, never by name or position in a listing; a series with a gap,
with a number used twice, or with slices of different kinds is never handed out as a volume.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from xml.etree.ElementTree import ParseError

from catnip2bids.documents import read_xml
from catnip2bids.errors import SourceError
from catnip2bids.formatting import SHOWN, format_count, format_list
from catnip2bids.volume.open_plane import OpenPlane
from catnip2bids.volume.pixel_meaning import compare_meanings
from catnip2bids.volume.slice_names import number_slices
from catnip2bids.volume.tiff_encoding import EncodedPlane
from catnip2bids.volume.tiff_file import open_tiff, saved_in_python
from catnip2bids.volume.tiff_page import PageLayout, TiffPlanes, agreed, check_planes, open_page, read_encoded
from catnip2bids.volume.volume import Inspection, PlaneSource, size_on_disk

_EXAMPLES = 3
_HEADER_READERS = 8  # headers are small and far apart: the file system's latency is what counts


@dataclass(frozen=True)
class SliceSeries(TiffPlanes):
    """A volume stored as one TIFF file per plane, in the order of its slice numbers."""

    slices: tuple[Path, ...]
    n_in_folder: int  # with those that a pattern left out

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (z, y, x)."""
        return (len(self.slices), *self.layout.shape)

    @property
    def files(self) -> tuple[Path, ...]:
        """All slice files."""
        return self.slices

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the slice file of a plane."""
        return PlaneSource(self.slices[plane], 0)

    def read_encoded(self, plane: int) -> EncodedPlane:
        """Find the segments of a plane without decoding them; only where the planes agree in their encoding."""
        return read_encoded(self.slices[plane], 0, self.layout)

    def open_plane(self, plane: int) -> OpenPlane:
        """Open the slice file of a plane."""
        return open_page(self.slices[plane], 0, self.layout)


def inspect_slices(files: Iterable[Path], slice_number: str | None = None) -> Inspection:
    """Inspect a slice folder, whose files come in any order.

    `slice_number` is a pattern for file names, see `slice_pattern`; by default the one number that varies counts. Files
    that the pattern does not match are left out, with a warning.
    """
    slices = tuple(sorted(files))
    numbered = number_slices(slices, slice_number)
    by_number = numbered.by_number
    problems = [numbered.problem] if numbered.problem else _duplicates(by_number) + _gaps(by_number)
    problems += _other_order(by_number) if not problems else []
    not_matching = set(numbered.not_matching)
    layouts, unlike, warnings = _layouts(tuple(file for file in slices if file not in not_matching))
    problems += unlike
    warnings = _unusual_numbers(by_number) + warnings
    if numbered.not_matching:
        names = format_list([file.name for file in numbered.not_matching])
        n_files = format_count(len(numbered.not_matching), "file")
        warnings.append(
            f"{slices[0].parent}: {n_files} left out, which the slice number pattern {slice_number!r} does not match: "
            f"{names}"
        )
    volume = None
    if layouts and not problems:
        volume = SliceSeries(agreed(layouts.values()), tuple(twins[0] for twins in by_number.values()), len(slices))
    n_bytes = sum(size_on_disk(file) for file in slices)
    return Inspection(volume, len(slices), n_bytes, tuple(problems), tuple(warnings))


def _duplicates(by_number: Mapping[int, list[Path]]) -> list[str]:
    return [
        f"{files[0].parent}: slice number {number} is there {len(files)} times "
        f"({format_list([file.name for file in files])}); leave one file to each number, or choose a pattern that "
        "matches the right one (slice_number in the plan, or --slice-number of convert and compare)"
        for number, files in by_number.items()
        if len(files) > 1
    ]


def _other_order(by_number: Mapping[int, list[Path]]) -> list[str]:
    """Return a problem if the OME-XML of the first slice orders the files differently than their numbers."""
    files = {twins[0].name: twins[0] for twins in by_number.values()}
    first = next(iter(files.values()), None)
    try:
        if first is None:
            return []
        with open_tiff(first) as tiff:
            stated = _order_of_files(tiff.ome_metadata) if tiff.ome_metadata else []
    except (SourceError, ParseError, ValueError):
        return []  # which is said of the file itself, or changes nothing
    named = [name for name in stated if name in files]
    if named == [name for name in files if name in set(named)]:
        return []
    what = f"the OME-XML in {first.name} puts its planes in another order than the numbers in the names"
    return [f"{first.parent}: {what}; save the slices again in the order that is right, without OME-XML"]


def _order_of_files(xml: str) -> list[str]:
    """Return the names of the files of an OME-TIFF in the order of their planes; none where one file holds all."""
    planes = [
        (int(block.get("FirstZ", "0")), str(element.get("FileName")))
        for block in read_xml(xml).iter()
        if block.tag.endswith("}TiffData")
        for element in block
        if element.tag.endswith("}UUID") and element.get("FileName")
    ]
    return [name for _, name in sorted(planes)] if len({name for _, name in planes}) > 1 else []


def _gaps(by_number: Mapping[int, list[Path]]) -> list[str]:
    """Return a problem that counts missing numbers and names only the first ones: gaps between dates are huge."""
    numbers, step = list(by_number), _step(by_number)
    gaps = [(before + step, after) for before, after in pairwise(numbers) if after - before != step]
    if not gaps:
        return []
    n_missing = sum((after - first) // step for first, after in gaps)
    some = islice(chain.from_iterable(range(first, after, step) for first, after in gaps), SHOWN)
    missing = format_list([str(number) for number in some], n_all=n_missing)
    return [
        f"{by_number[numbers[0]][0].parent}: {format_count(n_missing, 'slice')} missing between number "
        f"{numbers[0]} and {numbers[-1]} ({missing}); copy what is missing from the original, or, if these are dates, "
        "times or positions, number the files in the order of their planes"
    ]


def _step(by_number: Mapping[int, list[Path]]) -> int:
    """Return the step between slice numbers; 1 for only two, whose distance may be a gap."""
    steps = [after - before for before, after in pairwise(by_number)]
    return math.gcd(*steps) if len(steps) > 1 else 1


def _unusual_numbers(by_number: Mapping[int, list[Path]]) -> list[str]:
    if not by_number:
        return []
    first, step = next(iter(by_number)), _step(by_number)
    folder = by_number[first][0].parent
    warnings = []
    if step > 1:
        warnings.append(f"{folder}: slice numbers rise in steps of {step}; are slices in between missing?")
    if first not in (0, 1, step):
        warnings.append(f"{folder}: slice numbers begin with {first}, not with 1; are the first ones missing?")
    return warnings


def _layouts(slices: tuple[Path, ...]) -> tuple[dict[Path, PageLayout], list[str], list[str]]:
    """Read the header of every slice; returns the layouts, problems and warnings."""
    if not slices:
        return {}, [], []
    layouts: dict[Path, PageLayout] = {}
    wrong: dict[Path, str] = {}
    with_copies = []
    with ThreadPoolExecutor(_HEADER_READERS) as readers:
        for file, found in zip(slices, readers.map(_slice_layout, slices), strict=True):
            if isinstance(found, str):
                wrong[file] = found
                continue
            layouts[file], n_copies = found
            if n_copies:
                with_copies.append(file.name)
    folder = slices[0].parent
    problems, warnings = compare_meanings(
        str(folder), "slice", {file.name: layout.meaning for file, layout in layouts.items()}
    )
    if with_copies:
        hold = f"{format_count(len(with_copies), 'slice')} also {'holds' if len(with_copies) == 1 else 'hold'}"
        warnings.append(f"{folder}: {hold} smaller copies of the plane, which are left out: {format_list(with_copies)}")
    return layouts, _grouped(folder, wrong | _odd_slices(layouts)) + problems, warnings


def _slice_layout(file: Path) -> tuple[PageLayout, int] | str:
    """Return the layout of a slice and the number of smaller copies in the file, or what is wrong."""
    try:
        with open_tiff(file) as tiff:
            planes = check_planes(tiff)
            pages = list(planes.layouts)
            if pages != [0]:
                which = (
                    f"{len(pages)} pages, a slice has one" if len(pages) > 1 else f"its slice in page {pages[0] + 1}"
                )
                read = f"tifffile.imread(OLD, key={pages[0]})"
                raise SourceError(f"{file}: has {which}; to save one page alone: {saved_in_python(read)}")
            return planes.layouts[0], planes.n_copies
    except SourceError as error:
        return str(error).partition(f"{file.name}: ")[2] or str(error)


def _odd_slices(layouts: Mapping[Path, PageLayout]) -> dict[Path, str]:
    if not layouts:
        return {}
    usual = Counter(layouts.values()).most_common(1)[0][0]
    return {
        file: f"is {layout}, most slices of the folder are {usual}; replace it by the original"
        for file, layout in layouts.items()
        if layout != usual
    }


def _grouped(folder: Path, wrong: Mapping[Path, str]) -> list[str]:
    """Describe the problem of each slice; one that many share is described once."""
    files: dict[str, list[Path]] = defaultdict(list)
    for file, text in wrong.items():
        files[text].append(file)
    said = [f"{_named(folder, some)}: {text}" for text, some in files.items()]
    if len(said) <= SHOWN:
        return said
    others = list(chain.from_iterable(list(files.values())[SHOWN:]))
    return [*said[:SHOWN], f"{_named(folder, others)}: cannot be used either, for other reasons; see to these first"]


def _named(folder: Path, files: Sequence[Path]) -> str:
    if len(files) == 1:
        return str(files[0])
    names = ", ".join(file.name for file in files[:_EXAMPLES])
    return f"{folder}: each of {len(files)} slices ({'e.g. ' if len(files) > _EXAMPLES else ''}{names})"
