"""Pages in a real browser: Chromium without a window."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs Chromium")
DESKTOP, PHONE = (1280, 900), (390, 844)

# what the page says of itself, written into it as JSON when everything is loaded
_LOOK = """
<pre id="looked-at"></pre>
<script>
addEventListener("load", () => {
  const images = [...document.images];
  document.getElementById("looked-at").textContent = JSON.stringify({
    text: document.querySelector("main").innerText,
    images: images.length,
    loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    described: images.filter(image => image.alt).length,
    too_wide: document.documentElement.scrollWidth - innerWidth,
    scripts: document.scripts.length - 1,
    outside: performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")),
  });
});
</script>
"""


@dataclass(frozen=True)
class Seen:
    """What a page looks like in the browser.

    Attributes
    ----------
    text
        All text that is shown.
    images, loaded, described
        Pictures, those of them that were loaded, and those that have an alternative text.
    too_wide
        Pixels by which the page is wider than the window.
    scripts
        Scripts of the page.
    outside
        Addresses that were asked for, other than those that hold their data themselves.
    """

    text: str
    images: int
    loaded: int
    described: int
    too_wide: int
    scripts: int
    outside: list[str]


def open_page(page: Path, work: Path, window: tuple[int, int] = DESKTOP) -> Seen:
    """Open a page from disk, and look at it."""
    assert CHROMIUM is not None, "Chromium is not installed"
    looked_at = work / "looked-at.html"
    looked_at.write_text(page.read_text(encoding="utf-8") + _LOOK, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={work / 'profile'}"]
    command += [
        f"--window-size={window[0]},{window[1]}",
        "--virtual-time-budget=5000",
        "--dump-dom",
        looked_at.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'<pre id="looked-at">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, dom[-2000:]
    return Seen(**json.loads(unescape(found[1])))
