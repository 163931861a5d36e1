"""Parents of atlas regions, as far as CATNIP's tables tell them.

CATNIP's atlases v1 to v4 have the columns ``parent_id`` and ``parent_acronym``, later ones have no parents. Most
parents are not regions of the table (132 of 147 in v1). They become groups: rows of their own, of which only the id
and the abbreviation are known, and no parent. In v4 the ids of the right hemisphere are 20,000 above those of the left
one, but its parent ids are those of the left one; here, the parent of a right region is the one of its own side.

Invariant: regions and groups form trees, whatever the table says. Nothing is refused: a region whose parent cannot be
used has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from catnip2bids.catnip.atlas import Region
from catnip2bids.delimited import exact_integer, has_no_value
from catnip2bids.formatting import format_count, format_list
from catnip2bids.region_hierarchy import without_circles

_PARENT_IDS = ("parent_id", "parent_structure_id")
"""The column in CATNIP's tables, and in those of the Allen Institute."""
_PARENT_ABBREVIATION = "parent_acronym"
_LEFT, _RIGHT = "Left_", "Right_"
_RIGHT_OFFSET = 20_000


@dataclass(frozen=True)
class RegionTree:
    """The regions of an atlas and their parents."""

    regions: tuple[Region, ...]  # with groups, which have no colour, by ascending index
    parents: dict[int, int]  # the index of the parent of each region that has one
    problems: tuple[str, ...]  # parents that are left out, and why


def region_tree(regions: Iterable[Region]) -> RegionTree:
    """Find the parents of regions, and make a group of each parent that is not one of them."""
    listed = {region.index: region for region in sorted(regions, key=lambda region: region.index)}
    groups: dict[int, Region] = {}
    parents: dict[int, int] = {}
    unreadable: list[Region] = []
    for region in listed.values():
        side = _side(region, listed)
        try:
            parent = _parent_id(region, side, listed)
        except ValueError:
            unreadable.append(region)
            continue
        if parent is None:
            continue
        parents[region.index] = parent
        if parent not in listed and (parent not in groups or not groups[parent].abbreviation):
            abbreviation = _extra(region, (_PARENT_ABBREVIATION,))
            groups[parent] = Region(parent, f"{side}{abbreviation}" if abbreviation else "", abbreviation)
    in_trees = without_circles(parents)
    on_circles = parents.keys() - in_trees.keys()
    problems = [
        *_problem(unreadable, "a parent that is not the id of a region"),
        *_problem([listed[index] for index in sorted(on_circles)], "themselves as parent or ancestor"),
    ]
    by_index = sorted([*listed.values(), *groups.values()], key=lambda region: region.index)
    return RegionTree(tuple(by_index), in_trees, tuple(problems))


def _problem(regions: Sequence[Region], what: str) -> list[str]:
    """Say which regions have a parent that cannot be used."""
    if not regions:
        return []
    named = format_list([f"{region.index} {region.name}" for region in regions])
    return [f"{format_count(len(regions), 'region')} with {what}: {named}; packaged without a parent"]


def _side(region: Region, listed: Mapping[int, Region]) -> str:
    """Return the prefix of the side of a region, if the atlas has it on both sides; otherwise an empty text."""
    for side, other, offset in ((_LEFT, _RIGHT, _RIGHT_OFFSET), (_RIGHT, _LEFT, -_RIGHT_OFFSET)):
        twin = listed.get(region.index + offset)
        if region.name.startswith(side) and twin and twin.name == other + region.name.removeprefix(side):
            return side
    return ""


def _parent_id(region: Region, side: str, listed: Mapping[int, Region]) -> int | None:
    """Return the id of the parent on the side of the region; raise ValueError if it is not a whole number."""
    text = _extra(region, _PARENT_IDS)
    if text is None or has_no_value(text) or (parent := exact_integer(text)) <= 0:  # 0 is the background
        return None
    is_left = parent <= _RIGHT_OFFSET and (parent not in listed or _side(listed[parent], listed) == _LEFT)
    return parent + _RIGHT_OFFSET if side == _RIGHT and is_left else parent


def _extra(region: Region, columns: Sequence[str]) -> str | None:
    """Return the value of the first of some columns that the table has; None if it has none."""
    values = {column.casefold(): text for column, text in region.extra.items()}
    return next((values[column] for column in columns if column in values), None)
