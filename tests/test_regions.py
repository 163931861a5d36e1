"""Regions are called the same wherever they are shown, whatever their table lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.bids.provenance import RunRecord
from catnip2bids.catnip.atlas import AtlasTable
from catnip2bids.errors import DatasetError
from catnip2bids.ome import color_of_label
from catnip2bids.regions import DisplayedRegion, RegionHierarchy, displayed_regions, read_hierarchy, region_of

RUN = RunRecord(
    name="run", source="run", source_id=None, subject="1", sample="a", stain="b", layout="L2", atlas_table="dseg.tsv"
)


def written(dataset: Path, text: str) -> Path:
    table = dataset / "derivatives/catnip/dseg.tsv"
    table.parent.mkdir(parents=True)
    table.write_text(text, encoding="utf-8")
    return dataset


def test_underscores_are_blanks_and_every_region_has_a_colour(tmp_path: Path) -> None:
    rows = "7\tZona_incerta\tZI\t#00ff80\n9\tField_CA1\tn/a\tred\n"
    found = displayed_regions(written(tmp_path, f"index\tname\tabbreviation\tcolor\n{rows}"), RUN)
    assert found == {
        7: DisplayedRegion(7, "Zona incerta", "ZI", "#00ff80"),
        9: DisplayedRegion(9, "Field CA1", "", color_of_label(9)),
    }
    assert [region.short_name for region in found.values()] == ["ZI", "Field CA1"]


def test_a_label_without_a_row_is_shown_as_one_that_packaging_gave_a_row(tmp_path: Path) -> None:
    packaged = AtlasTable({}).region_of(512)
    table = f"index\tname\n512\t{packaged.name}\n"
    assert region_of({}, 512) == region_of(displayed_regions(written(tmp_path, table), RUN), 512)
    assert region_of({}, 512) == DisplayedRegion(512, "unlisted 512", "", color_of_label(512))


def test_a_run_without_a_table_has_no_regions(tmp_path: Path) -> None:
    assert displayed_regions(tmp_path, RUN.model_copy(update={"atlas_table": None})) == {}


@pytest.mark.parametrize("text", ["index\tname\nx\ty\n", "index\n1\n"])
def test_a_table_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DatasetError, match=r"dseg\.tsv: .*; correct the table"):
        displayed_regions(written(tmp_path, text), RUN)


def test_parents_and_groups_are_read_from_the_table_of_the_run(tmp_path: Path) -> None:
    rows = "385\tVISp\tVISp\tn/a\t0\tn/a\n778\tVISp_5\tVISp5\t385\t1\t#3c82b1\n997\troot\troot\tn/a\t0\t#ffffff\n"
    table = tmp_path / "derivatives/catnip-counts/regions.tsv"
    table.parent.mkdir(parents=True)
    table.write_text(f"index\tname\tabbreviation\tparent\tdepth\tcolor\n{rows}")
    run = RUN.model_copy(update={"region_table": "derivatives/catnip-counts/regions.tsv"})
    group = DisplayedRegion(385, "VISp", "VISp", color_of_label(385))
    assert read_hierarchy(tmp_path, run) == RegionHierarchy({778: 385}, {385: group})
    assert read_hierarchy(tmp_path, RUN) == RegionHierarchy({}, {})
    table.write_text("index\tname\n1\ta\n")
    with pytest.raises(DatasetError, match=r"regions\.tsv: has no column abbreviation; correct the table"):
        read_hierarchy(tmp_path, run)
