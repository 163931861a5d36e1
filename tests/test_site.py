"""The site of the docs: it is built with no warning, leads nowhere wrong, and asks nobody else for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser
from typer.main import get_command

from browser import needs_browser
from browsing import browser, browsing
from catnip2bids import Settings, package
from catnip2bids.bids.provenance import (
    CellsRecord,
    Choice,
    CountDifference,
    Decision,
    ImageRecord,
    Invocation,
    Provenance,
    RunRecord,
)
from catnip2bids.cli.app import app
from catnip2bids.demo import write_atlas_table, write_cohort
from fork_server import start
from once import made_once

__all__ = ["browser"]

pytestmark = [needs_browser, pytest.mark.slow]

REPO = Path(__file__).resolve().parents[1]
_ADDRESSES = ("href", "src", "srcset", "action", "data", "poster", "content")
_ELSEWHERE = re.compile(r"(https?:)?//", re.IGNORECASE)
_SECONDS = 20_000


@dataclass
class Links(HTMLParser):
    """What a page of the site refers to.

    Attributes
    ----------
    addresses
        Tags and the addresses in them.
    places
        What a link can lead to on it.
    styles
        Rules for its looks.
    """

    addresses: list[tuple[str, str]] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    styles: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id":
                self.places.add(value)
            elif name in _ADDRESSES:
                self.addresses.append((tag, value))
            elif name == "style":
                self.styles += value


@cache
def links_of(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


def build(folder: Path, demo: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does, with the pictures of a demo that was run."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(REPO / "mkdocs.yml"), "-d", str(folder)],
        env={**os.environ, "CATNIP2BIDS_DOCS_DEMO": str(demo)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo like that of the program, but small."""
    folder = tmp_path_factory.mktemp("demo")
    write_cohort(folder / "cohort", shape=(12, 40, 36))
    write_atlas_table(folder / "atlas_info.txt")
    settings = Settings(voxel_size_um=(3.7, 3.7, 5.0), atlas_table=folder / "atlas_info.txt")
    assert package([folder / "cohort"], folder / "dataset", settings).ok
    return folder


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        finished = build(folder, request.getfixturevalue("demo"))
        assert finished.returncode == 0, finished.stderr
        assert "WARNING -" not in finished.stderr

    return made_once(tmp_path_factory, "site", make)


def pages(site: Path) -> Iterator[Path]:
    yield from sorted(page for page in site.rglob("*.html") if page.name != "404.html")  # is for servers


def test_all_pages_of_the_docs_are_on_the_site(site: Path) -> None:
    wanted = {page.relative_to(REPO / "docs").with_suffix(".html") for page in (REPO / "docs").rglob("*.md")}
    assert {page.relative_to(site) for page in pages(site)} == wanted


def test_links_within_the_site_lead_to_something(site: Path) -> None:
    checked = 0
    for page in pages(site):
        for tag, address in links_of(page).addresses:
            parts = urlsplit(address)
            if tag == "meta" or parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_relative_to(site.resolve()), (page.name, address)
            assert target.is_file(), (page.name, address)
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in links_of(target).places, (page.name, address)
            checked += 1
    assert checked > 1000


def test_the_site_refers_to_others_by_links_only(site: Path) -> None:
    for page in pages(site):
        others = [(tag, address) for tag, address in links_of(page).addresses if _ELSEWHERE.match(address)]
        assert [other for other in others if other[0] != "a"] == [], page.name
        assert not _ELSEWHERE.search(links_of(page).styles)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_pages_in_a_browser_show_their_pictures_and_ask_nobody_else(browser: Browser, site: Path) -> None:
    """Of all pages those with pictures, and one without: the rest has the same scripts and styles."""
    with browsing(browser) as (page, trouble):
        for path in [site / "reference/plan.html", *(path for path in pages(site) if "<img" in path.read_text())]:
            page.goto(path.as_uri())
            page.wait_for_load_state("load")
            shown = page.evaluate("[...document.images].map(image => [image.src, image.naturalWidth, image.alt])")
            assert [source for source, width, alternative in shown if not (width and alternative)] == [], path.name
        assert [address for address in trouble.requests if not address.startswith("file:")] == []
        # what was still being read when the page was left is no trouble
        assert [failure for failure in trouble.failed if "ERR_ABORTED" not in failure] == []
        assert trouble.errors == []


def test_the_search_works_in_pages_from_a_disk(browser: Browser, site: Path) -> None:
    with browsing(browser) as (page, trouble):
        page.goto((site / "index.html").as_uri())
        page.locator(".md-search__input").click()
        page.keyboard.type("voxel size")
        found = page.locator(".md-search-result__link")
        found.first.wait_for(timeout=_SECONDS)
        assert any("voxel-size.html" in str(link.get_attribute("href")) for link in found.all())
        assert (trouble.errors, trouble.failed) == ([], [])


def test_the_reference_has_all_commands_and_options(site: Path) -> None:
    text = (site / "reference/commands.html").read_text(encoding="utf-8")
    assert r"\|" not in text
    command_line = get_command(app)
    for name, command in getattr(command_line, "commands").items():  # noqa: B009 - of typer's own class for groups
        assert name in links_of(site / "reference/commands.html").places
        for option in command.params:
            for word in option.opts if option.opts[0].startswith("-") else ():
                assert f"<code>{word}</code>" in text, (name, word)


def test_the_reference_has_all_keys_of_the_provenance(site: Path) -> None:
    text = (site / "reference/provenance.html").read_text(encoding="utf-8")
    for part in (Provenance, Invocation, RunRecord, ImageRecord, CellsRecord, CountDifference, Decision, Choice):
        where = f"catnip2bids.bids.provenance.{part.__name__}"
        assert [key for key in part.model_fields if f'title="{where}.{key}">{key}<' not in text] == [], part.__name__


_WITHOUT_COMMANDS = """
import sys
sys.path.insert(0, sys.argv[1])
import pictures
from hook import on_startup
from mkdocs.exceptions import PluginError

pictures._run = lambda *words: ""
try:
    on_startup("build", False)
except PluginError as error:
    print(error)
"""
"""Build the site without running commands, so that the picture of the comparison cannot be taken."""


def test_a_picture_that_cannot_be_made_ends_the_build(demo: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "bin"
    nothing.mkdir()
    finished = build(tmp_path / "site", demo, PATH=str(nothing))
    assert finished.returncode != 0
    assert "pictures of the documentation cannot be made: Chromium is not installed" in finished.stderr
    assert "Traceback" not in finished.stderr
    environment = {**os.environ, "CATNIP2BIDS_DOCS_DEMO": str(demo)}
    finished = start(_WITHOUT_COMMANDS, REPO / "docs/building", environment=environment).finished()
    assert "the pictures of the documentation cannot be made: comparison.png" in finished.stdout, finished.stderr
