"""The pages of the report, used in a real browser: clicked, typed into, looked at for what assistive programs need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from browser import DESKTOP, PHONE, needs_browser
from browsing import Trouble, browser, browsing
from catnip2bids.catnip.component_type import Action
from catnip2bids.packaging import package
from catnip2bids.plan import make_plan
from catnip2bids.scanning import scan
from runs import FLOX, KO, KO_PREFIX, level, read_tsv, settings, write_l0

__all__ = ["browser"]

pytestmark = needs_browser

HOSTILE = """<script>document.title="broken"</script><img/src=x>'"&amp;"""
_SHAPE = (12, 80, 72)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two animals; names of files, regions and of the dataset try to break out."""
    folder = tmp_path_factory.mktemp("pages")
    ko = write_l0(folder / "cohort", KO, shape=_SHAPE, thresholds=(10000, 15000))
    write_l0(folder / "cohort", FLOX, shape=_SHAPE, exclusion=True)
    (ko / HOSTILE.replace("/", "\\")).write_bytes(b"\0" * 10)
    for table in (folder / "cohort").rglob("*.csv"):
        table.write_text(table.read_text().replace("Thalamus", HOSTILE.replace(",", "")))
    plan = make_plan(scan([folder / "cohort"]))
    plan.dataset.name = HOSTILE
    [odd] = [entry for run in plan.runs for entry in run.entries if "script" in entry.source]
    odd.action, odd.reason = Action.EXCLUDE, HOSTILE
    package([folder / "cohort"], folder / "dataset", settings(report=True), plan)
    return folder / "dataset"


@pytest.fixture
def page(browser: Browser) -> Iterator[tuple[Page, Trouble]]:
    """An empty page of a window on a desk."""
    with browsing(browser) as opened:
        yield opened


def address(dataset: Path, name: str = "index") -> str:
    return (dataset / f"docs/report/{name}.html").as_uri()


def wait_until_drawn(page: Page) -> None:
    """Wait until all slices are drawn."""
    expect(page.locator("canvas[aria-busy]")).to_have_count(0)


def colors_of(page: Page, canvas: str) -> Any:
    """Return the pixels of a canvas, (rows, columns, 4)."""
    width, height, data = page.evaluate(
        "id => { const c = document.querySelector(id); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height); return [c.width, c.height, Array.from(d.data)]; }",
        canvas,
    )
    return np.array(data, np.uint8).reshape(height, width, 4)


@pytest.mark.parametrize(
    ("window", "dark"),
    [
        (DESKTOP, False),
        pytest.param(DESKTOP, True, marks=pytest.mark.slow),
        pytest.param(PHONE, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ["index", KO_PREFIX])
def test_pages_open_without_trouble(
    browser: Browser, dataset: Path, name: str, window: tuple[int, int], dark: bool
) -> None:
    with browsing(browser, window, dark=dark) as (page, trouble):
        page.goto(address(dataset, name))
        page.wait_for_selector("#cells svg, canvas")
        wait_until_drawn(page)
        assert (trouble.errors, trouble.failed) == ([], [])
        assert trouble.requests == [address(dataset, name)]
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0 && image.alt)")
        serious = [
            (found["id"], node["html"][:200])
            for found in Axe().run(page).response["violations"]
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
        ]
        assert serious == []


@pytest.mark.parametrize("name", ["index", KO_PREFIX])
def test_names_are_never_markup(dataset: Path, page: tuple[Page, Trouble], name: str) -> None:
    opened, trouble = page
    opened.goto(address(dataset, name))
    assert opened.title() == (HOSTILE if name == "index" else KO_PREFIX)
    assert opened.evaluate("document.querySelectorAll('img[src=\"x\"]').length") == 0
    text = opened.inner_text("main")
    assert HOSTILE in text
    if name == "index":
        assert HOSTILE.replace("/", "\\") in text
    assert (trouble.errors, trouble.failed) == ([], [])


@pytest.mark.slow
def test_the_slider_shows_other_planes(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    before = colors_of(opened, "#plane")
    opened.focus("#slider")
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowRight")
    wait_until_drawn(opened)
    n_planes = opened.locator(".mosaic button").count()
    assert n_planes == _SHAPE[0]
    assert opened.inner_text("#plane-number") == str(n_planes // 2 + 3)
    assert not np.array_equal(colors_of(opened, "#plane"), before)
    assert opened.locator('.mosaic button[aria-pressed="true"]').get_attribute("data-number") == str(n_planes // 2 + 3)
    opened.locator(".mosaic button").nth(n_planes // 2).click()
    wait_until_drawn(opened)
    assert np.array_equal(colors_of(opened, "#plane"), before)
    assert opened.get_attribute("#plane", "aria-label") == f"plane {n_planes // 2 + 1}"


def names_of(dataset: Path) -> dict[int, str]:
    """Return the names of the regions, by label value."""
    rows = read_tsv(dataset / "derivatives/catnip/dseg.tsv")
    return {int(row["index"]): row["name"].replace("_", " ") for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("canvas", "axis"), [("#plane", 0), (".orthogonal canvas >> nth=1", 1), (".orthogonal canvas >> nth=2", 2)]
)
def test_the_region_under_the_pointer_is_the_one_of_the_labels(
    dataset: Path, page: tuple[Page, Trouble], canvas: str, axis: int
) -> None:
    opened, _ = page
    [atlas] = dataset.glob(f"derivatives/catnip/sub-45670ko/micr/{KO_PREFIX}_*desc-atlas_SPIM.ome.zarr")
    volume, names = level(atlas), names_of(dataset)
    middle = _SHAPE[0] // 2 if axis == 0 else _median(volume != 0, axis)
    labels = volume.take(middle, axis=axis)
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    shown = opened.locator(canvas)
    shown.scroll_into_view_if_needed()
    box = shown.bounding_box()
    assert box is not None
    height, width = labels.shape
    tried = 0
    for value in np.unique(labels)[1:]:
        rows, columns = np.nonzero(labels == value)
        for place in {0, len(rows) // 2, len(rows) - 1}:
            x, y = (columns[place] + 0.5) / width, (rows[place] + 0.5) / height
            opened.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            assert opened.inner_text("#here").startswith(names[int(value)]), (value, rows[place], columns[place])
            tried += 1
    assert tried > 8
    opened.mouse.move(2, 2)
    assert opened.inner_text("#here").strip() == ""


def _median(inside: Any, axis: int) -> int:
    """Return the middle of a volume along an axis, as the report has it."""
    sums = inside.sum(axis=tuple(other for other in range(3) if other != axis)).cumsum()
    return int(np.searchsorted(sums, sums[-1] / 2))


@pytest.mark.slow
def test_regions_are_found_by_keys_and_by_touch(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    opened.focus("#plane")
    seen = set()
    for _ in range(12):
        opened.keyboard.press("ArrowDown")
        seen.add(opened.inner_text("#here").partition(":")[0].partition(" (")[0])
    assert len(seen & set(names_of(dataset).values())) >= 2
    opened.locator("#plane").dispatch_event("pointerdown", {"clientX": 0, "clientY": 0, "pointerType": "touch"})
    assert opened.inner_text("#here").strip() == ""


@pytest.mark.slow
@pytest.mark.parametrize("window", [(1280, 900), (1280, 720), (1366, 650), (844, 390), (390, 844)])
def test_pictures_keep_their_shape_in_any_window(browser: Browser, dataset: Path, window: tuple[int, int]) -> None:
    with browsing(browser, window) as (opened, _):
        opened.goto(address(dataset, KO_PREFIX))
        boxes = [canvas.bounding_box() for canvas in opened.locator("canvas").all()]
        sizes_um = [(72 * 3.7, 80 * 3.7), (72 * 3.7, 12 * 5.0), (80 * 3.7, 12 * 5.0), (72 * 3.7, 80 * 3.7)]
        for box, (width_um, height_um) in zip(boxes, sizes_um, strict=True):
            assert box is not None
            assert box["width"] / box["height"] == pytest.approx(width_um / height_um, rel=0.03)
        scales = [box["width"] / width_um for box, (width_um, _) in zip(boxes[:3], sizes_um, strict=False) if box]
        assert scales == pytest.approx([scales[0]] * 3, rel=0.03)


@pytest.mark.slow
def test_regions_and_cells_are_laid_over_the_image(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)

    def colored() -> int:
        pixels = colors_of(opened, "#plane")[..., :3].astype(int)
        return int((np.ptp(pixels, axis=-1) > 12).sum())

    outlines = colored()
    opened.check('input[name="regions"][value="colours"]')
    assert colored() > outlines > 0
    opened.check('input[name="regions"][value="off"]')
    cells = colored()
    assert 0 < cells < outlines
    opened.check('input[name="cells"] >> nth=1')
    opened.uncheck('input[name="cells"] >> nth=0')
    assert 0 < colored() < cells
    opened.uncheck('input[name="cells"] >> nth=1')
    assert colored() == 0
    opened.uncheck("#image")
    assert colors_of(opened, "#plane")[..., :3].max() == 0


@pytest.mark.slow
def test_tables_are_sorted_and_searched(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))

    def column(number: int) -> list[str]:
        return opened.locator(f"#counts-table tbody tr:visible td:nth-child({number})").all_inner_texts()

    labels = [int(label) for label in column(3)]
    assert labels == sorted(labels)
    opened.click("#counts-table th:nth-child(4) button")
    cells = [int(n) for n in column(4)]
    assert cells == sorted(cells, reverse=True)
    assert cells[0] > cells[-1]
    assert opened.get_attribute("#counts-table th:nth-child(4)", "aria-sort") == "descending"
    opened.focus("#counts-table th:nth-child(1) button")
    opened.keyboard.press("Enter")
    names = [name.lower() for name in column(1)]
    assert names == sorted(names)
    opened.fill("#find", "motor")
    assert [name for name in column(1) if "motor" not in name.lower()] == []
    assert opened.inner_text("#found") == f"{len(column(1))} found"


@pytest.mark.slow
def test_the_chart_is_that_of_the_threshold(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    charts = opened.locator("[data-series]")
    assert charts.count() == 2
    assert (charts.nth(0).is_visible(), charts.nth(1).is_visible()) == (True, False)
    opened.select_option("#series", "1")
    assert (charts.nth(0).is_visible(), charts.nth(1).is_visible()) == (False, True)
    assert "threshold 15000" in charts.nth(1).inner_text()


@pytest.mark.slow
def test_groups_are_those_of_the_chosen_region(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, trouble = page
    opened.goto(address(dataset))
    opened.wait_for_selector("#cells svg")
    rows = read_tsv(dataset / "derivatives/catnip-counts/counts.tsv")
    found = {
        row["participant_id"]: row["cell_count"]
        for row in rows
        if (row["threshold"], row["corrected"], row["name"]) == ("10000", "false", "Piriform_area")
    }
    opened.select_option("#region", label="Piriform area")
    ko, floxed = found["sub-45670ko"], found["sub-45925floxed"]
    assert opened.inner_text("#cells-text") == f"Piriform area, floxed: mean {floxed} (n = 1), ko: mean {ko} (n = 1)."
    opened.select_option("#group", "sex")
    assert f"female: mean {ko} (n = 1), male: mean {floxed}" in opened.inner_text("#cells-text")
    dots = opened.locator("#cells svg .mark-symbol path")
    assert dots.count() == 2
    assert f"cells: {ko}" in " ".join(dots.nth(n).get_attribute("aria-label") or "" for n in range(2))
    opened.select_option("#series", label="threshold 15000")
    assert opened.inner_text("#cells-text").endswith("; 1 without a count.")
    assert trouble.errors == []


@pytest.mark.slow
def test_it_prints(dataset: Path, page: tuple[Page, Trouble], tmp_path: Path) -> None:
    opened, _ = page
    opened.set_viewport_size({"width": 794, "height": 1123})  # A4
    opened.goto(address(dataset, KO_PREFIX))
    opened.emulate_media(media="print")
    assert not opened.locator(".controls").first.is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth") <= 794
    opened.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
