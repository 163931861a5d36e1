"""Parents of regions: those of CATNIP's tables, on both sides, and those that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.catnip.atlas import Region, read_atlas_table
from catnip2bids.catnip.atlas_parents import region_tree
from catnip2bids.region_hierarchy import depths_of

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data")


def region(index: int, name: str, parent: object = "", acronym: str = "", **extra: str) -> Region:
    extra |= {"parent_id": str(parent)} if parent else {}
    extra |= {"parent_acronym": acronym} if acronym else {}
    return Region(index, name, name.split("_")[-1], "#010203", extra)


def test_a_parent_in_the_table_is_that_region_and_any_other_becomes_a_group() -> None:
    tree = region_tree(
        [region(997, "root"), region(721, "VISp4", 385, "VISp"), region(593, "VISp1", 385, "VISp"),
         region(73, "VS", 997, "root"), region(81, "VL", 73, "VS")]
    )  # fmt: skip
    assert tree.parents == {593: 385, 721: 385, 73: 997, 81: 73}
    assert [found.index for found in tree.regions] == [73, 81, 385, 593, 721, 997]
    assert tree.regions[2] == Region(385, "VISp", "VISp", color=None)
    assert all(found.color for found in tree.regions if found.index != 385)
    assert tree.problems == ()


def test_a_right_region_is_part_of_what_is_on_the_right() -> None:
    tree = region_tree(
        [region(73, "Left_VS", 997, "root"), region(20073, "Right_VS", 997, "root"),
         region(81, "Left_VL", 73, "VS"), region(20081, "Right_VL", 73, "VS"),
         region(2, "Left_SSp-m6b", 345, "SSp-m"), region(20002, "Right_SSp-m6b", 345, "SSp-m")]
    )  # fmt: skip
    assert tree.parents == {73: 997, 20073: 20997, 81: 73, 20081: 20073, 2: 345, 20002: 20345}
    groups = {found.index: (found.name, found.abbreviation) for found in tree.regions if found.color is None}
    assert groups == {
        345: ("Left_SSp-m", "SSp-m"),
        997: ("Left_root", "root"),
        20345: ("Right_SSp-m", "SSp-m"),
        20997: ("Right_root", "root"),
    }


def test_a_region_in_the_middle_and_a_parent_that_is_right_already_keep_their_ids() -> None:
    tree = region_tree(
        [region(5, "Left_a", 9), region(20005, "Right_a", 9), region(9, "middle"),
         region(6, "Left_b", 5), region(20006, "Right_b", 20005)]
    )  # fmt: skip
    assert tree.parents == {5: 9, 20005: 9, 6: 5, 20006: 20005}


@pytest.mark.parametrize("name", ["Right_a", "Left_a", "a"])
def test_large_ids_alone_are_no_right_side(name: str) -> None:
    tree = region_tree([region(5, "Left_other", 9), region(20005, name, 9)])
    assert tree.parents == {5: 9, 20005: 9}


@pytest.mark.parametrize("parent", ["", "n/a", "NA", "0", "-1", "0.0"])
def test_no_parent(parent: str) -> None:
    tree = region_tree([region(1, "a", parent, "A")])
    assert (tree.parents, len(tree.regions), tree.problems) == ({}, 1, ())


def test_other_spellings_of_the_column_and_the_number() -> None:
    ids = [{"Parent_ID": "9.0"}, {"parent_structure_id": "9"}]
    tree = region_tree(Region(index, "a", extra=extra) for index, extra in enumerate(ids))
    assert tree.parents == {0: 9, 1: 9}
    assert tree.regions[-1] == Region(9, "", None)


def test_the_abbreviation_of_a_group_is_that_of_the_first_region_that_tells_it() -> None:
    tree = region_tree([region(3, "c", 9, "Z"), region(2, "b", 9, "Y"), region(1, "a", 9)])
    assert tree.regions[-1] == Region(9, "Y", "Y")


def test_parents_that_cannot_be_used_are_told_and_left_out() -> None:
    tree = region_tree(
        [region(1, "a", "one"), region(2, "b", 2), region(3, "c", 4), region(4, "d", 3), region(5, "e", 4)]
    )
    assert tree.parents == {5: 4}
    assert tree.problems == (
        "1 region with a parent that is not the id of a region: 1 a; packaged without a parent",
        "3 regions with themselves as parent or ancestor: 2 b, 3 c, 4 d; packaged without a parent",
    )
    assert [found.index for found in tree.regions] == [1, 2, 3, 4, 5]


def test_an_unlisted_label_that_is_a_parent_is_a_region_and_no_group() -> None:
    tree = region_tree([region(1, "a", 512, "CB"), Region.unlisted(512)])
    assert tree.parents == {1: 512}
    assert len(tree.regions) == 2


@needs_samples
@pytest.mark.parametrize(("version", "n_sides"), [("v1", 1), ("v4", 2)])
def test_the_hierarchy_of_catnips_atlases(version: str, n_sides: int) -> None:
    table = read_atlas_table(SHARED / f"data/atlas/atlas_{version}/atlas_info.txt")
    tree = region_tree(table.regions.values())
    groups = {found.index: found for found in tree.regions if found.index not in table.regions}
    assert len(groups) == 132 * n_sides
    assert len(set(tree.parents.values())) == 147 * n_sides
    assert tree.parents.keys() == table.regions.keys() - {997, 20997}
    assert all(found.abbreviation and found.color is None for found in groups.values())
    assert not groups.keys() & tree.parents.keys()
    depths = depths_of(tree.parents)
    assert [list(depths.values()).count(depth) for depth in range(4)] == [
        133 * n_sides, 522 * n_sides, 32 * n_sides, 6 * n_sides
    ]  # fmt: skip
    for index, parent in tree.parents.items():
        above = table.regions.get(parent) or groups[parent]
        assert above.abbreviation == table.regions[index].extra["parent_acronym"]
        if n_sides == 2:
            assert above.name.split("_")[0] == table.regions[index].name.split("_")[0]
    assert tree.problems == ()


@needs_samples
@pytest.mark.parametrize("version", ["v5", "v9"])
def test_later_atlases_have_no_parents(version: str) -> None:
    table = read_atlas_table(SHARED / f"data/atlas/atlas_{version}/atlas_info.txt")
    tree = region_tree(table.regions.values())
    assert (tree.parents, tree.regions) == ({}, tuple(table.regions.values()))
