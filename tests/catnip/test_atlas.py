"""Atlas tables: every form CATNIP has had, what is refused, and how tables are compared and united."""

from __future__ import annotations

import colorsys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.catnip.atlas import AtlasTable, Region, read_atlas_table
from catnip2bids.catnip.counts import RegionCount, read_counts
from catnip2bids.errors import SourceError
from catnip2bids.ome import color_of_label

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data")

V1 = "id,name,acronym,red,green,blue,structure_order,parent_id,parent_acronym"
V4 = "id,name,red,green,blue,structure_order,parent_id,parent_acronym"
V5 = "ID,name,acronym"
ITK_SNAP = """# ITK-SnAP Label Description File
    0     0    0    0        0  0  0    "Clear Label"
    1   255   10    0        1  1  1    "A "b", c"
"""
EXTRA = {"structure_order": "75500", "parent_id": "557", "parent_acronym": "TM"}


def written(tmp_path: Path, text: str, version: str = "v1") -> Path:
    folder = tmp_path / f"atlas_{version}"
    folder.mkdir()
    path = folder / "atlas_info.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("version", "text", "expected"),
    [
        (
            "v1",
            f"{V1}\r\n4,Inferior_colliculus,IC,255,152,255,75500,557,TM\r\n1,root,root,0,0,0,1,,\r\n",
            [
                Region(1, "root", "root", "#000000", {"structure_order": "1"}),
                Region(4, "Inferior_colliculus", "IC", "#ff98ff", EXTRA),
            ],
        ),
        (
            "v4",
            f"\ufeff{V4}\r\n1,Left_IC,IC,255,78,86,75500,557,TM\r\n20001,Right_IC,IC,255,78,86,75500,557,TM\r\n",
            [Region(1, "Left_IC", "IC", "#ff4e56", EXTRA), Region(20001, "Right_IC", "IC", "#ff4e56", EXTRA)],
        ),
        ("v5", "ID,name,acronym\r\n1,Left_Zona_incerta,ZI\r\n", [Region(1, "Left_Zona_incerta", "ZI")]),
        ("v9", "ID,name,acronym\n3,Subthalamic_nucleus\n", [Region(3, "Subthalamic_nucleus")]),
        (
            "v2",
            "index\tname\tabbreviation\tcolor\themi\n3\tA, b\tn/a\t#FF00aa\tL\n5\tC\tc\tn/a\tn/a\n",
            [Region(3, "A, b", None, "#ff00aa", {"hemi": "L"}), Region(5, "C", "c")],
        ),
    ],
)
def test_every_form(tmp_path: Path, version: str, text: str, expected: list[Region]) -> None:
    table = read_atlas_table(written(tmp_path, text, version))
    assert list(table.regions.values()) == expected
    assert list(table.regions) == [region.index for region in expected]
    assert table.version == version


def test_version_is_unknown_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "dseg.tsv"
    path.write_text("index\tname\n1\ta\n")
    assert read_atlas_table(path) == AtlasTable({1: Region(1, "a")}, None)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("1,b,B,1,2,3,4,5,6", "id"),
        ("x,b,B,1,2,3,4,5,6", "id"),
        ("NA,b,B,1,2,3,4,5,6", "id"),
        ("-2,b,B,1,2,3,4,5,6", "id"),
        ("2,b,B,1,2,3,4,5", "9"),
        ("2,b,B,1,2,3,4,5,6,7", "10"),
        ("2,b,B,1,2,256,4,5,6", "blue"),
        ("2,b,B,-1,2,3,4,5,6", "red"),
        ("2,b,B,1,2,red,4,5,6", "blue"),
        ("2,b,B,1,2,,4,5,6", "blue"),
        ("2,b,B,0.5,2,3,4,5,6", "red"),
        ("2,,B,1,2,3,4,5,6", "name"),
    ],
)
def test_a_row_that_is_not_clear_is_named_with_its_column(tmp_path: Path, row: str, column: str) -> None:
    path = written(tmp_path, f"{V1}\n1,a,A,1,2,3,4,5,6\n{row}\n")
    with pytest.raises(SourceError) as caught:
        read_atlas_table(path)
    assert str(caught.value).startswith(f"{path}, line 3, column {column}: ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ": has no rows"),
        (f"{V1}\n", ": has no rows"),
        ("Region,Name,Acronym,Cell_Count,Label_Volume(Pixels)\n1,a,A,1,1\n", ", line 1: is not the header"),
        ("id,name,name\n1,A,B\n", ", line 1, column 3: "),
        ("id,name,acronym,ID\n1,A,a,77\n", ", line 1, column 4: "),
        ("id,name,Color,color\n1,A,#111111,#222222\n", ", line 1, column 4: "),
        ("id,name,Parent,parent\n1,A,2,3\n", ", line 1, column 4: "),
        ("id,name,red,green\n1,A,10,20\n", ", line 1: has a column red and no column blue; add it"),
        ("id,name,red,green,blue\n1,A,0.1,0.5,1.0\n", ", line 2, column red: colours go from 0 to 1"),
        ("id,name,red,green,blue\n1,A,1,0,0\n2,B,0,0,1\n", ", line 2, column red: colours go from 0 to 1"),
        ("id,name,red,green,blue,color\n1,A,255,0,0,#00ff00\n", ", line 2, column color: "),
        ("index\tname\tcolor\n1\ta\tred\n", ", line 2, column color: "),
        ("index\tname\tcolor\n1\ta\t8000\n", ", line 2, column color: "),
        ("index\tname\tcolor\n1\ta\tf00\n", ", line 2, column color: "),
        ("index\tname\tcolor\n1\ta\t#ff0000ff\n", ", line 2, column color: "),
        (f"{V4}\n1,A,AA,1,2,3,4,5,6\n2,B,1,2,3,4,5,6\n", ", line 3, column 9: "),
        (f"{V5}\n1,A\n2,B,b\n", ", line 2, column 3: "),
        (f'{ITK_SNAP}  2 300 0 0 1 1 1 "C"\n', ", line 4: "),
        (f'{ITK_SNAP}  1 255 0 0 1 1 1 "C"\n', ", line 4: "),
        (f"{ITK_SNAP}  2 255 0 0 C\n", ", line 4: "),
    ],
)
def test_a_table_that_is_not_clear_is_refused(tmp_path: Path, text: str, place: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SourceError) as caught:
        read_atlas_table(path)
    assert str(caught.value).startswith(f"{path}{place}")


@pytest.mark.parametrize("color", ["#FF0000", "ff0000", "#f00", '"#ff0000"'])
def test_colors_that_can_only_mean_one_thing(tmp_path: Path, color: str) -> None:
    table = read_atlas_table(written(tmp_path, f"index\tname\tcolor\n1\ta\t{color}\n"))
    assert table.regions[1].color == "#ff0000"


@pytest.mark.parametrize(
    "text",
    [
        "acronym,id,structure_id_path,name\nCP,1,/997/,Putamen\n",
        '"id","acronym","name","structure_id_path"\n1.0,"CP","Putamen","/997/"\n',
        "ID;Name;Acronym;structure_id_path;\r\n1;Putamen;CP;/997/;\r\n;;;;\r\n",
        ",id,name,acronym,structure_id_path\n0,1,Putamen,CP,/997/\n",
    ],
)
def test_columns_are_found_by_their_names(tmp_path: Path, text: str) -> None:
    (region,) = read_atlas_table(written(tmp_path, text)).regions.values()
    assert region == Region(1, "Putamen", "CP", None, {"structure_id_path": "/997/"})


def test_an_allen_table(tmp_path: Path) -> None:
    text = "id,atlas_id,name,acronym,st_level,color_hex_triplet\n8,0,Basic cell groups and regions,grey,1,BFDAE3\n"
    (region,) = read_atlas_table(written(tmp_path, text)).regions.values()
    assert region == Region(8, "Basic cell groups and regions", "grey", "#bfdae3", {"atlas_id": "0", "st_level": "1"})


def test_a_label_file_of_itk_snap(tmp_path: Path) -> None:
    table = read_atlas_table(written(tmp_path, ITK_SNAP))
    assert table.regions == {1: Region(1, 'A "b", c', None, "#ff0a00")}


@pytest.mark.parametrize("end", ["", ","])
def test_the_header_of_v4_is_corrected_after_a_spreadsheet_too(tmp_path: Path, end: str) -> None:
    table = read_atlas_table(written(tmp_path, f"{V4}{end}\n1,Left_IC,IC,255,78,86,75500,557,TM\n"))
    assert table.regions == {1: Region(1, "Left_IC", "IC", "#ff4e56", EXTRA)}


def test_made_up_colors_never_change() -> None:
    assert [color_of_label(index) for index in (0, 1, 2, 12009)] == ["#ab2b2b", "#3b66ce", "#a8d864", "#bb1b38"]


def test_made_up_colors_are_well_spread() -> None:
    assert len({color_of_label(index) for index in range(1, 1123)}) > 1110


@given(st.integers(0, 2**32))
def test_made_up_colors_are_readable(index: int) -> None:
    color = color_of_label(index)
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    _, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    assert 0.4 < lightness < 0.65
    assert saturation > 0.5


def test_table_from_counts() -> None:
    rows = [RegionCount(7, "Root", None, 1, 2), RegionCount(2, "Zona_incerta", "ZI", None, None)]
    table = AtlasTable.from_counts(rows)
    assert list(table.regions.values()) == [Region(2, "Zona_incerta", "ZI"), Region(7, "Root")]
    assert table.version is None


def table(*names: str, first: int = 1) -> AtlasTable:
    return AtlasTable({index: Region(index, name) for index, name in enumerate(names, first)})


def test_same_atlas() -> None:
    whole = table("A, left part", "B", "C")
    assert whole.same_atlas_as(table("A_left_part", "B"))
    assert table("A_left_part", "B").same_atlas_as(whole)
    assert not whole.same_atlas_as(table("B", "A_left_part"))
    assert not whole.same_atlas_as(table("C", "D", first=3))
    assert not whole.same_atlas_as(table())
    assert not table().same_atlas_as(table())


def test_a_value_that_is_not_listed_is_a_region_all_the_same() -> None:
    known = table("A", "unlisted_7")
    assert known.region_of(1) == Region(1, "A")
    assert known.region_of(512) == Region(512, "unlisted_512")
    assert known.unlisted_values({0, 512, 1, 5}) == [5, 512]
    assert [known.region_of(value).is_unlisted for value in (1, 2, 512)] == [False, False, True]


def test_merging_keeps_what_either_knows() -> None:
    poor = AtlasTable({2: Region(2, "B_b"), 3: Region(3, "C", "own", None, {"a": "1"})})
    richer = [
        Region(1, "A"),
        Region(2, "B b", "B", "#000001", {"x": "y"}),
        Region(3, "C", "other", "#000002", {"a": "2", "b": "3"}),
    ]
    rich = AtlasTable({region.index: region for region in richer}, "v2")
    merged = poor.merged_with(rich)
    assert list(merged.regions.values()) == [
        Region(1, "A"),
        Region(2, "B_b", "B", "#000001", {"x": "y"}),
        Region(3, "C", "own", "#000002", {"a": "1", "b": "3"}),
    ]
    assert merged.version == "v2"


def test_tables_of_different_atlases_are_not_merged() -> None:
    with pytest.raises(ValueError, match="id 2 is B in one table and X in the other"):
        table("A", "B").merged_with(table("A", "X"))


@needs_samples
@pytest.mark.parametrize(
    ("version", "n_regions", "last", "has_colors", "has_abbreviations"),
    [
        ("v1", 561, 12008, True, True),
        ("v4", 1122, 32008, True, True),
        ("v5", 1122, 1122, False, True),
        ("v9", 222, 502, False, False),
    ],
)
def test_sample_tables(version: str, n_regions: int, last: int, has_colors: bool, has_abbreviations: bool) -> None:
    atlas = read_atlas_table(SHARED / f"data/atlas/atlas_{version}/atlas_info.txt")
    regions = list(atlas.regions.values())
    assert atlas.version == version
    assert (len(regions), regions[-1].index) == (n_regions, last)
    assert {region.color is not None for region in regions} == {has_colors}
    assert {region.abbreviation is not None for region in regions} == {has_abbreviations}


@needs_samples
def test_sample_tables_are_told_apart() -> None:
    tables = [read_atlas_table(SHARED / f"data/atlas/atlas_v{v}/atlas_info.txt") for v in (1, 4, 5, 9)]
    for one in tables:
        assert [one.same_atlas_as(other) for other in tables] == [one is other for other in tables]


@needs_samples
def test_sample_counts_take_their_colors_from_the_atlas() -> None:
    atlas = read_atlas_table(SHARED / "data/atlas/atlas_v1/atlas_info.txt")
    for path in SHARED.glob("data/cohort/**/FRSTseg_00010000.csv"):
        counted = AtlasTable.from_counts(read_counts(path))
        assert counted.same_atlas_as(atlas)
        assert counted.merged_with(atlas).regions[1].color == "#ff4e56"
