"""The recipes of a README name what the dataset has."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from catnip2bids.bids.provenance import CellsRecord, ImageRecord, Provenance, RunRecord
from catnip2bids.packaging.readme_recipes import recipes

COUNTS = PurePosixPath("derivatives/catnip-counts")


def provenance_of(ending: str = ".ome.zarr") -> Provenance:
    """Make the provenance of one run with a raw image and two tables of cells."""
    key = "sub-1ko_sample-LeftHemisphere_stain-cFos"
    tables = [f"{COUNTS}/sub-1ko/micr/{key}_desc-FRSTseg{threshold}_cells.tsv.gz" for threshold in (9000, 10000)]
    image = ImageRecord(
        source="640_N4", role="N4", shape=(10, 8, 6), dtype="uint16", voxel_size_um=(3.7, 3.7, 5.0),
        value_range=(0, 9), fingerprint="0",
    )  # fmt: skip
    cells = CellsRecord(
        origin="segmentation", fingerprint="0", n_cells=1, n_outside=0, n_no_region=0, n_too_large=0, n_too_small=0,
        n_regions=2, n_regions_proven=2,
    )  # fmt: skip
    run = RunRecord(
        name="run", source="run", source_id="1_ko", subject="1ko", sample="LeftHemisphere", stain="cFos", layout="L0",
        images={f"sub-1ko/micr/{key}_SPIM{ending}": image}, cells=dict.fromkeys(tables, cells),
    )  # fmt: skip
    return Provenance(runs={key: run})


def write_counts(
    dataset: Path, threshold: int, *rows: tuple[str, object], stain: str = "cFos", corrected: bool = False
) -> None:
    """Write the table of counts of one sample, from names and counts; abbreviations have three letters."""
    desc = f"FRSTseg{'corrected' if corrected else ''}{threshold}"
    path = dataset / COUNTS / f"sub-1ko/micr/sub-1ko_sample-LeftHemisphere_stain-{stain}_desc-{desc}_counts.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["name\tabbreviation\tcell_count", *(f"{name}\t{name[:3]}\t{n}" for name, n in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_lowest_threshold_and_the_region_with_the_most_cells(tmp_path: Path) -> None:
    write_counts(tmp_path, 10000, ("Pons", 99))
    write_counts(tmp_path, 9000, ("Medulla", 3), ("Pons", 2), ("Midbrain", "n/a"))
    write_counts(tmp_path, 8000, ("Pons", 5), corrected=True)
    text = recipes(tmp_path, provenance_of(), COUNTS)
    assert "counts[(counts.threshold == 9000) & ~counts.corrected]" in text
    assert 'subset(counts, threshold == 9000 & corrected == "false")' in text
    assert 'counts["name"] == "Medulla"' in text
    assert "desc-FRSTseg9000_cells.tsv.gz" in text
    assert "desc-FRSTseg10000" not in text


def test_only_corrected_counts(tmp_path: Path) -> None:
    write_counts(tmp_path, 9000, ("Pons", 5), corrected=True)
    text = recipes(tmp_path, provenance_of(), COUNTS)
    assert "counts[(counts.threshold == 9000) & counts.corrected]" in text
    assert 'subset(counts, threshold == 9000 & corrected == "true")' in text


def test_ca1_is_preferred(tmp_path: Path) -> None:
    write_counts(tmp_path, 9000, ("Pons", 99), ("CA1", 1), ("CA1 of the other side", 2))
    assert 'counts["name"] == "CA1 of the other side"' in recipes(tmp_path, provenance_of(), COUNTS)


def test_a_name_with_quotes(tmp_path: Path) -> None:
    write_counts(tmp_path, 9000, ("Barrington's_\"nucleus\\", 1))
    assert 'counts["name"] == "Barrington\'s_\\"nucleus\\\\"' in recipes(tmp_path, provenance_of(), COUNTS)


def test_of_several_stains_one_is_chosen(tmp_path: Path) -> None:
    for stain in ("cFos", "NeuN"):
        write_counts(tmp_path, 9000, ("Pons", 1), stain=stain)
    text = recipes(tmp_path, provenance_of(), COUNTS)
    assert '& (counts.stain == "NeuN")]' in text
    assert '& stain == "NeuN")' in text
    assert "_cells.tsv.gz" not in text  # those are of the other one


def test_the_stain_of_most_tables_is_chosen(tmp_path: Path) -> None:
    for threshold in (9000, 10000):
        write_counts(tmp_path, threshold, ("Pons", 1))
    write_counts(tmp_path, 8000, ("Pons", 1), stain="NeuN")
    text = recipes(tmp_path, provenance_of(), COUNTS)
    assert 'counts[(counts.threshold == 9000) & ~counts.corrected & (counts.stain == "cFos")]' in text


@pytest.mark.parametrize(
    ("rows", "n_programs"), [([], 1), ([("Pons", "n/a")], 1), ([("Pons", 0)], 5)], ids=["none", "unknown", "known"]
)
def test_without_counts_there_is_only_an_image(tmp_path: Path, rows: list[tuple[str, object]], n_programs: int) -> None:
    write_counts(tmp_path, 9000, *rows)
    assert recipes(tmp_path, provenance_of(), COUNTS).count("```") == 2 * n_programs


def test_nothing_at_all(tmp_path: Path) -> None:
    assert "```" not in recipes(tmp_path, Provenance(), COUNTS)


@pytest.mark.parametrize(("ending", "opens"), [(".ome.zarr", "zarr.open_array("), (".ome.btf", "tifffile.imread(")])
def test_the_recipe_fits_the_format(tmp_path: Path, ending: str, opens: str) -> None:
    text = recipes(tmp_path, provenance_of(ending=ending), COUNTS)
    assert f'{opens}"sub-1ko/micr/sub-1ko_sample-LeftHemisphere_stain-cFos_SPIM{ending}' in text
