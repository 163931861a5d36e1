"""Neuroglancer in a real browser: it shows what is in the files, and asks nobody else for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from viewed import SHAPE, write_dataset

from browser import needs_browser
from browsing import Trouble, browsing
from catnip2bids import Viewing, view
from catnip2bids.choices import Format
from runs import Array, source_planes

pytestmark = needs_browser
_READY = "window.viewer && viewer.layerManager.managedLayers.length > 0 && viewer.isReady()"
_SECONDS = 60_000
_LAYERS = ".neuroglancer-layer-item"


@pytest.fixture(scope="module", params=Format)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewed")
    return write_dataset(folder, image_format=request.param, pyramid=request.param == Format.OME_TIFF)


@pytest.fixture(scope="module")
def truth(dataset: Path) -> dict[str, Array]:
    (run,) = dataset.parent.glob("cohort/KO/*")
    return {"cFos": source_planes(run / "640_N4"), "atlas": source_planes(run / "atlaslabel_def_origspace")}


@pytest.fixture(scope="module")
def opened(dataset: Path) -> Iterator[tuple[Viewing, Page, Trouble]]:
    with view(dataset) as viewing, browsing() as (page, trouble):
        page.goto(f"{viewing.list_url}v/0")
        page.wait_for_function(_READY, timeout=_SECONDS)
        yield viewing, page, trouble


def values_under_the_mouse(page: Page, x: float, y: float) -> tuple[tuple[int, ...], dict[str, str]]:
    """Move the mouse in the panel of x and y; returns the voxel (z, y, x) and what the layers say of it."""
    box = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
    page.wait_for_timeout(300)
    at = page.evaluate("[...viewer.mouseState.position]")
    texts = [text.split("\n") for text in page.locator(_LAYERS).all_inner_texts()]
    return tuple(int(np.floor(place + 0.5)) for place in reversed(at)), {text[1]: text[-1] for text in texts}


def test_values_in_the_viewer_are_those_in_the_files(
    opened: tuple[Viewing, Page, Trouble], truth: dict[str, Array]
) -> None:
    _, page, _ = opened
    seen = set()
    for x, y in ((0.5, 0.5), (0.43, 0.37), (0.57, 0.61), (0.46, 0.55)):
        voxel, values = values_under_the_mouse(page, x, y)
        assert voxel[0] == SHAPE[0] // 2
        assert int(values["cFos"]) == truth["cFos"][voxel]
        label = truth["atlas"][voxel]
        assert values["atlas"].split()[0] == str(label)
        seen.add(int(label))
    assert len(seen) > 1


def test_a_region_is_found_by_its_name(opened: tuple[Viewing, Page, Trouble]) -> None:
    _, page, _ = opened
    box, found = page.get_by_placeholder("name prefix"), page.locator(".neuroglancer-segment-list-entry")
    for asked, name, others in (("Caudo", "Caudoputamen", "Field_CA1"), ("/CA1", "Field_CA1", "Caudoputamen")):
        box.fill(asked)
        found.filter(has_text=others).wait_for(state="detached")
        assert found.filter(has_text=name).count() == 1
    box.fill("")


def test_brain_fills_the_panel_and_labels_let_it_through(opened: tuple[Viewing, Page, Trouble]) -> None:
    _, page, _ = opened
    state: dict[str, Any] = page.evaluate("viewer.state.toJSON()")
    extent_px = SHAPE[1] / state["crossSectionScale"]
    box = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
    assert box is not None
    assert 0.7 * box["height"] < extent_px < box["height"]
    assert state["layers"][2]["selectedAlpha"] == 0.35


def test_nobody_else_is_asked_and_nothing_fails(opened: tuple[Viewing, Page, Trouble]) -> None:
    viewing, page, trouble = opened
    for scene in (1, 2):  # heat maps, and the animal that has everything else
        page.goto(f"{viewing.list_url}v/{scene}")
        page.wait_for_function(_READY, timeout=_SECONDS)
        page.evaluate("for (const layer of viewer.layerManager.managedLayers) layer.setVisible(true)")
        page.wait_for_timeout(300)
        page.wait_for_function(_READY, timeout=_SECONDS)
    assert len(trouble.requests) > 30
    assert [address for address in trouble.requests if not address.startswith(viewing.list_url)] == []
    failed = [entry for entry in trouble.failed if not is_absent_chunk(entry) and not is_size_asked_for(entry)]
    assert failed == []
    assert [error for error in trouble.errors if "404" not in error] == []


def is_absent_chunk(entry: str) -> bool:
    """Tell whether it is a chunk that is not stored, because all of its voxels are 0."""
    return re.fullmatch(r"404 http://.*/images/\d+/\d+/c/[\d/]+", entry) is not None


def is_size_asked_for(entry: str) -> bool:
    """Tell whether it is a HEAD that was answered, of which Chromium says that it did not wait for a body."""
    return entry.startswith(("net::ERR_ABORTED", "302 "))


def test_the_list_leads_to_each_sample(opened: tuple[Viewing, Page, Trouble]) -> None:
    viewing, page, _ = opened
    page.goto(viewing.url)
    assert page.locator("h2").all_inner_texts() == [
        "sub-10001ko_sample-LeftHemisphere_stain-cFos",
        "sub-10002wt_sample-RightHemisphere_stain-cFos",
    ]
    page.get_by_text("image, atlas and cells").last.click()
    page.wait_for_function(_READY, timeout=_SECONDS)
    assert page.title().startswith("sub-10002wt_sample-RightHemisphere")
