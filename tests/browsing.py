"""Pages and viewers in a real browser, clicked and typed into: Playwright drives Debian's Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from browser import CHROMIUM, DESKTOP

_ARGUMENTS = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    # but all else without it, which takes half the time
    "--disable-accelerated-2d-canvas",
    "--disable-gpu-compositing",
    "--disable-gpu-rasterization",
)

_LOOK = """
() => {
  const images = [...document.images];
  return {
    text: document.querySelector("main").innerText,
    images: images.length,
    loaded: images.filter(image => image.complete && image.naturalWidth > 0).length,
    described: images.filter(image => image.alt).length,
    too_wide: document.documentElement.scrollWidth - innerWidth,
    scripts: document.scripts.length,
  };
}
"""


@dataclass
class Trouble:
    """What a browser had to complain about, and which addresses it asked for.

    Attributes
    ----------
    errors
        Errors on the console with the address they are about, and exceptions that nobody caught.
    requests
        Addresses that were asked for, other than those that hold their data themselves.
    failed
        Those of them that could not be had: the status or the reason, the method, the address.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all pages that the tests of a module open."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        try:
            yield started
        finally:
            started.close()


@contextmanager
def browsing(
    browser: Browser, window: tuple[int, int] = DESKTOP, *, dark: bool = False
) -> Iterator[tuple[Page, Trouble]]:
    """Open an empty page that shares nothing with other pages, and note all trouble that it has."""
    trouble = Trouble()
    page = browser.new_page(
        viewport={"width": window[0], "height": window[1]}, color_scheme="dark" if dark else "light"
    )
    try:
        page.on("console", lambda message: _note_error(trouble.errors, message))
        page.on("pageerror", lambda error: trouble.errors.append(str(error)))
        page.on("request", lambda request: _note(trouble.requests, request))
        page.on("requestfailed", lambda request: _note(trouble.failed, request, str(request.failure)))
        page.on(
            "response",
            lambda answer: _note(trouble.failed, answer.request, str(answer.status)) if not answer.ok else None,
        )
        yield page, trouble
    finally:
        page.close()


@dataclass(frozen=True)
class Seen:
    """What a page without scripts looks like in the browser.

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
        Addresses that were asked for, other than its own and those that hold their data themselves.
    """

    text: str
    images: int
    loaded: int
    described: int
    too_wide: int
    scripts: int
    outside: list[str]


def look_at(browser: Browser, path: Path, window: tuple[int, int] = DESKTOP) -> Seen:
    """Open a page from disk, and look at it."""
    with browsing(browser, window) as (page, trouble):
        page.goto(path.as_uri())
        seen: dict[str, Any] = page.evaluate(_LOOK)
        return Seen(**seen, outside=[address for address in trouble.requests if address != path.as_uri()])


def _note_error(errors: list[str], message: ConsoleMessage) -> None:
    if message.type == "error":
        errors.append(f"{message.text} {message.location['url']}")


def _note(addresses: list[str], request: Request, why: str | None = None) -> None:
    if not request.url.startswith(("data:", "blob:")):
        addresses.append(request.url if why is None else f"{why} {request.method} {request.url}")
