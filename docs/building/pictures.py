"""The pictures of the documentation: the demo is really run, and what can be seen of it photographed in Chromium.

Invariant: either all pictures are there afterwards, or an error says which one is not, and why.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from playwright.sync_api import Error, Page, ViewportSize, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from catnip2bids import Catnip2bidsError, view
from catnip2bids.demo import run_demo

DEMO_FOLDER = "CATNIP2BIDS_DOCS_DEMO"
"""Variable of the environment with the folder of a demo that was run already; tests give a small one."""
SAMPLE_PAGE = "docs/report/sub-10002wt_sample-RightHemisphere_stain-cFos.html"
_RUN = "demo/cohort/WT/_10002_RH_wt_20260502/640_2026-05-02_09-12-33"
_WINDOW = ViewportSize(width=1280, height=900)
_COLUMNS = 110
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    # but all else without it, which takes half the time
    "--disable-accelerated-2d-canvas",
    "--disable-gpu-compositing",
    "--disable-gpu-rasterization",
)
_VIEWER_IS_READY = "window.viewer && viewer.layerManager.managedLayers.length > 0 && viewer.isReady()"
_VIEWER_TIMEOUT_MS = 120_000
# what a terminal shows no more: progress that was written over
_OVERWRITTEN = re.compile(r"[^\n]*\r?\n(\x1b\[\?25h)?\r\x1b\[1A\x1b\[2K|[^\n]*\r\x1b\[2K|\x1b\[\?25[lh]")
_TERMINAL_PAGE = (
    '<body style="margin: 0"><pre style="display: inline-block; margin: 0; padding: 16px; '
    'background: #1c1f26; color: #d8dee9; font: 13px/1.35 monospace">{code}</pre>'
)


class PictureError(Exception):
    """A picture could not be made."""


def take_pictures(work: Path) -> None:
    """Run the demo below `work`, and fill the folder `pictures` there.

    Raises
    ------
    PictureError
        If one cannot be made.
    """
    _chromium()  # the demo takes its time, which would be for nothing
    demo = _demo(work)
    folder = work / "pictures"
    folder.mkdir()
    # where the tutorial has it, so that pictures show its words
    dataset = (demo / "dataset").rename(work / "my-dataset")
    _run(work, "compare", f"{_RUN}/atlaslabel_def_origspace", f"{_RUN}/atlaslabel_def_origspace_masked")
    with photographing() as page:
        for name, words in (
            ("scan", ("scan", "demo/cohort", "-o", "plan.toml")),
            ("verify", ("verify", "my-dataset", "--source", "demo/cohort")),
        ):
            with _naming(f"terminal-{name}.png"):
                _show_terminal(page, work, words)
                page.locator("pre").screenshot(path=folder / f"terminal-{name}.png")
        with _naming("comparison.png"):
            show(page, work / "comparison/index.html")
            page.locator("figcaption", has_text="differ").first.evaluate("plane => plane.scrollIntoView()")
            page.screenshot(path=folder / "comparison.png")
        for name, path in (
            ("report-overview.png", dataset / "docs/report/index.html"),
            ("report-sample.png", dataset / SAMPLE_PAGE),
        ):
            with _naming(name):
                show(page, path)
                page.screenshot(path=folder / name)
        with _naming("viewer.png"), view(dataset) as viewing:
            page.goto(f"{viewing.list_url}v/0")
            wait_for_viewer(page)
            page.screenshot(path=folder / "viewer.png")


def _demo(work: Path) -> Path:
    """Return the folder of a demo that this process may write into."""
    demo = work / "demo"
    try:
        if given := os.environ.get(DEMO_FOLDER):
            shutil.copytree(given, demo)
        else:
            run_demo(demo)
    except (OSError, Catnip2bidsError) as error:
        raise PictureError(f"the demo could not be run: {error}") from error
    return demo


@contextmanager
def photographing(window: ViewportSize = _WINDOW) -> Iterator[Page]:
    """Open an empty page in Chromium.

    Raises
    ------
    PictureError
        If there is no Chromium, or it does not start.
    """
    chromium = _chromium()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=[*_ARGUMENTS])
            yield browser.new_page(viewport=window)
            browser.close()
    except Error as error:
        raise PictureError(f"Chromium: {error.message}") from error


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise PictureError("Chromium is not installed; on Debian: apt install chromium")
    return found


def show(page: Page, path: Path) -> None:
    """Open a page from disk, and wait until it is drawn."""
    page.goto(path.resolve().as_uri())
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)


@contextmanager
def _naming(picture: str) -> Iterator[None]:
    """Say which picture it was that could not be made."""
    try:
        yield
    except (Error, Catnip2bidsError) as error:
        raise PictureError(f"{picture}: {error}") from error


def wait_for_viewer(page: Page) -> None:
    """Wait until the viewer has drawn everything."""
    page.wait_for_function(_VIEWER_IS_READY, timeout=_VIEWER_TIMEOUT_MS)
    page.wait_for_timeout(1500)


def _show_terminal(page: Page, folder: Path, words: tuple[str, ...]) -> None:
    """Run a command on a terminal, and show what stands there when it has ended."""
    console = Console(record=True, width=_COLUMNS, file=StringIO(), force_terminal=True)
    written = Text.from_ansi(_OVERWRITTEN.sub("", _run(folder, *words)))
    console.print(Text.assemble(f"$ catnip2bids {' '.join(words)}\n", written))
    page.set_content(console.export_html(theme=MONOKAI, inline_styles=True, code_format=_TERMINAL_PAGE))


def _run(folder: Path, *words: str) -> str:
    """Run a command on a terminal; returns everything that it wrote there."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 60, _COLUMNS, 0, 0))
    command = [sys.executable, "-m", "catnip2bids", *words]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        command, cwd=folder, stdin=side, stdout=side, stderr=side, env={**environment, "TERM": "xterm-256color"}
    )
    os.close(side)
    written = bytearray()
    while data := _read(main):
        written += data
    os.close(main)
    text = written.decode().replace("\r\n", "\n")
    if process.wait() not in (0, 1):
        raise PictureError(f"catnip2bids {' '.join(words)}: {text}")
    return text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side was closed
        return b""
