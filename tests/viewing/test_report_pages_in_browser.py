"""The report that the viewer serves, in a real browser: its links open the same places, and nothing goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from browser import DESKTOP, PHONE, needs_browser
from browsing import Trouble, browser, browsing
from catnip2bids import Viewing, report, view
from neuroglancer_pages import SECONDS
from viewed import KO, cohort, dataset

__all__ = ["browser", "cohort", "dataset"]

pytestmark = [needs_browser, pytest.mark.slow]
POSITION = "window.viewer && viewer.position.value.length === 3 && [...viewer.position.value].join(' ')"
VISIBLE = "viewer.layerManager.managedLayers.filter(layer => layer.visible).map(layer => layer.name)"


@pytest.fixture(scope="module")
def viewing(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewing]:
    """A dataset with a report."""
    copy = Path(shutil.copytree(dataset, tmp_path_factory.mktemp("reported") / "dataset"))
    report(copy)
    with view(copy) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[tuple[Page, Trouble]]:
    with browsing(browser) as opened:
        yield opened


@pytest.mark.parametrize(
    ("address", "window"),
    [("", DESKTOP), ("", PHONE), ("report/index.html", DESKTOP), (f"report/{KO}.html", PHONE)],
)
def test_pages_open_without_trouble(browser: Browser, viewing: Viewing, address: str, window: tuple[int, int]) -> None:
    with browsing(browser, window) as (page, trouble):
        page.goto(f"{viewing.list_url}{address}", wait_until="networkidle")
        expect(page.locator("canvas[aria-busy]")).to_have_count(0)
        assert (trouble.errors, trouble.failed) == ([], [])
        assert [asked for asked in trouble.requests if not asked.startswith(viewing.list_url)] == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        serious = [
            (found["id"], node["html"][:200])
            for found in Axe().run(page).response["violations"]
            if found["impact"] in ("serious", "critical")
            for node in found["nodes"]
        ]
        assert serious == []


def test_a_person_goes_from_the_list_to_a_place_in_the_viewer(viewing: Viewing, page: tuple[Page, Trouble]) -> None:
    opened, trouble = page
    opened.goto(viewing.list_url)
    for picture in opened.locator("img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True, timeout=SECONDS)
    opened.get_by_role("link", name="Report").click()
    opened.locator("#animals-table a").first.click()
    expect(opened.locator("canvas[aria-busy]")).to_have_count(0)
    opened.locator("#slice-0").click(position={"x": 60, "y": 40})
    link = opened.get_by_role("link", name="open the marked place in the viewer")
    place = (link.get_attribute("href") or "").rpartition("/")[2].replace(",", " ")
    with opened.context.expect_page() as started:
        link.click()
    started.value.wait_for_function(f"({POSITION}) === '{place}'", timeout=SECONDS)
    assert "atlas regions" in started.value.evaluate(VISIBLE)
    started.value.close()
    assert (trouble.errors, trouble.failed) == ([], [])


def test_each_picture_has_a_link_to_what_it_shows(viewing: Viewing, page: tuple[Page, Trouble]) -> None:
    opened, _ = page
    opened.goto(f"{viewing.list_url}report/index.html")
    places = [link.get_attribute("href") or "" for link in opened.locator(".sample .viewer a").all()]
    assert [place.partition("/open/")[2].partition("_SPIM")[0] for place in places] == [
        scene.sample for scene in viewing.scenes[::2]
    ]
    assert opened.locator("#pair-0 .viewer a").get_attribute("href") == places[0]
    assert opened.get_by_text("provenance.json").is_hidden()  # it is not served
    opened.goto(f"{viewing.list_url}report/{KO}.html")
    expect(opened.locator("canvas[aria-busy]")).to_have_count(0)
    opened.locator(".mosaic button").nth(2).click()
    plane = opened.locator("#viewer-plane a").get_attribute("href") or ""
    assert plane.endswith(",2")
    heat = opened.locator(".heat .viewer a")
    assert heat.count() == 2
    opened.goto(f"{viewing.list_url}report/{heat.nth(1).get_attribute('href')}")
    opened.wait_for_function(POSITION, timeout=SECONDS)
    assert opened.evaluate(VISIBLE) == ["heat map, threshold 15000"]
