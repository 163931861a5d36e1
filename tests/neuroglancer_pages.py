"""Neuroglancer in a browser: when it has drawn everything, and what it says of a voxel."""

from __future__ import annotations

import re
from time import monotonic

import numpy as np
from playwright.sync_api import Page

from runs import Array

READY = "window.viewer && viewer.layerManager.managedLayers.length > 0 && viewer.isReady()"
SECONDS = 60_000
LONGEST_S = 15
LAYERS = ".neuroglancer-layer-item"
PANELS = ".neuroglancer-rendered-data-panel"


def values_under_the_mouse(page: Page, x: float, y: float) -> tuple[tuple[int, ...], dict[str, str]]:
    """Move the mouse in the panel of x and y; returns the voxel (z, y, x) and what the layers say of it."""
    box = page.locator(PANELS).first.bounding_box()
    assert box is not None
    at: list[float] = []
    texts, deadline = [[""]], monotonic() + LONGEST_S
    # the viewer looks at the place when it has drawn it, and fetches values then
    while monotonic() < deadline and not (at and all(re.match("[0-9]", text[-1]) for text in texts[:1])):
        page.mouse.move(0, 0)
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
        page.wait_for_timeout(100)
        at = page.evaluate("viewer.mouseState.active ? [...viewer.mouseState.position] : []")
        texts = [text.split("\n") for text in page.locator(LAYERS).all_inner_texts()]
    return tuple(int(np.floor(place + 0.5)) for place in reversed(at)), {text[1]: text[-1] for text in texts}


def text_of_cell(page: Page, cell: Array, layer: str) -> str:
    """Go to a cell at a place (z, y, x), point at it, and return what its layer says there."""
    page.evaluate("at => { viewer.navigationState.position.value = Float32Array.from(at) }", cell[::-1].tolist())
    deadline = monotonic() + LONGEST_S
    while not (text := values_under_the_mouse(page, 0.5, 0.5)[1].get(layer, "")).endswith(")"):
        assert monotonic() < deadline, text
    return text
