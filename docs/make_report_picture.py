"""Draw docs/report.webp, a page of the demo's report in Chromium: python docs/make_report_picture.py DEMO_FOLDER."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

PAGE = "dataset/docs/report/sub-10002wt_sample-RightHemisphere_stain-cFos.html"
WINDOW = (1280, 1400)


def main(demo: Path) -> None:
    """Open the page, and keep what is seen of it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
        page.goto((demo / PAGE).resolve().as_uri())
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)
        seen = Image.open(io.BytesIO(page.screenshot()))
        browser.close()
    seen.save(Path(__file__).with_name("report.webp"), quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
