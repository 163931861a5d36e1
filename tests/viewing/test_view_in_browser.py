"""Neuroglancer in a real browser: it shows what is in the files, and asks nobody else for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from viewed import SHAPE, cohort, data_path, dataset, state, tiff_dataset

from browser import DESKTOP, needs_browser
from browsing import Trouble, browser, browsing
from catnip2bids import Viewing, view
from catnip2bids.bids.provenance import read_provenance
from runs import Array, planes_behind, source_planes

__all__ = ["browser", "cohort", "dataset", "tiff_dataset"]

pytestmark = needs_browser
_WINDOW = (800, 600)
"""Small, since a processor draws what a graphics card would."""
_TOUR_WINDOW = (480, 360)
_READY = "window.viewer && viewer.layerManager.managedLayers.length > 0 && viewer.isReady()"
_SECONDS = 60_000
_LONGEST_S = 15
_LAYERS = ".neuroglancer-layer-item"


@contextmanager
def viewer(
    browser: Browser, dataset: Path, window: tuple[int, int] = _WINDOW
) -> Iterator[tuple[Viewing, Page, Trouble]]:
    """Open the first scene of a dataset, and wait until it is drawn."""
    with view(dataset) as viewing, browsing(browser, window) as (page, trouble):
        page.goto(f"{viewing.list_url}v/0")
        page.wait_for_function(_READY, timeout=_SECONDS)
        yield viewing, page, trouble


@pytest.fixture(scope="module")
def opened(browser: Browser, dataset: Path) -> Iterator[tuple[Viewing, Page, Trouble]]:
    with viewer(browser, dataset) as shown:
        yield shown


@pytest.fixture(scope="module")
def truth(cohort: Path) -> dict[str, Array]:
    (run,) = cohort.glob("KO/*")
    return {"cFos": source_planes(run / "640_N4"), "atlas": source_planes(run / "atlaslabel_def_origspace")}


def values_under_the_mouse(page: Page, x: float, y: float) -> tuple[tuple[int, ...], dict[str, str]]:
    """Move the mouse in the panel of x and y; returns the voxel (z, y, x) and what the layers say of it."""
    box = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
    assert box is not None
    at: list[float] = []
    texts, deadline = [[""]], monotonic() + _LONGEST_S
    # the viewer looks at the place when it has drawn it, and fetches values then
    while monotonic() < deadline and not (at and all(re.match("[0-9]", text[-1]) for text in texts[:1])):
        page.mouse.move(0, 0)
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        page.wait_for_timeout(100)
        at = page.evaluate("viewer.mouseState.active ? [...viewer.mouseState.position] : []")
        texts = [text.split("\n") for text in page.locator(_LAYERS).all_inner_texts()]
    return tuple(int(np.floor(place + 0.5)) for place in reversed(at)), {text[1]: text[-1] for text in texts}


def test_values_in_the_viewer_are_those_in_the_files(
    opened: tuple[Viewing, Page, Trouble], truth: dict[str, Array]
) -> None:
    _, page, _ = opened
    seen = set()
    for x, y in ((0.5, 0.5), (0.43, 0.37), (0.57, 0.61), (0.46, 0.55)):
        deadline = monotonic() + _LONGEST_S
        while True:
            voxel, values = values_under_the_mouse(page, x, y)
            image, label = truth["cFos"][voxel], truth["atlas"][voxel]
            if values["cFos"] == str(image) and values["atlas"].split(maxsplit=1)[:1] == [str(label)]:
                break
            assert monotonic() < deadline, (voxel, values, image, label)
        assert voxel[0] == SHAPE[0] // 2
        seen.add(int(label))
    assert len(seen) > 1


@pytest.mark.slow
def test_a_region_is_found_by_its_name(opened: tuple[Viewing, Page, Trouble]) -> None:
    _, page, _ = opened
    box, found = page.get_by_placeholder("name prefix"), page.locator(".neuroglancer-segment-list-entry")
    for asked, name, others in (("Caudo", "Caudoputamen", "Field CA1"), ("/CA1", "Field CA1", "Caudoputamen")):
        box.fill(asked)
        found.filter(has_text=others).wait_for(state="detached")
        assert found.filter(has_text=name).count() == 1
    box.fill("")


@pytest.mark.slow
def test_brain_fills_the_panel_and_labels_let_it_through(opened: tuple[Viewing, Page, Trouble]) -> None:
    _, page, _ = opened
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    state: dict[str, Any] = page.evaluate("viewer.state.toJSON()")
    extent_px = SHAPE[1] / state["crossSectionScale"]
    box = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
    assert box is not None
    assert 0.7 * box["height"] < extent_px < box["height"]
    assert state["layers"][2]["selectedAlpha"] == 0.35


@dataclass(frozen=True)
class Reading:
    """What the viewer says of a layer at a voxel (z, y, x), and what the source has there."""

    layer: str
    voxel: tuple[int, ...]
    expected: np.generic
    shown: tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class Tour:
    """What was seen of all layers of all scenes, and what went wrong meanwhile.

    Attributes
    ----------
    root
        Address of the list of scenes.
    readings
        One for each layer, where it is not 0.
    images
        Images by the addresses at which their files are.
    trouble
        What the browser asked for, and what it did not get.
    """

    root: str
    readings: list[Reading]
    images: dict[str, Path]
    trouble: Trouble

    def is_nothing_wrong(self, entry: str) -> bool:
        """Tell whether it is the way to a scene, a size that was asked for, or a chunk that nobody stored."""
        why, method, address = entry.split(" ")
        path = address.removeprefix(self.root)
        match why:
            case "302":
                return re.fullmatch(r"v/\d+", path) is not None
            case "net::ERR_ABORTED":  # Chromium's word for the answer to a HEAD, and for a stream that it leaves
                return method == "HEAD" or path.startswith("events/")
            case "404":
                return self.is_absent_chunk(address)
        return False

    def is_absent_chunk(self, address: str) -> bool:
        """Tell whether it is the address of a chunk that is not stored, because all of its voxels are 0."""
        for root, image in self.images.items():
            if re.fullmatch(r"\d+/c/[\d/]+", name := address.removeprefix(root)):
                return image.is_dir() and not (image / name).exists()
        return False


@pytest.fixture(scope="module", params=["dataset", "tiff_dataset"])
def tour(request: pytest.FixtureRequest, browser: Browser, cohort: Path) -> Tour:
    dataset: Path = request.getfixturevalue(request.param)
    runs, readings, images = read_provenance(dataset).runs, [], {}
    with viewer(browser, dataset, _TOUR_WINDOW) as (viewing, page, trouble):
        for number, scene in enumerate(viewing.scenes):
            page.goto(f"{viewing.list_url}v/{number}")
            page.wait_for_function(_READY, timeout=_SECONDS)
            page.evaluate("for (const layer of viewer.layerManager.managedLayers) layer.setVisible(true)")
            run = runs[scene.sample]
            for layer, described in zip(scene.layers, state(viewing, number)["layers"], strict=True):
                images[viewing.list_url + data_path(viewing, described)] = layer.image.path
                target = layer.image.path.relative_to(dataset).as_posix()
                truth = planes_behind(target, cohort / run.source / run.images[target].source)
                voxel = tuple(np.argwhere(truth)[np.count_nonzero(truth) // 2].tolist())
                expected = truth[voxel]
                readings.append(Reading(layer.name, voxel, expected, shown_at(page, layer.name, voxel, expected)))
        return Tour(viewing.list_url, readings, images, trouble)


def shown_at(page: Page, layer: str, voxel: tuple[int, ...], expected: np.generic) -> tuple[tuple[int, ...], str]:
    """Go to a voxel and point at it; returns where the mouse is, and what a layer says, once that is as expected."""
    page.evaluate("at => { viewer.navigationState.position.value = Float32Array.from(at) }", voxel[::-1])
    deadline = monotonic() + _LONGEST_S
    while True:
        at, values = values_under_the_mouse(page, 0.5, 0.5)
        if (at == voxel and is_value(values[layer], expected)) or monotonic() > deadline:
            return at, values[layer]


def is_value(text: str, expected: np.generic) -> bool:
    """Tell whether a text, which may be followed by the name of a region, is a value."""
    number = re.match(r"[\d.e+-]+(?!\S)", text)
    return number is not None and expected.dtype.type(number[0]) == expected


@pytest.mark.slow
def test_all_layers_of_all_scenes_have_the_values_of_the_source(tour: Tour) -> None:
    assert len(tour.readings) == 20
    assert all(reading.expected != 0 for reading in tour.readings)
    wrong = [
        reading
        for reading in tour.readings
        if reading.shown[0] != reading.voxel or not is_value(reading.shown[1], reading.expected)
    ]
    assert wrong == []


@pytest.mark.slow
def test_nobody_else_is_asked_and_nothing_fails(tour: Tour) -> None:
    assert len(tour.trouble.requests) > 30
    assert [address for address in tour.trouble.requests if not address.startswith(tour.root)] == []
    assert [entry for entry in tour.trouble.failed if not tour.is_nothing_wrong(entry)] == []
    errors = [error for error in tour.trouble.errors if not error.endswith("/favicon.ico")]  # which no page has
    assert [error for error in errors if not tour.is_absent_chunk(error.split(" ")[-1])] == []


@pytest.mark.slow
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
