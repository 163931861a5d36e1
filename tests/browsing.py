"""Pages and viewers in a real browser, clicked and typed into: Playwright drives Debian's Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Page, Request, sync_playwright

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
)


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


@contextmanager
def browsing(window: tuple[int, int] = DESKTOP, *, dark: bool = False) -> Iterator[tuple[Page, Trouble]]:
    """Open a browser with an empty page, and note all trouble that it has."""
    trouble = Trouble()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        try:
            page = browser.new_page(
                viewport={"width": window[0], "height": window[1]}, color_scheme="dark" if dark else "light"
            )
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
            browser.close()


def _note_error(errors: list[str], message: ConsoleMessage) -> None:
    if message.type == "error":
        errors.append(f"{message.text} {message.location['url']}")


def _note(addresses: list[str], request: Request, why: str | None = None) -> None:
    if not request.url.startswith(("data:", "blob:")):
        addresses.append(request.url if why is None else f"{why} {request.method} {request.url}")
