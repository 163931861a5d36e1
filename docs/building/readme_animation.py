"""Draw docs/tour.webp, the animation in the README: python docs/building/readme_animation.py DEMO_FOLDER.

It shows the report of a demo, opens a marked place in the viewer, and selects a region there.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize

from catnip2bids import Viewing, view
from pictures import SAMPLE_PAGE, photographing, wait_for_viewer

WINDOW = ViewportSize(width=1180, height=900)
MOST_BYTES = 3 * 10**6
_QUALITY = 70
_REGION = "CA1"
_PANEL_3D = 2
_N_TURNS = 8

Frame = tuple[Image.Image, int]
"""A picture, and for how many milliseconds it is shown."""


def main(demo: Path) -> None:
    """Take all pictures, and save them as one; raise ValueError if it is larger than a README should load."""
    with view(demo / "dataset") as viewing, photographing(WINDOW) as page:
        frames = [*report_frames(page, viewing), *viewer_frames(page)]
    pictures, durations_ms = zip(*frames, strict=True)
    path = Path(__file__).parents[1] / "tour.webp"
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=durations_ms, loop=0, quality=_QUALITY, method=6)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: has {path.stat().st_size:,} bytes, and at most {MOST_BYTES:,} are allowed")


def report_frames(page: Page, viewing: Viewing) -> Iterator[Frame]:
    """Show the overview and the page of a sample, and follow its link into the viewer."""
    page.emulate_media(reduced_motion="reduce")  # pages then scroll at once
    page.goto(f"{viewing.list_url}report/index.html")
    yield photograph(page, 2500)
    page.locator("#comparison tr", has_text=_REGION).first.get_by_role("button").click()
    page.locator("#groups").evaluate("heading => heading.scrollIntoView()")
    yield photograph(page, 3000)
    page.goto(f"{viewing.list_url}report/{Path(SAMPLE_PAGE).name}")
    page.locator("#look").evaluate("heading => heading.scrollIntoView()")
    yield photograph(page, 2500)
    page.locator("#counts-table tr", has_text=_REGION).first.get_by_role("button").click()
    page.locator("#look").evaluate("heading => heading.scrollIntoView()")
    yield photograph(page, 2500)
    link = page.locator("#viewer-slices a")
    link.evaluate("link => { link.target = ''; link.scrollIntoView({block: 'center'}) }")
    link.focus()
    yield photograph(page, 1500)
    link.click()


def viewer_frames(page: Page) -> Iterator[Frame]:
    """Show the sections with regions and cells, and a region in 3D from several sides."""
    wait_for_viewer(page)
    yield photograph(page, 3000)
    box = page.get_by_placeholder("Find:")
    box.fill(_REGION)
    yield photograph(page, 1200)
    box.press("Enter")
    wait_for_viewer(page)
    yield photograph(page, 2500)
    panel = page.locator(".neuroglancer-rendered-data-panel").nth(_PANEL_3D).bounding_box()
    if panel is None:
        raise ValueError("the viewer has no 3D panel")
    x, y = panel["x"] + panel["width"] / 2, panel["y"] + panel["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for turn in range(1, _N_TURNS + 1):
        page.mouse.move(x + 20 * turn, y)
        yield photograph(page, 250 if turn < _N_TURNS else 2500)
    page.mouse.up()


def photograph(page: Page, duration_ms: int) -> Frame:
    """Wait until all is drawn, and take a picture of the page."""
    page.wait_for_function("!document.querySelector('canvas[aria-busy]') && !(window.viewer && !viewer.isReady())")
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB"), duration_ms


if __name__ == "__main__":
    main(Path(sys.argv[1]))
