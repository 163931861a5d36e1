"""A link in a browser: files come from nginx, the client from another origin, and nothing else is asked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from browser import needs_browser
from browsing import Trouble, browser, browsing
from catnip2bids import share
from catnip2bids.bids.cell_tables import read_cells
from neuroglancer_pages import READY, SECONDS, text_of_cell, values_under_the_mouse
from runs import source_planes
from viewed import CELL_LAYERS, KO, SHAPE, cohort, dataset
from web_servers import needs_nginx, neuroglancer_client, nginx

__all__ = ["browser", "cohort", "dataset"]

pytestmark = [needs_browser, needs_nginx, pytest.mark.slow]

_WINDOW = (800, 600)
"""Small, since a processor draws what a graphics card would."""


@pytest.fixture(scope="module")
def opened(
    browser: Browser, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Page, Trouble, list[str]]]:
    """Open the link of the first sample; yields the addresses of both servers, too."""
    folder = tmp_path_factory.mktemp("shared")
    published = Path(shutil.copytree(dataset, folder / "dataset"))
    with (
        nginx(published, folder) as url,
        neuroglancer_client() as client,
        browsing(browser, _WINDOW) as (page, trouble),
    ):
        shared = share(published, url, client=client)
        page.goto(shared.links[0].link)
        page.wait_for_function(READY, timeout=SECONDS)
        yield page, trouble, [url, client.removesuffix("v/0")]


def test_the_page_shows_image_regions_and_cells(opened: tuple[Page, Trouble, list[str]], cohort: Path) -> None:
    page, _, _ = opened
    (run,) = cohort.glob("KO/*")
    image, labels = source_planes(run / "640_N4"), source_planes(run / "atlaslabel_def_origspace")
    voxel, values = values_under_the_mouse(page, 0.45, 0.5)
    assert voxel[0] == SHAPE[0] // 2
    assert values["image, cFos"] == str(image[voxel])
    number, _, name = values["atlas regions"].partition(" ")
    assert number == str(labels[voxel])
    assert name
    assert name == "Field CA1 #CA1" or number != "382"


def test_regions_are_found_by_name_abbreviation_and_number(opened: tuple[Page, Trouble, list[str]]) -> None:
    page, trouble, _ = opened
    n_errors = len(trouble.errors)
    box, found = page.locator("input.neuroglancer-segment-list-query"), page.locator(".neuroglancer-segment-list-entry")
    for asked in ("Field", "#CA1", "#ca1", "382", "/CA1", "/ield"):
        box.fill(asked)
        found.filter(has_text="Caudoputamen").wait_for(state="detached")
        assert found.filter(has_text="Field CA1").count() == 1
    box.fill("/nothing_like_it")
    box.fill("")
    errors = [error for error in trouble.errors[n_errors:] if "/events/" not in error]  # which this client asks for
    assert errors == []


def test_a_selected_region_has_a_surface(opened: tuple[Page, Trouble, list[str]]) -> None:
    page, trouble, _ = opened
    n_before = len(trouble.requests)
    box = page.locator("input.neuroglancer-segment-list-query")
    box.fill("Field")
    box.press("Enter")
    page.wait_for_function(READY, timeout=SECONDS)
    assert any(address.endswith("/atlas-regions-surfaces/0.shard") for address in trouble.requests[n_before:])
    box.fill("")
    page.keyboard.press("x")


def test_the_page_shows_cells_with_their_regions(opened: tuple[Page, Trouble, list[str]], dataset: Path) -> None:
    page, _, _ = opened
    (block,) = read_cells(next(dataset.rglob(f"{KO}_desc-FRSTseg10000_cells.tsv.gz")))
    in_ca1 = np.flatnonzero(block.regions == 382)[0]
    assert text_of_cell(page, block.centres[in_ca1], CELL_LAYERS[0]) == "CA1 - Field CA1 (382)"


def test_only_the_two_servers_are_asked_and_nothing_fails(opened: tuple[Page, Trouble, list[str]]) -> None:
    _, trouble, (url, client) = opened
    assert [address for address in trouble.requests if not address.startswith((url, client))] == []
    assert any("/by_region/" in address or "/spatial0/" in address for address in trouble.requests)
    failed = [entry for entry in trouble.failed if not is_nothing_wrong(entry, client)]
    assert failed == []


def is_nothing_wrong(entry: str, client: str) -> bool:
    """Tell whether it is a chunk that is not stored, a size that was asked for, or what this client asks of Python."""
    why, method, address = entry.split(" ")
    if why == "404":
        return re.search(r"\.ome\.zarr/\d+/c/[\d/]+$", address) is not None or address.startswith(client)
    return why == "net::ERR_ABORTED" and (method == "HEAD" or address.startswith(client))
