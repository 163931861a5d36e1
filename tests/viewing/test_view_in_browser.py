"""Neuroglancer in a real browser: it shows what is in the files, and asks nobody else for anything."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, Page

from browser import DESKTOP, PHONE, needs_browser
from browsing import Trouble, browser, browsing
from catnip2bids import Viewing, view
from catnip2bids.bids.cell_tables import read_cells
from catnip2bids.bids.provenance import read_provenance
from neuroglancer_pages import LONGEST_S, PANELS, READY, SECONDS, text_of_cell, values_under_the_mouse
from runs import Array, level, planes_behind, source_planes
from viewed import CELL_LAYERS, KO, SHAPE, cohort, data_path, dataset, state, tiff_dataset

__all__ = ["browser", "cohort", "dataset", "tiff_dataset"]

pytestmark = needs_browser
_WINDOW = (800, 600)
"""Small, since a processor draws what a graphics card would."""
_TOUR_WINDOW = (640, 520)
_OF_TYPE = "viewer.layerManager.managedLayers.filter(layer => layer.layer.type === type)"
_ATLAS = "viewer.layerManager.getLayerByName('atlas regions').layer"
_SELECTED = f"{_ATLAS}.displayState.segmentationGroupState.value.visibleSegments"
SHOW = f"type => {_OF_TYPE}.forEach(layer => layer.setVisible(true))"
HIDE = f"type => {_OF_TYPE}.forEach(layer => layer.setVisible(false))"
PANEL_3D = 2
CELLS = "annotation"
"""The type of layers of cells. The mouse snaps to cells, so they are hidden where values are read."""
DETAILS = """() => {
    const rows = [...document.querySelectorAll(".neuroglancer-annotation-property")];
    const details = Object.fromEntries(rows.map(row => [...row.children].map(part => part.textContent)));
    return "volume_voxels" in details && details;
}"""
"""Wait for the details of a cell, and return them by name. Their layout does not matter: it may come later."""
SEARCHES = (
    ("Caudo", "CP - Caudoputamen", "Field CA1"),
    ("CP", "CP - Caudoputamen", "Field CA1"),
    ("field ca1", "CA1 - Field CA1", "Caudoputamen"),
    ("CA1", "CA1 - Field CA1", "Caudoputamen"),
    ("382", "CA1 - Field CA1", "Caudoputamen"),
    ("/CA1$", "CA1 - Field CA1", "Caudoputamen"),
)


@contextmanager
def viewer(
    browser: Browser, dataset: Path, window: tuple[int, int] = _WINDOW
) -> Iterator[tuple[Viewing, Page, Trouble]]:
    """Open the first scene of a dataset, and wait until it is drawn."""
    with view(dataset) as viewing, browsing(browser, window) as (page, trouble):
        page.goto(f"{viewing.list_url}v/0")
        page.wait_for_function(READY, timeout=SECONDS)
        yield viewing, page, trouble


@pytest.fixture(scope="module")
def opened(browser: Browser, dataset: Path) -> Iterator[tuple[Viewing, Page, Trouble]]:
    with viewer(browser, dataset) as shown:
        yield shown


@pytest.fixture(scope="module")
def truth(cohort: Path) -> dict[str, Array]:
    (run,) = cohort.glob("KO/*")
    return {
        "image, cFos": source_planes(run / "640_N4"),
        "atlas regions": source_planes(run / "atlaslabel_def_origspace"),
    }


def test_values_in_the_viewer_are_those_in_the_files(
    opened: tuple[Viewing, Page, Trouble], truth: dict[str, Array]
) -> None:
    _, page, _ = opened
    page.evaluate(HIDE, CELLS)
    seen = set()
    for x, y in ((0.5, 0.5), (0.43, 0.37), (0.57, 0.61), (0.46, 0.55)):
        deadline = monotonic() + LONGEST_S
        while True:
            voxel, values = values_under_the_mouse(page, x, y)
            image, label = truth["image, cFos"][voxel], truth["atlas regions"][voxel]
            if values["image, cFos"] == str(image) and values["atlas regions"].split(maxsplit=1)[:1] == [str(label)]:
                break
            assert monotonic() < deadline, (voxel, values, image, label)
        assert voxel[0] == SHAPE[0] // 2
        seen.add(int(label))
    assert len(seen) > 1


@pytest.mark.slow
def test_on_a_phone_one_section_fills_the_screen(browser: Browser, dataset: Path) -> None:
    with viewer(browser, dataset, PHONE) as (_, page, _):
        page.locator("input.neuroglancer-segment-list-query").wait_for(state="detached")
        (section,) = (panel.bounding_box() for panel in page.locator(PANELS).all())
        assert section is not None
        assert section["width"] > 0.9 * PHONE[0]


@pytest.mark.slow
def test_a_region_is_found_by_its_name(opened: tuple[Viewing, Page, Trouble]) -> None:
    _, page, trouble = opened
    n_errors = len(trouble.errors)
    box, found = page.get_by_placeholder("Find:"), page.locator(".neuroglancer-segment-list-entry")
    for asked, name, others in SEARCHES:
        box.fill(asked)
        found.filter(has_text=others).wait_for(state="detached")
        assert found.filter(has_text=name).count() == 1
    box.fill("no region is called that")
    for name in ("Caudoputamen", "Field CA1"):
        found.filter(has_text=name).wait_for(state="detached")
    box.fill("")
    found.filter(has_text="Caudoputamen").wait_for()
    assert trouble.errors[n_errors:] == []


@pytest.mark.slow
def test_brain_fills_the_panel_and_labels_let_it_through(opened: tuple[Viewing, Page, Trouble]) -> None:
    _, page, _ = opened
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    state: dict[str, Any] = page.evaluate("viewer.state.toJSON()")
    extent_px = SHAPE[1] / state["crossSectionScale"]
    box = page.locator(".neuroglancer-rendered-data-panel").first.bounding_box()
    assert box is not None
    assert 0.7 * box["height"] < extent_px < box["height"]
    assert state["layers"][2]["selectedAlpha"] == 0.2


@pytest.mark.slow
def test_cells_are_where_the_table_has_them_and_tell_their_region(
    opened: tuple[Viewing, Page, Trouble], dataset: Path
) -> None:
    viewing, page, _ = opened
    page.goto(f"{viewing.list_url}v/0")
    page.wait_for_function(READY, timeout=SECONDS)
    (block,) = read_cells(next(dataset.rglob(f"{KO}_desc-FRSTseg10000_cells.tsv.gz")))
    for row in (0, len(block) // 2, len(block) - 1):
        assert text_of_cell(page, block.centres[row], CELL_LAYERS[0]).endswith(f"({block.regions[row]})")
    in_ca1 = np.flatnonzero(block.regions == 382)[0]
    assert text_of_cell(page, block.centres[in_ca1], CELL_LAYERS[0]) == "CA1 - Field CA1 (382)"
    panel = page.locator(PANELS).first.bounding_box()
    assert panel is not None
    page.keyboard.down("Control")
    page.mouse.click(panel["x"] + panel["width"] / 2, panel["y"] + panel["height"] / 2, button="right")
    page.keyboard.up("Control")
    said = page.wait_for_function(DETAILS, timeout=SECONDS).json_value()
    assert said["region"] == "CA1 - Field CA1 (382)"
    assert said["volume_voxels"] == str(block.volumes_voxels[in_ca1])
    assert said["proven"] == ("yes (1)" if block.proven[in_ca1] else "no (0)")


@pytest.mark.slow
def test_selected_regions_select_their_cells(opened: tuple[Viewing, Page, Trouble]) -> None:
    viewing, page, trouble = opened
    page.goto(f"{viewing.list_url}v/0")
    page.wait_for_function(READY, timeout=SECONDS)
    box = page.get_by_placeholder("Find:")
    box.fill("ca1")
    box.press("Enter")
    page.wait_for_function(f"[...{_SELECTED}].join() === '382'")
    page.wait_for_function(READY, timeout=SECONDS)
    assert any(address.endswith("/by_region/0.shard") for address in trouble.requests)
    box.fill("")
    panel = page.locator(PANELS).first.bounding_box()
    assert panel is not None
    page.mouse.dblclick(panel["x"] + panel["width"] * 0.45, panel["y"] + panel["height"] * 0.45)
    page.wait_for_function(f"[...{_SELECTED}].length === 2")
    page.keyboard.press("x")
    page.wait_for_function(f"[...{_SELECTED}].length === 0")


@pytest.mark.slow
def test_a_selected_region_has_a_surface(opened: tuple[Viewing, Page, Trouble]) -> None:
    viewing, page, trouble = opened
    page.goto(f"{viewing.list_url}v/0")
    page.wait_for_function(READY, timeout=SECONDS)
    page.evaluate(HIDE, CELLS)
    page.evaluate("viewer.showPerspectiveSliceViews.value = false")
    until(lambda: n_lit_in_3d(page) == 0)
    page.evaluate(f"{_SELECTED}.add(382n)")
    until(lambda: n_lit_in_3d(page) > 100)
    assert any("/surfaces/" in address and address.endswith("0.shard") for address in trouble.requests)
    page.evaluate(f"{_SELECTED}.clear()")


def until(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + LONGEST_S
    while not is_so():
        assert monotonic() < deadline


def n_lit_in_3d(page: Page) -> int:
    """Count the pixels in the middle of the 3D panel that are not black."""
    with Image.open(io.BytesIO(page.locator(PANELS).nth(PANEL_3D).screenshot())) as picture:
        margins = picture.width // 4, picture.height // 4
        middle = ImageOps.crop(picture.convert("RGB"), margins)
    pixels = np.asarray(middle)
    return int((pixels.max(axis=-1) > 24).sum())


@pytest.mark.slow
def test_heat_has_the_colours_and_the_scale_of_the_report(browser: Browser, dataset: Path) -> None:
    maps = {
        path: level(path) for path in dataset.glob("derivatives/catnip/sub-*/micr/*desc-heatmap*10000_SPIM.ome.zarr")
    }
    largest = max(float(values.max()) for values in maps.values())
    path, values = next(found for found in maps.items() if "heatmapcorrected" not in found[0].name)
    shares = np.where(values > 0, np.abs(values / largest - 0.5), 1)
    voxel = np.unravel_index(int(shares.argmin()), shares.shape)
    z, y, x = map(int, voxel)
    shown = view(dataset, image=path.name, position=(x, y, z))
    with shown as viewing, browsing(browser, _WINDOW) as (page, _):
        page.goto(viewing.url)
        page.wait_for_function(READY, timeout=SECONDS)
        page.evaluate("viewer.crossSectionScale.value /= 20; viewer.showAxisLines.value = false")
        page.wait_for_function(READY, timeout=SECONDS)
        page.wait_for_timeout(500)
        with Image.open(io.BytesIO(page.locator(PANELS).first.screenshot())) as picture:
            seen = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    share = float(values[voxel]) / largest
    assert seen == pytest.approx([255 * min(max(3 * share - n, 0), 1) for n in range(3)], abs=6)


@dataclass(frozen=True)
class Reading:
    """What the viewer says of a layer at a voxel (z, y, x), and what the source has there."""

    layer: str
    voxel: tuple[int, ...]
    expected: np.generic
    shown: tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class Tour:
    """What was seen of all layers of scenes, and what went wrong meanwhile.

    Attributes
    ----------
    root
        Address of the list of scenes.
    n_layers
        How many images the samples of the scenes have.
    readings
        One for each layer, where it is not 0.
    images
        Images by the addresses at which their files are.
    trouble
        What the browser asked for, and what it did not get.
    """

    root: str
    n_layers: int
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


@pytest.fixture(scope="module", params=[("dataset", 0), ("tiff_dataset", 2)], ids=["ome-zarr", "ome-tiff"])
def tour(request: pytest.FixtureRequest, browser: Browser, cohort: Path) -> Tour:
    """All scenes of OME-Zarr, and those of the second animal of OME-TIFF."""
    name, first = request.param
    dataset: Path = request.getfixturevalue(name)
    runs, readings, images = read_provenance(dataset).runs, [], {}
    with viewer(browser, dataset, _TOUR_WINDOW) as (viewing, page, trouble):
        scenes = dict(enumerate(viewing.scenes[first:], first))
        for number, scene in scenes.items():
            page.goto(f"{viewing.list_url}v/{number}")
            page.wait_for_function(READY, timeout=SECONDS)
            page.evaluate(SHOW, "image")
            page.evaluate(SHOW, "segmentation")
            page.evaluate(HIDE, CELLS)
            run = runs[scene.sample]
            for layer, described in zip(scene.layers, state(viewing, number)["layers"], strict=False):
                images[viewing.list_url + data_path(viewing, described)] = layer.image.path
                target = layer.image.path.relative_to(dataset).as_posix()
                truth = planes_behind(target, cohort / run.source / run.images[target].source)
                voxel = tuple(np.argwhere(truth)[np.count_nonzero(truth) // 2].tolist())
                expected = truth[voxel]
                readings.append(Reading(layer.name, voxel, expected, shown_at(page, layer.name, voxel, expected)))
        n_layers = sum(len(runs[sample].images) for sample in {scene.sample for scene in scenes.values()})
        return Tour(viewing.list_url, n_layers, readings, images, trouble)


def shown_at(page: Page, layer: str, voxel: tuple[int, ...], expected: np.generic) -> tuple[tuple[int, ...], str]:
    """Go to a voxel and point at it; returns where the mouse is, and what a layer says, once that is as expected."""
    page.evaluate("at => { viewer.navigationState.position.value = Float32Array.from(at) }", voxel[::-1])
    deadline = monotonic() + LONGEST_S
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
    assert len(tour.readings) == tour.n_layers > 10
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
    page.get_by_text("image, atlas regions and cells").last.click()
    page.wait_for_function(READY, timeout=SECONDS)
    assert page.title().startswith("sub-10002wt_sample-RightHemisphere")
