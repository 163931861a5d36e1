"""Describe a scene for Neuroglancer: its state, and the names of regions.

Invariant: a state sets everything that is visible at first and relies on no defaults of Neuroglancer; its keys are
those of the client in the package neuroglancer 2.41. Everything that it names is a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catnip2bids.ome import LabelValue, ends_apart
from catnip2bids.viewing.cell_points import RELATIONSHIP
from catnip2bids.viewing.image import Axis
from catnip2bids.viewing.scene import CellLayer, DisplayMode, Layer, Scene, has_own_abbreviation, region_label

State = dict[str, Any]

_PANEL = (460, 400)
"""Pixels of a panel, one of four in a window of 1280 x 900 beside the list of regions."""
_MARGIN = 1.05
_MASK_OPACITY = 0.5
"""From afar, lower levels of a segmentation by maximum cover everything."""
_SURFACE_OPACITY = 0.5
"""Cells inside of a region can be seen through its surface."""
# black is transparent, so that sections do not hide each other in 3D; heat runs over red and yellow to white, as in the
# report
_SHADERS = {
    DisplayMode.INTENSITY: """#uicontrol invlerp normalized
#uicontrol vec3 color color(default="{color}")
void main() {{
  if (normalized() <= 0.0) emitTransparent();
  else emitRGB(color * normalized());
}}
""",
    DisplayMode.MASK: """#uicontrol vec3 color color(default="{color}")
void main() {{
  if (toRaw(getDataValue()) == {zero}) emitTransparent();
  else emitRGB(color);
}}
""",
    DisplayMode.HEATMAP: """#uicontrol invlerp normalized
void main() {{
  if (normalized() <= 0.0) emitTransparent();
  else emitRGB(clamp(3.0 * normalized() - vec3(0.0, 1.0, 2.0), 0.0, 1.0));
}}
""",
}
# counted cells are discs, darker where the number of cells in the region is not CATNIP's own; others are rings
_COUNTED_SHADER = """#uicontrol float size slider(min=2, max=20, default=7)
void main() {
  setPointMarkerSize(PROJECTION_VIEW ? 0.7 * size : size);
  setPointMarkerColor(vec4(defaultColor() * (prop_proven() == 1 ? 1.0 : 0.6), 1.0));
  setPointMarkerBorderWidth(1.0);
  setPointMarkerBorderColor(vec4(0.0, 0.0, 0.0, 1.0));
}
"""
_UNCOUNTED_SHADER = """#uicontrol float size slider(min=2, max=20, default=6)
void main() {
  setPointMarkerSize(PROJECTION_VIEW ? 0.7 * size : size);
  setPointMarkerColor(vec4(defaultColor(), 0.0));
  setPointMarkerBorderWidth(2.0);
  setPointMarkerBorderColor(vec4(defaultColor(), 1.0));
}
"""
_SPACING = 16
"""Pixels between cells, on average: where there are more, a random part of them is drawn."""


@dataclass(frozen=True)
class Addresses:
    """URLs of the folders that hold the content of a scene; each ends with a slash."""

    images: Sequence[str]  # of each layer
    regions: Sequence[str]  # segment properties of each layer, whether it has regions or not
    surfaces: Sequence[str]  # of the regions of each layer; empty where there are none
    cells: Sequence[str]  # annotations of each table of cells


def state_of(scene: Scene, addresses: Addresses, voxel: Mapping[str, int] | None = None) -> State:
    """Return the client's state that shows a scene at a voxel, given by axis name, or by default at its middle."""
    voxel = voxel or {}
    # x comes first; each channel has its own layer
    axes = [axis for axis in scene.layers[0].image.axes if axis.type != "channel"]
    axes.sort(key=lambda axis: ("xyz".find(axis.name) % 9, axis.name))
    space = [axis for axis in axes if axis.name in ("x", "y", "z")]
    of_layers = zip(scene.layers, addresses.images, addresses.regions, addresses.surfaces, strict=True)
    layers = [_layer(*found) for found in of_layers]
    regions = next((layer["name"] for layer in layers if layer["type"] == "segmentation" and layer["visible"]), None)
    points = [_points(cells, address, regions) for cells, address in zip(scene.cells, addresses.cells, strict=True)]
    state: State = {
        "title": " ".join(filter(None, (scene.sample, scene.title))),
        "dimensions": {axis.name: [axis.step, axis.unit] for axis in axes},
        "position": [axis.first + voxel[axis.name] if axis.name in voxel else axis.middle for axis in axes],
        "layers": [*layers, *points],
        "layout": "4panel" if len(space) > 2 else "xy",
        "selectedLayer": {"layer": regions or layers[0]["name"], "visible": regions is not None},
        "crossSectionBackgroundColor": "#000000",
        "hideCrossSectionBackground3D": True,
        "showAxisLines": False,
        "showDefaultAnnotations": False,
        "projectionOrientation": [0.3, 0.2, 0.05, 0.93],
    }
    return state | _zoom(space)


def region_properties(regions: Sequence[LabelValue], *, with_tags: bool = False) -> State:
    """Return names of regions as "segment properties" of Neuroglancer's precomputed format.

    A label is abbreviation and name, in which a script beside the client finds any part. Without that script, the
    client finds the beginning of a label, and whole tags in any case: `with_tags`, a label is the name, and its tag the
    abbreviation. There is a list of tags even if it is empty: without one, the client (2.41) fails where a regular
    expression matches no label.
    """
    texts = [region.abbreviation if with_tags and has_own_abbreviation(region) else None for region in regions]
    tags: dict[str, str] = {}  # by their text in lower case: the client does not tell cases apart
    for text in sorted(filter(None, texts), key=str.lower):
        tags.setdefault(text.lower(), text.replace(" ", "_"))
    numbers = {text: number for number, text in enumerate(tags)}
    properties: list[State] = [
        {
            "id": "label",
            "type": "label",
            "values": [region.name if with_tags else region_label(region) for region in regions],
        },
        {
            "id": "tags",
            "type": "tags",
            "tags": list(tags.values()),
            "values": [[numbers[text.lower()]] if text else [] for text in texts],
        },
    ]
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {"ids": [_segment_id(region) for region in regions], "properties": properties},
    }


def _segment_id(region: LabelValue) -> str:
    """Write a label value as the client does: as uint64, with negative values wrapped."""
    return str(region.value % 2**64)


def _zoom(axes: Sequence[Axis]) -> State:
    """Choose scales at which the image fits into each panel, in voxels of the finest axis per pixel."""
    finest = min(axis.step for axis in axes)
    extents = {axis.name: axis.n_voxels * axis.step / finest for axis in axes}
    x, y, z = (extents.get(name, 1.0) for name in "xyz")
    width, height = _PANEL
    scale = _MARGIN * max(x / width, y / height, z / height, z / width)
    return {"crossSectionScale": scale, "projectionScale": 0.75 * math.hypot(x, y, z)}


def _layer(layer: Layer, image: str, regions: str, surfaces: str) -> State:
    source = f"{image}|zarr{layer.image.zarr_format}:"
    described: State = {"name": layer.name, "visible": layer.visible}
    if layer.mode == DisplayMode.LABELS and layer.image.dtype.kind in "iu":
        more = (regions if layer.regions else "", surfaces)
        return described | {
            "type": "segmentation",
            "source": [source, *(f"{found}|neuroglancer-precomputed:" for found in more if found)],
            "tab": "segments",
            "selectedAlpha": 0.2,
            "notSelectedAlpha": 0.05,
            "objectAlpha": _SURFACE_OPACITY,
            "segmentColors": {_segment_id(region): region.color for region in layer.regions},
        }
    mode = DisplayMode.INTENSITY if layer.mode == DisplayMode.LABELS else layer.mode
    zero = {"f": "0.0", "u": "0u", "i": "0"}[layer.image.dtype.kind]
    described |= {"type": "image", "source": source, "opacity": _MASK_OPACITY if mode == DisplayMode.MASK else 1}
    described["shader"] = _SHADERS[mode].format(color=layer.color, zero=zero)
    if layer.channel or any(axis.type == "channel" for axis in layer.image.axes):
        described |= {"localPosition": [layer.channel], "blend": "additive"}
    if mode != DisplayMode.MASK:
        described["shaderControls"] = {"normalized": _contrast(layer)}
    return described


def _contrast(layer: Layer) -> State:
    channel = layer.image.channels[layer.channel]
    window, limits = (layer.limits, layer.limits) if layer.limits else (channel.window, channel.limits)
    return {"range": list(ends_apart(*window)), "window": list(ends_apart(*limits))}


def _points(cells: CellLayer, address: str, regions: str | None) -> State:
    """Describe cells; those that a region counts are hidden while other regions are selected."""
    is_counted = cells.table.is_counted
    described: State = {
        "name": cells.name,
        "visible": cells.visible,
        "type": "annotation",
        "source": f"{address}|neuroglancer-precomputed:",
        "tab": "rendering",
        "annotationColor": cells.color,
        "shader": _COUNTED_SHADER if is_counted else _UNCOUNTED_SHADER,
        "codeVisible": False,
        "crossSectionAnnotationSpacing": _SPACING,
        "projectionAnnotationSpacing": _SPACING,
    }
    if is_counted and regions is not None:
        described |= {"linkedSegmentationLayer": {RELATIONSHIP: regions}, "filterBySegmentation": [RELATIONSHIP]}
    return described
