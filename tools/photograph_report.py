"""Photograph every page of a report as people see it: python tools/photograph_report.py DATASET FOLDER.

Each page is taken on a desk (1400 pixels), on a phone (390), in the dark, as a person without green cones sees it, and
as a PDF of what is printed. Look at each picture; nothing is compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browser import CHROMIUM

_WIDTHS = {"desk": 1400, "phone": 390}
_ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")


def main() -> int:
    """Photograph the pages that the command line names."""
    parser = argparse.ArgumentParser(description="Photograph every page of a report.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["desk", "phone", "dark", "deuteranopia", "print"])
    parser.add_argument("--pages", nargs="+", help="names of pages without .html (default: all)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        for page in sorted((given.dataset.resolve() / "docs/report").glob("*.html")):
            for kind in given.kinds if not given.pages or page.stem in given.pages else []:
                photograph(browser, page, kind, given.folder)
        browser.close()
    return 0


def photograph(browser: Browser, path: Path, kind: str, folder: Path) -> None:
    """Take a picture of one page, or print it."""
    page = browser.new_page(
        viewport={"width": _WIDTHS.get(kind, 1400), "height": 900}, color_scheme="dark" if kind == "dark" else "light"
    )
    page.goto(path.as_uri())
    page.wait_for_selector("canvas[aria-busy]", state="detached")
    page.wait_for_timeout(600)
    target = folder / f"{path.stem}-{kind}"
    if kind == "print":
        page.pdf(path=target.with_suffix(".pdf"), format="A4", print_background=False)
    else:
        if kind == "deuteranopia":
            session = page.context.new_cdp_session(page)
            session.send("Emulation.setEmulatedVisionDeficiency", {"type": "deuteranopia"})
        page.screenshot(path=target.with_suffix(".png"), full_page=True)
    page.close()


if __name__ == "__main__":
    sys.exit(main())
