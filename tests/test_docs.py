"""What stands in the README and on the pages of the docs is run as it stands there, and prints what stands there.

Blocks of `sh` and `python` are run, in a folder with the cohort, the atlas table and the dataset that the pages speak
of. A block of `output` is what the commands of the block before it print, with `...` for anything. `toml` is a plan or
a part of one. `text` is not run. The recipes of "Use tables" and "Use images" are run by test_recipes.py.
"""

from __future__ import annotations

import inspect
import math
import re
import shutil
import tomllib
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path

import pytest
from PIL import Image, ImageSequence
from pydantic import BaseModel

import catnip2bids.enums
from catnip2bids import Settings, package, read_plan
from catnip2bids.demo import write_atlas_table, write_cohort
from catnip2bids.ome.levels import plan_levels
from catnip2bids.plan.model import AboutDataset, Participant, PlannedEntry, PlannedRun
from code_blocks import BLOCK, pattern_of
from fork_server import LEAVE_OUT_PLOTS, WITHOUT_DANDI, start

REPO = Path(__file__).resolve().parents[1]
DOCS = REPO / "docs"
TUTORIAL = DOCS / "tutorial.md"
RECIPES = [DOCS / "how-to/use.md", DOCS / "how-to/use-images.md"]
PAGES = [REPO / "README.md", *sorted(DOCS.rglob("*.md"))]
SMALL = (12, 40, 36)
SMALL_DEMO = f"""
from catnip2bids.demo import write_cohort
write_cohort.__kwdefaults__["shape"] = {SMALL}
{WITHOUT_DANDI}
"""
SIZES = {
    "272 x 320 x 96": "36 x 40 x 12",
    "1,464 planes": "186 planes",
    "96 planes, 2 levels": "12 planes, 1 level",
    "148 other files": "134 other files",
    "reading 224 MiB of pixels, writing about ... MiB in 94 files": (
        "reading 475 KiB of pixels, writing about ... KiB in 66 files"
    ),
}
"""What the tutorial says of the whole demo, and what is so of the small one that is made for it here."""
SIZES_ON_OTHER_PAGES = {
    "272 x 320 x 96": "36 x 40 x 12",
    "of 96 planes": "of 12 planes",
    "planes_compared 96": "planes_compared 12",
    "(96, 320, 272)": "(12, 40, 36)",
    "(3, 320, 272)": "(3, 40, 36)",
}
MADE_BY_THE_BUILD = "pictures/"
MADE_BY_THE_PAGE = {
    "README.md": ["dataset"],
    "own-data.md": ["cohort", "atlas_info.txt", "dataset"],
    "curate.md": ["cohort", "atlas_info.txt"],
}
"""What is not there before the page is followed."""


def name_of(page: Path) -> str:
    return page.relative_to(REPO).as_posix()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages use: cohort, atlas_info.txt, dataset."""
    folder = tmp_path_factory.mktemp("workshop")
    write_cohort(folder / "cohort", shape=SMALL)
    write_atlas_table(folder / "atlas_info.txt")
    settings = Settings(voxel_size_um=(3.7, 3.7, 5.0), atlas_table=folder / "atlas_info.txt", report=False)
    assert package([folder / "cohort"], folder / "dataset", settings).ok
    return folder


MAKES_MUCH = re.compile(r"^catnip2bids (convert|demo|package|report|restore|validate)|\.package\(", re.M)


def pages_with_commands() -> Iterator[object]:
    """Yield pages that have something to run or to read; those on which images or reports are made are slow."""
    for page in PAGES:
        if page in RECIPES:
            continue
        text = page.read_text(encoding="utf-8")
        languages = {block["language"] for block in BLOCK.finditer(text)}
        if languages - {"text"}:
            yield pytest.param(page, marks=pytest.mark.slow if MAKES_MUCH.search(text) else (), id=name_of(page))


@pytest.mark.parametrize("page", [*pages_with_commands()])
def test_commands_of_the_page_run_and_print_what_it_says(page: Path, workshop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    if page == TUTORIAL:
        folder.mkdir()  # it begins with nothing
    else:
        shutil.copytree(workshop, folder)
        for name in MADE_BY_THE_PAGE.get(page.name, []):
            (folder / name).rename(tmp_path / name)
    whole_text, printed = page.read_text(encoding="utf-8"), ""
    for size, small in (SIZES if page == TUTORIAL else SIZES_ON_OTHER_PAGES).items():
        assert page != TUTORIAL or size in whole_text
        whole_text = whole_text.replace(size, small)
    for block in BLOCK.finditer(whole_text):
        language, text = block["language"], block["text"]
        if language == "output":
            assert re.fullmatch(pattern_of(text), printed, re.DOTALL), f"{name_of(page)} says:\n{text}\nis:\n{printed}"
        elif language == "toml":
            check_plan(text, folder)
        else:
            printed = "".join(
                run([LEAVE_OUT_PLOTS + script, *words], folder) for script, *words in commands(language, text)
            )


def run(program: list[str], folder: Path) -> str:
    """Run a script with arguments; returns what it printed."""
    finished = start(*program, cwd=folder).finished()
    printed = finished.stdout + finished.stderr
    expected = {0, 1} if "compare" in program else {0}  # as diff, it ends with 1 where it finds a difference
    assert finished.returncode in expected, f"{program}: {printed}"
    return printed


def commands(language: str, text: str) -> list[list[str]]:
    """Turn a block into scripts with arguments: this program, Python, head, or make (which CI runs itself)."""
    if language == "python":
        return [[text]]
    if language == "text":
        return []
    assert language == "sh", f"what is a block of {language}?"
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        program, *arguments = line.partition("#")[0].removeprefix("python -m ").split()
        if program == "make":
            assert f"make {arguments[0]}" in (REPO / ".ci/run").read_text(encoding="utf-8")
        elif program == "head":
            found.append([f"import subprocess; subprocess.run({[program, *arguments]}, check=True)"])
        else:
            assert program == "catnip2bids", f"no test knows how to run {line!r}"
            found.append([SMALL_DEMO if arguments[0] == "demo" else WITHOUT_DANDI, *arguments])
    return found


def check_plan(text: str, folder: Path) -> None:
    """Read a whole plan, or what stands in its table `dataset`."""
    if "[[run]]" in text:
        (folder / "plan-of-the-page.toml").write_text(text, encoding="utf-8")
        read_plan(folder / "plan-of-the-page.toml")
    else:
        document = tomllib.loads(text)
        AboutDataset.model_validate(document.get("dataset", document))


def test_sizes_in_the_tutorial_are_those_of_the_demo() -> None:
    shape = inspect.signature(write_cohort).parameters["shape"].default
    heat_map_shape = [math.ceil(n * um / 25.0) for n, um in zip(shape, (5.0, 3.7, 3.7), strict=True)]  # 25 um each
    n_levels, n_images, n_heat_maps = len(plan_levels(shape, (5.0, 3.7, 3.7))), 14, 6
    n_planes = n_images * shape[0] + n_heat_maps * heat_map_shape[0]
    n_bytes = 28 * math.prod(shape) + 4 * n_heat_maps * math.prod(heat_map_shape)
    n_more = n_images * (n_levels - 1)  # each level has a document, and at least one file of pixels
    assert [*SIZES] == [
        f"{shape[2]} x {shape[1]} x {shape[0]}",
        f"{n_planes:,} planes",
        f"{shape[0]} planes, {n_levels} levels",
        f"{134 + n_more} other files",
        f"reading {n_bytes / 2**20:.0f} MiB of pixels, writing about ... MiB in {66 + 2 * n_more} files",
    ]


@pytest.mark.parametrize("part", [AboutDataset, PlannedRun, Participant, PlannedEntry])
def test_the_reference_has_all_keys_of_a_plan(part: type[BaseModel]) -> None:
    text = (DOCS / "reference/plan.md").read_text(encoding="utf-8")
    assert [key for key in part.model_fields if f"`{key}`" not in text] == []


@pytest.mark.parametrize(
    ("output", "printed", "fits"),
    [
        ("a\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("...\na\n", "a\n", True),
        ("...\na\n", "1\n2\na\n", True),
        ("...\na\n", "ba\n", False),
        ("a\n...\n", "a\n1\n2\n", True),
        ("a ... c\n", "a b c\n", True),
        ("a.c\n", "abc\n", False),
    ],
)
def test_dots_in_an_output_stand_for_anything(output: str, printed: str, *, fits: bool) -> None:
    assert bool(re.fullmatch(pattern_of(output), printed, re.DOTALL)) == fits


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        assert path.exists() or path.is_relative_to(DOCS / MADE_BY_THE_BUILD), f"{name_of(page)}: {target}"


def test_the_reference_has_all_public_names() -> None:
    text = (DOCS / "reference/python.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^::: [\w.]+\.(\w+)$", text, re.MULTILINE))
    choices = {name for name, found in vars(catnip2bids.enums).items() if isinstance(found, EnumType)} - {"StrEnum"}
    inside_of_others = {"Catnip2bidsError", "__version__"}
    assert {*catnip2bids.__all__, *choices, "Action"} - inside_of_others <= described
    assert "::: catnip2bids.errors" in text
    assert "`catnip2bids.__version__`" in text


def test_ratios_beside_other_tools_are_those_that_were_measured() -> None:
    measured = (DOCS / "explanation/performance.md").read_text(encoding="utf-8")
    claimed = re.findall(r"\d+\.\d+", (DOCS / "explanation/other-tools.md").read_text(encoding="utf-8"))
    assert len(claimed) >= 5
    assert [ratio for ratio in claimed if f" {ratio} |" not in measured] == []


UNITS = {"GB": 1, "TB": 1000, "s": 1, "min": 60, "h": 3600}
"""In GB, and in seconds."""


def test_times_for_large_data_follow_from_what_was_measured() -> None:
    measured = (DOCS / "explanation/performance.md").read_text(encoding="utf-8")
    page = (DOCS / "explanation/sizes.md").read_text(encoding="utf-8")
    a_command = r"^\| `(?:package`: |verify`|restore`)[^|]*\| ([\d.]+) \| [\d.]+ \| [\d.]+ \|$"
    package, verify, restore = re.findall(a_command, measured, re.MULTILINE)
    assert re.findall(r"\| 7\.5 GB in ([\d.]+) s \|", page) == [package, verify, restore]
    two, eight = re.findall(r"^\| (?:2|8) \| [\d.]* *\| ([\d.]+) \|$", measured, re.MULTILINE)
    assert float(eight) / float(two) == pytest.approx(1 / 3, rel=0.1), "with 8 cores in a third of the time"
    rows = re.findall(r"^\| ([\d.]+ [GT]B) \|(.+)\|$", page, re.MULTILINE)
    assert len(rows) == 5
    for files, others in rows:
        n_gb, *values = [float(text.split()[0]) * UNITS[text.split()[1]] for text in (files, *others.split("|"))]
        pixels_gb = n_gb / 0.4
        times = [pixels_gb / 7.5 * float(seconds) for seconds in (package, package, verify, restore)]
        times[1] /= 3
        assert values == pytest.approx([pixels_gb, 0.35 * pixels_gb, *times], rel=0.05)


def test_the_animation_of_the_readme_is_small() -> None:
    path = DOCS / "tour.webp"
    assert path.stat().st_size < 3 * 10**6
    with Image.open(path) as picture:
        assert len(list(ImageSequence.Iterator(picture))) > 10
    assert "docs/tour.webp" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
