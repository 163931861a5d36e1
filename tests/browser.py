"""Whether there is a browser, and the windows that pages are looked at in."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="needs Chromium")
DESKTOP, PHONE = (1280, 900), (390, 844)
