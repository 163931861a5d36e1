"""The recipes of "Use tables", "Use images" and the README of a dataset run, and print what the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from catnip2bids import Format, Naming, OmeZarrVersion, Settings, package
from catnip2bids.demo import write_demo_cohort
from code_blocks import BLOCK, needs_r, pattern_of, printed_by
from demo_cohort import demo_cohort
from once import made_once
from repo import REPO
from runs import read_tsv, settings

__all__ = ["demo_cohort"]

PAGES = [REPO / "docs/how-to/use.md", REPO / "docs/how-to/use-images.md"]
WITHOUT_A_WINDOW = """
import warnings
warnings.simplefilter("ignore")
import napari
from napari.components import ViewerModel
from npe2 import PluginManager
PluginManager.instance().discover()
napari.Viewer, napari.run = ViewerModel, lambda: None
"""
"""Begins a script that opens napari: everything but the window, for which the machine of a test need not be able."""


class Recipe(NamedTuple):
    """A program on the page, and what it prints."""

    title: str
    language: str
    text: str
    output: str


def recipes_of(path: Path) -> Iterator[Recipe]:
    """Yield each program on a page with the output that the page shows after it."""
    page = path.read_text(encoding="utf-8")
    blocks = [block for block in BLOCK.finditer(page) if block["language"] != "text"]
    for program, output in zip(blocks[::2], blocks[1::2], strict=True):
        assert output["language"] == "output"
        title = re.findall(r"^## (.+)$", page[: program.start()], re.MULTILINE)[-1]
        yield Recipe(title, program["language"], program["text"], output["text"])


RECIPES = [recipe for page in PAGES for recipe in recipes_of(page)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `catnip2bids demo` writes, in its whole size; only to be read."""

    def make(folder: Path) -> None:
        cohort = write_demo_cohort(folder)
        whole = Settings(voxel_size_um=(3.7, 3.7, 5.0), atlas_table=cohort.atlas_table, report=False)
        assert package([cohort.folder], folder / "dataset", whole).ok

    return made_once(tmp_path_factory, "whole demo", make)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [pytest.param(found, marks=needs_r if found.language == "r" else (), id=f"{found.title}, {found.language}")
     for found in RECIPES],
)  # fmt: skip
def test_the_recipe_prints_what_the_page_shows(recipe: Recipe, demo: Path) -> None:
    before = WITHOUT_A_WINDOW if "import napari" in recipe.text else ""
    printed = re.sub(r" +$", "", printed_by(recipe.language, before + recipe.text, demo), flags=re.MULTILINE)
    assert re.fullmatch(pattern_of(recipe.output), printed, re.DOTALL), printed


def test_the_density_of_a_region_takes_ten_lines_at_most() -> None:
    found = [recipe for recipe in RECIPES if "density" in recipe.title]
    assert [recipe.language for recipe in found] == ["python", "r"]
    assert max(len(recipe.text.splitlines()) for recipe in found) <= 10


# ---- the README of a dataset

DATASETS = {
    "OME-Zarr": settings(),
    "names of DANDI 001362": settings(naming=Naming.DSEG, ome_zarr_version=OmeZarrVersion.V04),
    "OME-TIFF": settings(image_format=Format.OME_TIFF),
}


@pytest.fixture(scope="module", params=[*DATASETS])
def packaged(request: pytest.FixtureRequest, demo_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the demo's cohort."""
    folder = tmp_path_factory.mktemp("readme") / "dataset"
    assert package(demo_cohort, folder, DATASETS[request.param]).ok
    return folder


def programs_of(dataset: Path, language: str) -> list[str]:
    readme = (dataset / "README.md").read_text(encoding="utf-8")
    return [block["text"] for block in BLOCK.finditer(readme) if block["language"] == language]


def rows_of_ca1(dataset: Path) -> list[dict[str, str]]:
    """Return the counts of CA1 in both animals, by the lower threshold."""
    (table,) = dataset.glob("derivatives/*/counts.tsv")
    wanted = {"name": "Field_CA1", "threshold": "10000", "corrected": "false"}
    return [row for row in read_tsv(table) if wanted.items() <= row.items()]


@pytest.mark.slow
def test_recipes_in_python_in_the_readme_of_a_dataset(packaged: Path) -> None:
    programs = programs_of(packaged, "python")
    assert len(programs) == 4
    found = 'print("found", len(cells), *region.participant_id, *region.density_per_mm3)'
    *_, last = printed_by("python", "\n".join([*programs, found]), packaged).splitlines()
    ko, wt = rows_of_ca1(packaged)
    word, n_cells, animal, other, *densities = last.split()
    assert (word, animal, other) == ("found", ko["participant_id"], wt["participant_id"])
    assert n_cells == ko["cell_count"]
    assert [float(density) for density in densities] == [float(row["density_per_mm3"]) for row in (ko, wt)]


@pytest.mark.slow
@needs_r
def test_the_recipe_in_r_in_the_readme_of_a_dataset(packaged: Path) -> None:
    (program,) = programs_of(packaged, "r")
    printed = printed_by("r", program, packaged)
    assert re.findall(r"Field_CA1 +(\d+) +(\d+)", printed) == [
        tuple(row["cell_count"] for row in rows_of_ca1(packaged))
    ]


@pytest.mark.slow
def test_the_readme_opens_an_image_of_the_dataset(packaged: Path) -> None:
    first, *_ = programs_of(packaged, "python")
    assert printed_by("python", first, packaged).startswith(("(12, 40, 36) uint16", "(40, 36) uint16"))
