"""Tables of counts and of regions: volumes, densities and parents, from the first packaging to the last removal."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import tifffile

import catnip2bids
from catnip2bids import Naming, package
from catnip2bids.bids.cell_tables import CELLS_COLUMNS, UNCOUNTED_COLUMNS
from catnip2bids.bids.provenance import Provenance, read_provenance
from catnip2bids.demo import write_atlas_table
from catnip2bids.packaging import metadata, readme_texts, region_tables, remove_animal
from catnip2bids.packaging.region_tables import write_atlas_tables, write_counts, write_long_table
from catnip2bids.validation.cross_checks import cross_check
from catnip2bids.validation.tree import read_tree
from runs import (
    FLOX,
    KO,
    KO_PREFIX,
    PROVENANCE,
    RAW,
    TODAY,
    TODAY_NAME,
    column,
    dataset_files,
    mentions,
    read_json,
    read_tsv,
    rewrite_slice,
    settings,
    slices_of,
    state_of,
    write_l0,
    write_l2,
)

HEADER = "Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)"
FOLDER = "derivatives/catnip-counts"
COUNTED = (*RAW, "640_FRST_seg", "atlaslabel_def_origspace")


def counts_of(tmp_path: Path, rows: str, voxel_size_um: tuple[float, float, float]) -> dict[str, tuple[str, str]]:
    """Write a table of counts; return volume and density of each region."""
    (tmp_path / "counts.csv").write_text(f"{HEADER}\n{rows}")
    assert write_counts(tmp_path, tmp_path / "counts.csv", PurePosixPath("counts.tsv"), voxel_size_um)
    assert not write_counts(tmp_path, tmp_path / "counts.csv", PurePosixPath("counts.tsv"), voxel_size_um)
    written = read_tsv(tmp_path / "counts.tsv")
    assert list(written[0])[5:] == ["volume_mm3", "density_per_mm3"]
    return {row["index"]: (row["volume_mm3"], row["density_per_mm3"]) for row in written}


def test_volumes_and_densities(tmp_path: Path) -> None:
    rows = "1,a,A,81,1000\n2,b,B,0,1\n3,c,C,7,0\n4,d,D,-1,-1\n5,e,E,NA,20\n6,f,F,5,NA\n7,g,G,1,3\n"
    assert counts_of(tmp_path, rows, (3.7, 3.7, 5.0)) == {
        "1": ("0.00006845", "1183345.51"),  # 81 / (1000 x 3.7 x 3.7 x 5 um3)
        "2": ("0.00000006845", "0"),
        "3": ("0", "n/a"),
        "4": ("n/a", "n/a"),
        "5": ("0.000001369", "n/a"),
        "6": ("n/a", "n/a"),
        "7": ("0.00000020535", "4869734.6"),
    }


@pytest.mark.parametrize(
    ("voxel_size_um", "rows", "expected"),
    [
        ((1000.0, 1000.0, 1000.0), "1,a,A,12,3\n", ("3", "4")),
        ((100.0, 100.0, 100.0), "1,a,A,1000000000000,7\n", ("0.007", "142857143000000")),
        ((0.1, 0.2, 0.3), "1,a,A,1,1\n", ("0.000000000006", "166666667000")),
        ((1 / 3, 1.0, 1.0), "1,a,A,1,1\n", ("0.000000000333333333", "3000000000")),
        ((1e-9, 1.0, 1.0), "1,a,A,1,999999999999999999\n", ("1", "1")),
    ],
)
def test_numbers_have_nine_digits_and_no_exponent(
    tmp_path: Path, voxel_size_um: tuple[float, float, float], rows: str, expected: tuple[str, str]
) -> None:
    assert counts_of(tmp_path, rows, voxel_size_um) == {"1": expected}


def test_a_table_of_an_earlier_version_is_joined_without_the_numbers_that_it_lacks(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER / "sub-1/micr"
    folder.mkdir(parents=True)
    base = "index\tname\tabbreviation\tcell_count\tlabel_volume"
    name = "sub-1_sample-LeftHemisphere_stain-cFos_desc-FRSTseg"
    (folder / f"{name}10000_counts.tsv").write_text(f"{base}\n1\ta\tA\t2\t3\n")
    (folder / f"{name}15000_counts.tsv").write_text(f"{base}\tvolume_mm3\tdensity_per_mm3\n1\ta\tA\t2\t4\t0.5\t4\n")
    columns = write_long_table(tmp_path, PurePosixPath(FOLDER))
    assert columns[-2:] == ("volume_mm3", "density_per_mm3")
    rows = read_tsv(tmp_path / FOLDER / "counts.tsv")
    assert [(row["threshold"], row["volume_mm3"], row["density_per_mm3"]) for row in rows] == [
        ("10000", "n/a", "n/a"),
        ("15000", "0.5", "4"),
    ]


# ---- whole datasets


def test_edits_that_are_lost_are_named(cohort: Path, packaged: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(packaged, tmp_path / "dataset")
    sources, atlas = [cohort / "source"], cohort / "atlas_info.txt"

    def warnings(**given: Any) -> list[str]:
        said = package(sources, dataset, settings(**given)).warnings
        return [message for message in said if "in no table" not in message]

    assert warnings(atlas_table=atlas) == []
    regions, dseg = f"{FOLDER}/regions.tsv", dataset / "derivatives/catnip/dseg.tsv"
    before = dseg.read_text()
    with (dataset / regions).open("a") as file:
        file.write("\n")
    dseg.write_text(re.sub(r"(?m)^(382\t.*?)#[0-9a-f]{6}", r"\1#ff00ff", before))
    said = [message.split(" and has been")[0].split(" than")[0] for message in warnings(atlas_table=atlas)]
    assert said == [
        f"{dseg}: has other colours, abbreviations or columns for 382 Field_CA1",
        f"{regions}: was changed since it was packaged,",
    ]
    assert dseg.read_text() == before

    dseg.write_text(re.sub(r"(?m)^(382\t.*?)#[0-9a-f]{6}", r"\1#ff00ff", before))
    assert warnings() == []
    assert "#ff00ff" in dseg.read_text()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    run = write_l0(folder / "source", KO, only=COUNTED)
    plane = slices_of(run / "atlaslabel_def_origspace")[4]
    labels = tifffile.imread(plane)
    labels[0, 0] = 12009  # which no table lists
    rewrite_slice(plane, labels)
    write_atlas_table(folder / "atlas_info.txt")
    return folder


@pytest.fixture(scope="module")
def packaged(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the cohort, only to be read."""
    dataset = tmp_path_factory.mktemp("packaged") / "dataset"
    assert package([cohort / "source"], dataset, settings(atlas_table=cohort / "atlas_info.txt")).ok
    return dataset


def table_of(dataset: Path) -> Path:
    return dataset / f"{FOLDER}/sub-45670ko/micr/{KO_PREFIX}_desc-FRSTseg10000_counts.tsv"


def test_densities_are_those_of_the_counts(packaged: Path) -> None:
    rows = read_tsv(table_of(packaged))
    assert any(row["density_per_mm3"] not in ("0", "n/a") for row in rows)
    for row in rows:
        volume = Decimal(row["label_volume"]) * Decimal("68.45e-9")
        assert Decimal(row["volume_mm3"]) == volume
        if volume:
            density = Decimal(row["cell_count"]) / volume
            assert abs(Decimal(row["density_per_mm3"]) - density) <= density * Decimal("5e-9")
        else:
            assert row["density_per_mm3"] == "n/a"
    long_rows = read_tsv(packaged / FOLDER / "counts.tsv")
    assert [*long_rows[0]][-2:] == ["volume_mm3", "density_per_mm3"]
    assert [{key: row[key] for key in rows[0]} for row in long_rows] == rows


def test_regions_are_those_of_the_atlas_table_and_their_groups(packaged: Path) -> None:
    rows = {row["index"]: row for row in read_tsv(packaged / FOLDER / "regions.tsv")}
    assert list(rows["821"]) == ["index", "name", "abbreviation", "parent", "depth", "color"]
    listed = read_tsv(packaged / "derivatives/catnip/dseg.tsv")
    for row in listed:
        same = ("index", "name", "abbreviation", "color")
        assert {key: rows[row["index"]][key] for key in same} == {key: row[key] for key in same}
    groups = {index for index, row in rows.items() if row["color"] == "n/a"}
    assert rows.keys() - groups == {row["index"] for row in listed}
    assert [list(rows[index].values()) for index in ("385", "821", "997", "73", "12009")] == [
        ["385", "VISp", "VISp", "n/a", "0", "n/a"],
        ["821", "Primary_visual_area_layer_2/3", "VISp2/3", "385", "1", "#145a96"],
        ["997", "root", "root", "n/a", "0", "#ffffff"],
        ["73", "ventricular_systems", "VS", "997", "1", "#aaaaaa"],
        ["12009", "unlisted_12009", "n/a", "n/a", "0", rows["12009"]["color"]],
    ]
    assert list(rows) == sorted(rows, key=int)
    record = read_provenance(packaged).runs[KO_PREFIX]
    assert record.region_table == f"{FOLDER}/regions.tsv"


def test_all_columns_are_described_with_their_units(packaged: Path) -> None:
    described = read_json(packaged / FOLDER / "counts.json")
    columns = {*read_tsv(packaged / FOLDER / "counts.tsv")[0], *CELLS_COLUMNS, *UNCOUNTED_COLUMNS}
    assert all(described[name]["Description"] for name in columns)
    units = {name: text["Units"] for name, text in described.items() if "Units" in text}
    assert units == {
        "label_volume": "voxel", "volume_mm3": "mm^3", "density_per_mm3": "1/mm^3", "volume_voxels": "voxel",
        "volume_um3": "um^3", **dict.fromkeys("zyx", "voxel"), **{f"{axis}_um": "um" for axis in "zyx"},
    }  # fmt: skip
    regions = read_json(packaged / FOLDER / "regions.json")
    assert all(regions[name]["Description"] for name in read_tsv(packaged / FOLDER / "regions.tsv")[0])


def test_the_readme_explains_files_and_sums(packaged: Path) -> None:
    text = (packaged / FOLDER / "README.md").read_text(encoding="utf-8")
    for name in ("counts.tsv", "_counts.tsv", "_cells.tsv.gz", "_uncounted.tsv.gz", "regions.tsv", "counts.json"):
        assert f"{name}`" in text
    for word in ("volume_mm3", "density_per_mm3", "proven", "each once", "n/a"):
        assert word in text
    assert "has a parent: CATNIP" not in text


def test_without_parents_the_readme_says_so_until_an_atlas_table_is_given(cohort: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    package([cohort / "source"], dataset, settings())
    rows = read_tsv(dataset / FOLDER / "regions.tsv")
    assert {(row["parent"], row["depth"]) for row in rows} == {("n/a", "0")}
    assert "No region of `regions.tsv` has a parent" in (dataset / FOLDER / "README.md").read_text(encoding="utf-8")
    package([cohort / "source"], dataset, settings(atlas_table=cohort / "atlas_info.txt"))
    assert any(row["parent"] == "385" for row in read_tsv(dataset / FOLDER / "regions.tsv"))
    assert "has a parent: CATNIP" not in (dataset / FOLDER / "README.md").read_text(encoding="utf-8")


def test_with_the_names_of_dandi_all_stands_beside_the_counts(cohort: Path, tmp_path: Path) -> None:
    table = cohort / "atlas_info.txt"
    package([cohort / "source"], tmp_path / "dataset", settings(naming=Naming.DSEG, atlas_table=table))
    folder = tmp_path / "dataset/derivatives/catnip"
    assert {"regions.tsv", "regions.json", "counts.tsv", "dseg.tsv"} <= {path.name for path in folder.iterdir()}
    assert not (tmp_path / "dataset" / FOLDER).exists()
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "density_per_mm3" in text
    assert "_cells.tsv.gz" in text


def package_without(source: Path, dataset: Path, *endings: str) -> set[str]:
    """Package again without the entries that end so; return the files that are left beside the tables of samples."""
    plan = catnip2bids.make_plan(catnip2bids.scan(source))
    for entry in plan.runs[0].entries:
        if entry.source.endswith(endings):
            entry.action, entry.reason = catnip2bids.Action.EXCLUDE, "not wanted"
    assert package([source], dataset, settings(), plan=plan).ok
    assert catnip2bids.verify(dataset).ok
    return {path.name for path in (dataset / FOLDER).iterdir() if path.is_file()}


def test_tables_of_regions_go_with_the_last_tables_of_counts_and_cells(
    packaged: Path, cohort: Path, tmp_path: Path
) -> None:
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    left = package_without(cohort / "source", dataset, ".csv")
    assert left == {"README.md", "counts.json", "regions.tsv", "regions.json"}
    assert {"index", "name", "proven", "reason"} <= read_json(dataset / FOLDER / "counts.json").keys()
    assert package_without(cohort / "source", dataset, ".csv", ".tif") == {"README.md"}
    assert read_provenance(dataset).runs[KO_PREFIX].region_table is None


def test_parents_that_cannot_be_used_are_warned_of(cohort: Path, tmp_path: Path) -> None:
    table = tmp_path / "atlas_info.txt"
    text = (cohort / "atlas_info.txt").read_text(encoding="ascii")
    text = re.sub("(?m)^997,(.*),,\r?$", r"997,\1,73,VS", text)
    table.write_text(re.sub("(?m)^(821,.*),385,", r"\1,here,", text), encoding="ascii")
    result = package([cohort / "source"], tmp_path / "dataset", settings(atlas_table=table))
    assert result.ok
    assert [text for text in result.warnings if str(table) in text] == [
        f"{table}: has 1 region with a parent that is not the id of a region: 821 Primary_visual_area_layer_2/3; "
        "packaged without a parent",
        f"{table}: has 2 regions with themselves as parent or ancestor: 73 ventricular_systems, 997 root; packaged "
        "without a parent",
    ]
    rows = {row["index"]: row["parent"] for row in read_tsv(tmp_path / "dataset" / FOLDER / "regions.tsv")}
    assert (rows["821"], rows["73"], rows["997"], rows["778"]) == ("n/a", "n/a", "n/a", "385")


# ---- datasets of earlier versions, and those that change


def test_a_dataset_of_an_earlier_version_gets_columns_and_tables(
    cohort: Path, packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, choices = tmp_path / "dataset", settings(atlas_table=cohort / "atlas_info.txt")
    with monkeypatch.context() as patch:
        patch.setattr(region_tables, "_COUNTS", region_tables._OF_CATNIP)
        patch.setattr(metadata, "write_region_tables", lambda *_: {})
        patch.setattr(readme_texts, "CELLS", {})
        assert package([cohort / "source"], dataset, choices).ok
    assert list(read_tsv(table_of(dataset))[0]) == ["index", "name", "abbreviation", "cell_count", "label_volume"]
    document = read_json(dataset / PROVENANCE)
    assert document["runs"][KO_PREFIX]["region_table"] is None
    assert catnip2bids.verify(dataset).ok
    assert catnip2bids.report(dataset).path.is_file()
    assert not (dataset / FOLDER / "regions.tsv").exists()

    again = package([cohort / "source"], dataset, choices)
    assert (again.made, [path.name for path in again.copied]) == ((), [table_of(dataset).name])
    assert dataset_files(dataset) == dataset_files(packaged)
    assert catnip2bids.verify(dataset).ok
    before = state_of(dataset)
    package([cohort / "source"], dataset, choices)
    assert {path for path, state in state_of(dataset).items() if state[0] != before[path][0]} == set()


def test_another_voxel_size_changes_volumes_and_densities(cohort: Path, packaged: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    result = package([cohort / "source"], dataset, settings(voxel_size_um=(7.4, 7.4, 5.0)))
    assert table_of(dataset).name in {path.name for path in result.copied}
    pairs = list(zip(read_tsv(table_of(packaged)), read_tsv(table_of(dataset)), strict=True))
    for before, after in pairs:
        assert Decimal(after["volume_mm3"]) == 4 * Decimal(before["volume_mm3"])
        assert after["cell_count"] == before["cell_count"]
        if before["density_per_mm3"] != "n/a":
            assert float(after["density_per_mm3"]) == pytest.approx(float(before["density_per_mm3"]) / 4, rel=1e-8)
    rows = read_tsv(dataset / FOLDER / "counts.tsv")
    assert column(rows, "volume_mm3") == [after["volume_mm3"] for _, after in pairs]
    assert catnip2bids.verify(dataset).ok


def test_another_voxel_size_changes_densities_without_their_counts_too(
    cohort: Path, packaged: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(cohort / "source", tmp_path / "source"))
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    next(source.rglob("*.csv")).unlink()
    expected = Path(shutil.copytree(packaged, tmp_path / "expected"))
    size = settings(voxel_size_um=(7.4, 7.4, 5.0))
    package([cohort / "source"], expected, size)
    result = package([source], dataset, size)
    assert not mentions(result.warnings, "keep their old voxel size")
    for table in (table_of(dataset), dataset / FOLDER / "counts.tsv"):
        assert table.read_bytes() == (expected / table.relative_to(dataset)).read_bytes()
    assert catnip2bids.verify(dataset).ok
    assert not package([source], dataset, size).copied


def test_images_without_their_source_keep_their_voxel_size_with_their_counts(
    cohort: Path, packaged: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(cohort / "source", tmp_path / "source"))
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    shutil.rmtree(next(source.rglob("640_FRST_seg")))
    result = package([source], dataset, settings(voxel_size_um=(7.4, 7.4, 5.0)))
    assert mentions(result.warnings, "keep their old voxel size", "_desc-FRSTseg10000_SPIM.ome.zarr")
    assert table_of(dataset).read_bytes() == table_of(packaged).read_bytes()
    assert catnip2bids.verify(dataset).ok
    assert not [found for found in cross_check(read_tree(dataset)) if found.code == "COUNTS_DENSITY"]


@pytest.mark.parametrize("lost", ["gone", "damaged", "excluded"])
def test_a_run_keeps_its_regions_without_its_counts(cohort: Path, packaged: Path, tmp_path: Path, lost: str) -> None:
    source = Path(shutil.copytree(cohort / "source", tmp_path / "source"))
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    (csv,) = source.rglob("*.csv")
    if lost == "gone":
        csv.unlink()
    elif lost == "damaged":
        csv.write_text("no table\n")
    plan = catnip2bids.make_plan(catnip2bids.scan(source))
    for entry in plan.runs[0].entries:
        if lost == "excluded" and entry.source.endswith(".csv"):
            entry.action, entry.reason = catnip2bids.Action.EXCLUDE, "not wanted"
    result = package([source], dataset, settings(), plan=plan)  # and without the table with colours and parents
    assert not result.made
    for name in ("derivatives/catnip/dseg.tsv", f"{FOLDER}/regions.tsv"):
        assert (dataset / name).read_bytes() == (packaged / name).read_bytes()
    assert read_provenance(dataset).runs[KO_PREFIX].atlas_table == "dseg.tsv"
    assert catnip2bids.verify(dataset).ok


def write_other_atlas(folder: Path) -> None:
    """Write a run of today that was made with an atlas in which other regions have the same ids."""
    run = write_l2(
        folder, TODAY, seed=3, only=("N4_masked", "FRST_seg", "atlaslabel_def_origspace", f"{TODAY_NAME}.log.txt")
    )
    log = run / f"{TODAY_NAME}.log.txt"
    log.write_text(log.read_text().replace(": v2", ": v5").replace("atlas_v2", "atlas_v5"))
    for table in run.glob("FRST_seg*/*.csv"):
        lines = table.read_text().splitlines()
        table.write_text("\n".join([lines[0], *(re.sub(r"^(\d+),", r"\1,Other_", line) for line in lines[1:])]) + "\n")


def region_files(dataset: Path) -> set[str]:
    return {path.name for path in (dataset / FOLDER).glob("*regions.*")}


def atlas_files(dataset: Path) -> set[str]:
    return {path.name for path in (dataset / "derivatives/catnip").glob("*dseg.*")}


def test_each_atlas_has_its_own_table_until_only_one_is_left(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_l0(source, KO, only=COUNTED)
    write_other_atlas(source)
    write_l0(source, FLOX, seed=2, only=COUNTED)
    for name in ("WT", "KO", "FLOX"):
        assert package([source / name], tmp_path / "one by one", settings()).ok
    assert package([source], tmp_path / "dataset", settings()).ok
    one_by_one, at_once = dataset_files(tmp_path / "one by one"), dataset_files(tmp_path / "dataset")
    assert {path for path in one_by_one | at_once if one_by_one.get(path) != at_once.get(path)} == set()

    dataset = tmp_path / "dataset"
    names = {f"atlas-CATNIP{version}_regions.{ending}" for version in ("", "v5") for ending in ("tsv", "json")}
    assert region_files(dataset) == names
    rows = read_tsv(dataset / FOLDER / "atlas-CATNIPv5_regions.tsv")
    assert all(row["name"].startswith("Other_") for row in rows)
    text = (dataset / FOLDER / "README.md").read_text(encoding="utf-8")
    assert "No region of `atlas-CATNIP_regions.tsv` or `atlas-CATNIPv5_regions.tsv` has a parent" in text

    remove_animal(dataset, "45925floxed", report=False)
    assert region_files(dataset) == names
    remove_animal(dataset, "46001wt", report=False)
    assert (region_files(dataset), atlas_files(dataset)) == ({"regions.tsv", "regions.json"}, {"dseg.tsv", "dseg.json"})
    assert {run.region_table for run in read_provenance(dataset).runs.values()} == {f"{FOLDER}/regions.tsv"}
    assert set(column(read_tsv(dataset / FOLDER / "counts.tsv"), "participant_id")) == {"sub-45670ko"}
    assert catnip2bids.verify(dataset).ok
    package([source / "KO"], tmp_path / "only", settings())
    only = dataset_files(tmp_path / "only")
    assert {path: content for path, content in dataset_files(dataset).items() if path.startswith("derivatives/")} == {
        path: content for path, content in only.items() if path.startswith("derivatives/")
    }


@pytest.mark.parametrize(
    "path", ["../regions.tsv", "regions.tsv", "derivatives/catnip/dseg.tsv", "derivatives/x/regions.tsv"]
)
def test_provenance_with_a_table_elsewhere_is_refused(packaged: Path, tmp_path: Path, path: str) -> None:
    dataset = Path(shutil.copytree(packaged, tmp_path / "dataset"))
    file = dataset / PROVENANCE
    text = file.read_text(encoding="utf-8")
    assert f'"region_table": "{FOLDER}/regions.tsv"' in text
    file.write_text(text.replace(f'"region_table": "{FOLDER}/regions.tsv"', f'"region_table": "{path}"'))
    with pytest.raises(catnip2bids.errors.DatasetError, match="region_table"):
        read_provenance(dataset)


def names_of_animals(dataset: Path) -> dict[str, str]:
    """Return the name of region 1 in the atlas table that provenance gives each animal."""
    runs = read_provenance(dataset).runs.values()
    tables = {
        run.subject: read_tsv(dataset / f"derivatives/catnip/{run.atlas_table}") for run in runs if run.atlas_table
    }
    return {subject: next(row["name"] for row in rows if row["index"] == "1") for subject, rows in tables.items()}


@pytest.mark.slow
@pytest.mark.parametrize("step", range(14))
def test_no_animal_gets_the_regions_of_another_atlas_if_packaging_ends_early(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third animal comes first in the order of names, so that tables of the other atlases get other names."""
    dataset, tables, n_calls, is_writing = tmp_path / "dataset", dict[str, Path](), 0, False
    for number in ("30003", "20002", "10001"):
        name = f"{number}/210810_{number}_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11"
        write_l0(tmp_path / "cohort", name, only=(*RAW, "atlaslabel_def_origspace"))
        tables[number] = tmp_path / f"{number}.tsv"
        tables[number].write_text("index\tname\n" + "".join(f"{n}\tRegion {n} of {number}\n" for n in range(1, 6)))

    def add(number: str) -> None:
        assert package([tmp_path / "cohort" / number], dataset, settings(atlas_table=tables[number])).ok

    def ending_early(call: Any) -> Any:
        def called(*arguments: Any) -> Any:
            nonlocal n_calls
            n_calls += is_writing
            if n_calls > step:
                raise KeyboardInterrupt
            return call(*arguments)

        return called

    def writing(*arguments: Any) -> Any:
        nonlocal is_writing
        is_writing = True
        return write_atlas_tables(*arguments)

    add("30003")
    add("20002")
    with monkeypatch.context() as patch:
        for module, function in ((region_tables, "write_text"), (region_tables, "remove"), (Provenance, "save")):
            patch.setattr(module, function, ending_early(getattr(module, function)))
        patch.setattr(metadata, "write_atlas_tables", writing)
        with suppress(KeyboardInterrupt):
            add("10001")
    expected = {f"{number}ko": f"Region 1 of {number}" for number in tables}
    found = names_of_animals(dataset)
    assert found.keys() >= {"30003ko", "20002ko"}
    assert found.items() <= expected.items()
    add("10001")
    assert names_of_animals(dataset) == expected
    assert catnip2bids.verify(dataset).ok
