"""Draw docs/report.webp, a page of the demo's report: python docs/building/readme_picture.py DEMO_FOLDER."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import ViewportSize

from pictures import SAMPLE_PAGE, photographing, show

WINDOW = ViewportSize(width=1280, height=1400)


def main(demo: Path) -> None:
    """Open the page, and keep what is seen of it."""
    with photographing(WINDOW) as page:
        show(page, demo / "dataset" / SAMPLE_PAGE)
        seen = Image.open(io.BytesIO(page.screenshot()))
    seen.save(Path(__file__).parents[1] / "report.webp", quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
