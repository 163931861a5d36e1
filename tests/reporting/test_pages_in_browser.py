"""The pages of the report, used in a real browser: clicked, typed into, looked at for what assistive programs need."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from browser import DESKTOP, PHONE, needs_browser
from browsing import Trouble, browser, browsing
from catnip2bids.catnip.component_type import Action
from catnip2bids.formatting import format_number
from catnip2bids.packaging import package
from catnip2bids.plan import make_plan
from catnip2bids.scanning import scan
from catnip2bids.viewing import view
from runs import FLOX, KO, KO_PREFIX, level, read_tsv, settings, write_l0

__all__ = ["browser"]

pytestmark = needs_browser

HOSTILE = """<script>document.title="broken"</script><img/src=x>'"&amp;"""
_SHAPE = (20, 120, 108)
FLOX_PREFIX = "sub-45925floxed_sample-RightHemisphere_stain-cFos"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two animals; names of files, regions and of the dataset try to break out."""
    folder = tmp_path_factory.mktemp("pages")
    ko = write_l0(folder / "cohort", KO, shape=_SHAPE, thresholds=(10000, 15000), seed=1)
    write_l0(folder / "cohort", FLOX, shape=_SHAPE, exclusion=True, seed=2)
    (ko / HOSTILE.replace("/", "\\")).write_bytes(b"\0" * 10)
    for table in (folder / "cohort").rglob("*.csv"):
        table.write_text(table.read_text().replace("Thalamus", HOSTILE.replace(",", "")))
    plan = make_plan(scan([folder / "cohort"]))
    plan.dataset.name, plan.dataset.authors, plan.dataset.license = HOSTILE, ["A. Person", HOSTILE], "CC0"
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
    address = page.evaluate("id => document.querySelector(id).toDataURL()", canvas)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.asarray(picture.convert("RGBA"))


@pytest.mark.parametrize(("window", "dark"), [(DESKTOP, False), pytest.param(PHONE, True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["index", KO_PREFIX])
def test_pages_open_without_trouble(
    browser: Browser, dataset: Path, name: str, window: tuple[int, int], dark: bool
) -> None:
    with browsing(browser, window, dark=dark) as (page, trouble):
        page.goto(address(dataset, name))
        page.wait_for_selector("#dots svg, canvas")
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
    n_planes = opened.locator(".mosaic button").count()
    opened.locator(".mosaic button").nth(n_planes // 2).click()
    wait_until_drawn(opened)
    before = colors_of(opened, "#plane")
    opened.focus("#slider")
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowRight")
    wait_until_drawn(opened)
    assert n_planes == _SHAPE[0]
    assert opened.inner_text("#plane-number") == str(n_planes // 2 + 3)
    assert not np.array_equal(colors_of(opened, "#plane"), before)
    assert opened.locator('.mosaic button[aria-pressed="true"]').get_attribute("data-number") == str(n_planes // 2 + 3)
    opened.locator(".mosaic button").nth(n_planes // 2).click()
    wait_until_drawn(opened)
    assert np.array_equal(colors_of(opened, "#plane"), before)
    assert opened.get_attribute("#plane", "aria-label") == f"plane {n_planes // 2 + 1}"
    assert f"All {n_planes} planes are here" in opened.inner_text(".stage figcaption")


def test_the_overview_names_authors_and_licence(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset))
    assert opened.inner_text("header .what") == f"A. Person, {HOSTILE} \u00b7 licence CC0"


_RECORD_TEXTS = """
window.written = [];
const { fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (...text) { written.push(text[0]); fillText.apply(this, text); };
"""


def test_planes_have_one_number_in_pictures_and_beside_them(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.add_init_script(_RECORD_TEXTS)
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    number = opened.inner_text("#plane-number")
    assert number == "11"
    titles = {text.partition(", left")[0] for text in opened.evaluate("written") if ", orientation" in text}
    names = {"z": "plane", "y": "y =", "x": "x ="}
    views = brain_of(opened)["views"]
    assert f"XY, plane {number}" in titles
    assert titles <= {f"{view['title']}, {names[view['axis']]} {view['at'] + 1}" for view in views}
    assert "planes, x and y are counted from 1" in opened.inner_text("main")


def names_of(dataset: Path) -> dict[int, str]:
    """Return the names of the regions, by label value."""
    rows = read_tsv(dataset / "derivatives/catnip/dseg.tsv")
    return {int(row["index"]): row["name"].replace("_", " ") for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize(("canvas", "axis"), [("#plane", 0), ("#slice-1", 1), ("#slice-2", 2)])
def test_the_region_under_the_pointer_is_the_one_of_the_labels(
    dataset: Path, page: tuple[Page, Trouble], canvas: str, axis: int
) -> None:
    opened, _ = page
    [atlas] = dataset.glob(f"derivatives/catnip/sub-45670ko/micr/{KO_PREFIX}_*desc-atlas_SPIM.ome.zarr")
    volume, names = level(atlas), names_of(dataset)
    middle = _SHAPE[0] // 2 if axis == 0 else _median(volume != 0, axis)
    labels = volume.take(middle, axis=axis)
    if axis == 2:
        labels = labels.T  # rows are y, as in the slice beside it
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    shown = opened.locator(canvas)
    shown.scroll_into_view_if_needed()
    box = shown.bounding_box()
    assert box is not None
    height, width = labels.shape
    tried = 0
    for value in np.unique(labels)[1::3]:  # each move of the mouse draws a slice
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
@pytest.mark.parametrize("window", [(1280, 900), (1366, 650), (844, 390), (390, 844)])
def test_pictures_keep_their_shape_in_any_window(browser: Browser, dataset: Path, window: tuple[int, int]) -> None:
    with browsing(browser, window) as (opened, _):
        opened.goto(address(dataset, KO_PREFIX))
        boxes = [canvas.bounding_box() for canvas in opened.locator("canvas").all()]
        sizes_um = [(108 * 3.7, 120 * 3.7), (108 * 3.7, 20 * 5.0), (20 * 5.0, 120 * 3.7), (108 * 3.7, 120 * 3.7)]
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
        return int((np.ptp(pixels, axis=-1) > 24).sum())

    outlines = colored()
    opened.check('input[name="regions"][value="colours"]')
    assert colored() > outlines > 0
    opened.fill("#region-opacity", "10")
    faint = colored()
    assert faint < colored_with(opened, "#region-opacity", "100", colored)
    opened.check('input[name="regions"][value="off"]')
    cells = colored()
    assert 0 < cells < outlines
    assert colored_with(opened, "#cell-opacity", "0", colored) == 0
    assert colored_with(opened, "#cell-opacity", "100", colored) >= cells
    opened.check('input[name="cells-1"]')
    opened.uncheck('input[name="cells-0"]')
    assert 0 < colored() < cells
    opened.uncheck('input[name="cells-1"]')
    assert colored() == 0
    before = colors_of(opened, "#plane")
    opened.uncheck('input[name="names"]')
    assert not np.array_equal(before, colors_of(opened, "#plane"))
    opened.uncheck('input[name="image"]')
    dark = colors_of(opened, "#plane")[..., :3].max(axis=-1) == 0
    assert 0.9 < dark.mean() < 1  # all but the scale bar and what is written


def colored_with(page: Page, slider: str, value: str, colored: Callable[[], int]) -> int:
    page.fill(slider, value)
    return colored()


def brain_of(page: Page) -> dict[str, Any]:
    """Return the data of the pictures of a page."""
    found: dict[str, Any] = page.evaluate("JSON.parse(document.getElementById('brain').textContent)")
    return found


@pytest.mark.slow
def test_uncounted_cells_are_hollow_and_counted_cells_are_not(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    tables = {
        ending: cells_of(dataset, f"{KO_PREFIX}*desc-FRSTseg10000_{ending}.tsv.gz") for ending in ("cells", "uncounted")
    }
    n_outside = sum(row["reason"] == "outside" for row in tables["uncounted"])
    assert n_outside > 0
    text = opened.inner_text("main")
    words = f"threshold 10000: {len(tables['cells']):,} counted, {n_outside:,} outside the mask"
    assert words in text
    opened.check('input[name="regions"][value="off"]')
    opened.uncheck('input[name="image"]')
    cells = [view["cells"][0] for view in brain_of(opened)["views"][3:]]
    best = max(range(len(cells)), key=lambda n: min(map(len, cells[n][:2])))
    counted, uncounted, n_all = cells[best]
    assert n_all == (len(counted) + len(uncounted)) // 2
    opened.locator(".mosaic button").nth(best).click()
    wait_until_drawn(opened)
    pixels = colors_of(opened, "#plane")
    is_lit = np.abs(pixels[..., :3].astype(int) - (0xF0, 0xE4, 0x42)).max(axis=-1) < 70

    def lit_at(places: list[int]) -> float:
        scaled = np.array(places).reshape(-1, 2) / 4096 * (is_lit.shape[1] - 1, is_lit.shape[0] - 1)
        return float(np.mean([is_lit[y, x] for x, y in np.rint(scaled).astype(int)]))

    assert lit_at(counted) > 0.9
    assert lit_at(uncounted) < 0.4
    opened.uncheck('input[name="uncounted"]')
    assert colors_of(opened, "#plane").sum() < pixels.sum()


def cells_of(dataset: Path, pattern: str) -> list[dict[str, str]]:
    """Read a table of cells with Python's own readers."""
    [path] = dataset.glob(f"derivatives/*/sub-*/micr/{pattern}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def place_of(page: Page, picture: str = "plane") -> tuple[int, ...]:
    """Return the voxel of the command beside a picture."""
    return tuple(map(int, page.inner_text(f"#viewer-{picture} code").partition("--position ")[2].split()))


@pytest.mark.slow
def test_a_plane_is_zoomed_and_moved_and_a_place_is_told_for_the_viewer(
    dataset: Path, page: tuple[Page, Trouble]
) -> None:
    opened, trouble = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    opened.locator("#plane").scroll_into_view_if_needed()
    whole = colors_of(opened, "#plane")
    box = opened.locator("#plane").bounding_box()
    assert box is not None
    opened.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.75)
    x, y, z = place_of(opened)
    assert (abs(x - 27) <= 1, abs(y - 90) <= 1, z) == (True, True, _SHAPE[0] // 2)
    opened.get_by_role("button", name="zoom in").click()
    zoomed = colors_of(opened, "#plane")
    assert not np.array_equal(whole, zoomed)
    opened.mouse.move(box["x"] + 100, box["y"] + 300)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 160, box["y"] + 340)
    opened.mouse.up()
    assert not np.array_equal(zoomed, colors_of(opened, "#plane"))
    assert place_of(opened) == (x, y, z)  # dragging is not clicking
    opened.focus("#plane")
    opened.keyboard.press("0")
    opened.keyboard.press("+")
    opened.keyboard.press("-")
    # the middle again: click on the same place, so that the same mark is drawn
    opened.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.75)
    opened.mouse.move(2, 2)
    assert np.abs(colors_of(opened, "#plane").astype(int) - whole).mean() < 5
    assert trouble.errors == []


@pytest.mark.slow
def test_the_place_of_a_picture_is_opened_in_the_viewer(browser: Browser, dataset: Path) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    try:
        page = context.new_page()
        page.goto(address(dataset, KO_PREFIX))
        wait_until_drawn(page)
        page.locator("#slice-0").click(position={"x": 40, "y": 60})
        page.get_by_role("button", name="copy the command that opens the marked place in the viewer").click()
        command = page.evaluate("navigator.clipboard.readText()")
        program, view_command, path, *options = shlex.split(command)
        assert (program, view_command, path) == ("catnip2bids", "view", str(dataset))
        assert options[:2] == ["--image", f"{KO_PREFIX}_SPIM.ome.zarr"]
        assert options[2] == "--position"
        x, y, z = map(int, options[3:])
        with view(path, image=options[1], position=(x, y, z)) as viewing:
            page.goto(viewing.url)
            page.wait_for_function("window.viewer && viewer.position.value.length === 3", timeout=60_000)
            assert page.evaluate("[...viewer.position.value]") == [x, y, z]
    finally:
        context.close()


@pytest.mark.slow
def test_a_row_of_the_table_highlights_its_region_and_opens_its_plane(
    dataset: Path, page: tuple[Page, Trouble]
) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    opened.uncheck('input[name="cells-0"]')
    before = colors_of(opened, "#slice-0")
    region = next(region for region in brain_of(opened)["regions"] if region["name"] == "Hypothalamus")
    row = opened.locator("#counts-table tr", has_text="Hypothalamus")
    row.get_by_role("button").click()
    wait_until_drawn(opened)
    assert opened.inner_text("#here").startswith("Hypothalamus (HY): ")
    assert "chosen" in (row.get_attribute("class") or "")
    assert opened.locator('.mosaic button[aria-pressed="true"]').get_attribute("data-number") == str(
        region["plane"] + 1
    )
    assert not np.array_equal(colors_of(opened, "#slice-0"), before)


@pytest.mark.slow
def test_tables_are_sorted_and_searched_and_unknown_values_are_last(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, FLOX_PREFIX))

    def column(number: int) -> list[str]:
        return opened.locator(f"#counts-table tbody tr:visible td:nth-child({number})").all_inner_texts()

    labels = [int(label) for label in column(opened.locator("#counts-table th").count())]
    assert labels == sorted(labels)
    opened.select_option("#series", label_of(opened, "damaged"))
    excluded = opened.locator('#counts-table th[data-series="1"] >> nth=0')
    number = excluded.evaluate("head => head.cellIndex") + 1
    for order, sign in (("descending", -1), ("ascending", 1)):
        excluded.get_by_role("button").click()
        assert excluded.get_attribute("aria-sort") == order
        cells = column(number)
        known = [sign * int(text.replace(",", "")) for text in cells if text != "n/a"]
        assert known == sorted(known)
        assert set(cells[len(known) :]) == {"n/a"}
        assert len(set(known)) > 2
    opened.focus("#counts-table th:nth-child(1) button")
    opened.keyboard.press("Enter")
    names = [name.lower() for name in column(1)]
    assert names == sorted(names)
    opened.fill("#find", "motor")
    assert [name for name in column(1) if "motor" not in name.lower()] == []
    assert opened.inner_text("#found") == f"{len(column(1))} found"
    with opened.expect_download() as saved:
        opened.locator('[data-save="counts-table"] button').click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert saved.value.suggested_filename.endswith("_cells_by_region.tsv")
    head, *rows = (line.split("\t") for line in lines)
    plain = ["cells, 10000", "cells per mm3, 10000", "volume, mm3, 10000"]
    assert head[:5] == ["region", "short", *plain]
    assert head[5:8] == [f"{name}, damaged regions left out" for name in plain]
    assert len(rows) == len(column(1))
    assert not any(row[0].endswith("damaged") for row in rows)
    for n_cells, density, volume in (row[start : start + 3] for row in rows for start in (2, 5)):
        if "n/a" not in (n_cells, density, volume):
            assert float(n_cells) / float(volume) == pytest.approx(float(density))


@pytest.mark.slow
def test_the_table_of_groups_is_saved_with_what_it_compares(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, "index"))
    opened.select_option("#measure", "cells")
    with opened.expect_download() as saved:
        opened.locator('[data-save="comparison"] button').click()
    head, *rows = (line.split("\t") for line in Path(saved.value.path()).read_text(encoding="utf-8").splitlines())
    cells = f"cells, {opened.locator('#series option:checked').inner_text()}"
    groups = [name.removesuffix(f" mean {cells}") for name in head if name.endswith(f" mean {cells}")]
    assert len(groups) > 1
    assert head[-2:] == ["group with most", "more than the least"]
    means = [head.index(f"{group} mean {cells}") for group in groups]
    compared = 0
    for row in rows:
        known = {group: float(row[at]) for group, at in zip(groups, means, strict=True) if row[at] != "n/a"}
        if row[-2] != "n/a":
            compared += 1
            assert known[row[-2]] == max(known.values())
            assert float(row[-1]) == pytest.approx(max(known.values()) - min(known.values()), rel=1e-6)
    assert compared


def label_of(page: Page, words: str) -> str:
    """Return the value of the option of the segmentations that has these words."""
    found: str = page.locator("#series option", has_text=words).first.get_attribute("value") or ""
    return found


@pytest.mark.slow
def test_charts_are_those_of_the_threshold_with_full_names_and_are_saved(
    dataset: Path, page: tuple[Page, Trouble]
) -> None:
    opened, trouble = page
    opened.goto(address(dataset, KO_PREFIX))
    charts = opened.locator(".two[data-series]")
    assert charts.count() == 2
    assert (charts.nth(0).is_visible(), charts.nth(1).is_visible()) == (True, False)
    opened.select_option("#series", "1")
    assert (charts.nth(0).is_visible(), charts.nth(1).is_visible()) == (False, True)
    assert "threshold 15000" in charts.nth(1).inner_text()
    titles = charts.nth(1).locator("svg title").all_text_contents()
    assert any(title.startswith("Piriform area: ") for title in titles)
    assert "Piriform area" in titles  # of the name at the axis
    with opened.expect_download() as saved:
        charts.nth(1).get_by_role("button", name="SVG").last.click()
    svg = Path(saved.value.path()).read_text(encoding="utf-8")
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert "color: #1b2027" in svg
    with opened.expect_download() as saved:
        charts.nth(1).get_by_role("button", name="PNG").last.click()
    with Image.open(saved.value.path()) as plot:
        assert plot.width > 800
        pixels = np.asarray(plot.convert("RGB"))
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert (np.ptp(pixels.astype(int), axis=-1) > 40).mean() > 0.02  # bars have colours
    assert trouble.errors == []


@pytest.mark.slow
def test_a_picture_is_saved_as_it_is_shown(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset, KO_PREFIX))
    wait_until_drawn(opened)
    with opened.expect_download() as saved:
        opened.locator('[data-picture-of="slice-0"] button').click()
    with Image.open(saved.value.path()) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGBA")), colors_of(opened, "#slice-0"))


def spoken(page: Page, selector: str) -> str:
    """Return a text with ordinary spaces."""
    return page.inner_text(selector).replace("\u00a0", " ")


def densities_of(dataset: Path, name: str, threshold: str) -> dict[str, float]:
    rows = read_tsv(dataset / "derivatives/catnip-counts/counts.tsv")
    return {
        row["participant_id"]: float(row["density_per_mm3"])
        for row in rows
        if (row["threshold"], row["corrected"], row["name"]) == (threshold, "false", name)
    }


@pytest.mark.slow
def test_groups_are_compared_in_the_chosen_region(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, trouble = page
    opened.goto(address(dataset))
    opened.wait_for_selector("#dots svg")
    found = densities_of(dataset, "Piriform_area", "10000")
    ko, floxed = found["sub-45670ko"], found["sub-45925floxed"]
    opened.get_by_role("button", name="Piriform area").click()
    text = spoken(opened, "#region-text")
    assert text.startswith(
        f"Piriform area, cells per mm3: floxed {floxed:,.0f} (n = 1), ko {ko:,.0f} (n = 1). On average "
    )
    more, less = sorted([(ko, "ko"), (floxed, "floxed")], reverse=True)
    difference = more[0] - less[0]
    assert (
        f"{more[1]} has {difference:,.0f} more than {less[1]} (+{format_number(100 * difference / less[0])} %)." in text
    )
    row = opened.locator("#comparison tr", has_text="Piriform area")
    assert [text.replace("\u00a0", " ") for text in row.locator("td").all_inner_texts()[3:5]] == [
        f"{floxed:,.0f} (n = 1)",
        f"{ko:,.0f} (n = 1)",
    ]
    opened.select_option("#column", "sex")
    assert opened.locator("#comparison th").all_inner_texts()[3:5] == ["female", "male"]
    assert f"female {ko:,.0f} (n = 1), male {floxed:,.0f} (n = 1)" in spoken(opened, "#region-text")
    dots = opened.locator("#dots svg .mark-symbol path")
    assert dots.count() == 2
    assert opened.locator("#dots svg .mark-rect path").count() == 0  # one animal has no mean
    labels = [dots.nth(n).get_attribute("aria-label") or "" for n in range(2)]
    assert sorted(labels) == [
        f"sub-45670ko, sex female: {ko:,.0f} cells per mm3",
        f"sub-45925floxed, sex male: {floxed:,.0f} cells per mm3",
    ]
    opened.select_option("#series", label="threshold 15000")
    assert "male n/a; 1 without a value." in spoken(opened, "#region-text")
    assert opened.locator("#ranking").is_hidden()
    assert opened.locator("#ranking + .save").is_hidden()
    assert opened.inner_text("#ranking-none") == "No region differs."
    assert opened.inner_text("#shown") == "by sex: cells per mm3, threshold 15000"
    assert opened.inner_text("#region-title") == "Piriform area: cells per mm3, threshold 15000, by sex"
    assert "threshold 15000" in (opened.text_content("#dots svg") or "")
    opened.select_option("#measure", "cells")
    assert "Piriform area, cells:" in spoken(opened, "#region-text")
    assert trouble.errors == []


@pytest.mark.slow
def test_the_table_of_groups_is_the_same_without_scripts(browser: Browser, dataset: Path) -> None:
    with browsing(browser) as (page, _):
        page.goto(address(dataset))
        page.wait_for_selector("#dots svg")
        scripted = page.locator("#comparison tr:visible").all_inner_texts()
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(address(dataset))
        assert page.locator("#comparison tr:visible").all_inner_texts() == scripted
        assert not page.locator("#series").is_visible()
        page.goto(address(dataset, KO_PREFIX))
        assert page.locator(".orthogonal img >> nth=0").is_visible()
        assert not page.locator("canvas >> nth=0").is_visible()
    finally:
        context.close()


@pytest.mark.slow
def test_two_samples_stand_side_by_side(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, trouble = page
    opened.goto(address(dataset))
    opened.wait_for_selector("#pair-1 img")
    titles = [opened.inner_text(f"#pair-{n} h3") for n in range(2)]
    assert titles == ["45670ko · LeftHemisphere · cFos", "45925floxed · RightHemisphere · cFos"]
    boxes = [opened.locator(f"#pair-{n} img >> nth=0").bounding_box() for n in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    assert boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    row = opened.locator("#pair-table tr", has_text="Piriform area")
    found = densities_of(dataset, "Piriform_area", "10000")
    shown = [float(text.replace(",", "")) for text in row.locator("td").all_inner_texts()[2:]]
    expected = [found["sub-45670ko"], found["sub-45925floxed"], found["sub-45925floxed"] - found["sub-45670ko"]]
    assert shown == pytest.approx(expected, rel=0.01, abs=1)
    with opened.expect_download() as saved:
        opened.locator('[data-save="pair-table"] button').click()
    head = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()[0].split("\t")
    shown_in = opened.inner_text("#pair-measure")
    assert "threshold 10000" in shown_in
    assert head[2:4] == [f"{title}, {shown_in}" for title in titles]
    opened.select_option("#second-sample", "0")
    assert opened.inner_text("#pair-1 h3") == titles[0]
    assert trouble.errors == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index", KO_PREFIX])
def test_plots_and_tables_fit_a_phone(browser: Browser, dataset: Path, name: str) -> None:
    with browsing(browser, PHONE) as (page, _):
        page.goto(address(dataset, name))
        page.wait_for_selector(".chart svg")
        widths = page.evaluate(
            "[...document.querySelectorAll('.chart svg')].map(svg => svg.getBoundingClientRect().right)"
        )
        assert max(widths) <= PHONE[0]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        rooms = page.evaluate(
            "[...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])"
        )
        assert [shown for shown, room in rooms if shown > room] == []
        heads = page.locator("table.data >> nth=0").locator("thead th").all_inner_texts()
        cells = page.locator("table.data >> nth=0").locator("tbody tr >> nth=0").locator("td:not(:first-child)")
        for cell, head in zip(cells.all(), heads[1:], strict=True):  # without the segmentation, which is chosen above
            assert head.startswith(cell.get_attribute("data-head") or "nothing")


@pytest.mark.slow
def test_long_tables_show_their_first_rows(dataset: Path, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(address(dataset))
    opened.evaluate("""() => {
        const table = document.getElementById("comparison");
        while (table.tBodies[0].rows.length < 40) table.tBodies[0].append(table.tBodies[0].rows[1].cloneNode(true));
        table.dispatchEvent(new Event("refill"));
    }""")
    rows = opened.locator("#comparison tbody tr:visible")
    assert rows.count() == 25
    opened.get_by_role("button", name="show all 40 rows").click()
    assert rows.count() == 40
    opened.get_by_role("button", name="show the first 25 rows").click()
    assert rows.count() == 25


@pytest.mark.slow
def test_it_prints(dataset: Path, page: tuple[Page, Trouble], tmp_path: Path) -> None:
    opened, _ = page
    opened.set_viewport_size({"width": 794, "height": 1123})  # A4
    opened.goto(address(dataset, KO_PREFIX))
    opened.emulate_media(media="print")
    assert not opened.locator(".controls").first.is_visible()
    assert opened.locator("#slice-0").is_visible()
    assert opened.evaluate("document.documentElement.scrollWidth") <= 794
    # Chromium leaves buttons out of table headers that it repeats on the next page
    assert opened.locator("th button").first.evaluate("button => getComputedStyle(button).display") == "contents"
    opened.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
