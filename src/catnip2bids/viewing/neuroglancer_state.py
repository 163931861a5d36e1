"""Make the initial state of Neuroglancer: layers, colours, position, zoom.

Invariant: the state sets everything that is visible at first and relies on no defaults of Neuroglancer. Its keys are
those of the client in the package neuroglancer 2.41.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from catnip2bids.ome import LabelValue, ends_apart
from catnip2bids.viewing.image import Axis
from catnip2bids.viewing.scene import DisplayMode, Layer, Scene

State = dict[str, Any]

_PANEL = (460, 400)
"""Pixels of a panel, one of four in a window of 1280 x 900 beside the list of regions."""
_MARGIN = 1.05
_PLANE = frozenset("xyz")
# black is transparent, so that sections do not hide each other in 3D
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
  else emitRGB(colormapCubehelix(normalized()));
}}
""",
}


def state_of(scene: Scene, sources: Sequence[list[str]]) -> State:
    """Describe a scene for Neuroglancer.

    Parameters
    ----------
    scene
        The layers to show.
    sources
        URLs for each layer: of its image, and of the names of its regions if it has any.
    """
    axes = _shown_axes(scene.layers[0].image.axes)
    layers = [_layer(layer, addresses) for layer, addresses in zip(scene.layers, sources, strict=True)]
    regions = next((layer["name"] for layer in layers if layer["type"] == "segmentation" and layer["visible"]), None)
    state: State = {
        "title": " ".join(filter(None, (scene.sample, scene.title))),
        "dimensions": {axis.name: [axis.step, axis.unit] for axis in axes},
        "position": [axis.middle for axis in axes],
        "layers": layers,
        "layout": "4panel" if len(_space(axes)) > 2 else "xy",
        "selectedLayer": {"layer": regions or layers[0]["name"], "visible": regions is not None},
        "crossSectionBackgroundColor": "#000000",
        "hideCrossSectionBackground3D": True,
        "showAxisLines": False,
        "showDefaultAnnotations": False,
        "projectionOrientation": [0.3, 0.2, 0.05, 0.93],
    }
    if _space(axes):
        state |= _zoom(_space(axes))
    return state


def region_properties(regions: Sequence[LabelValue]) -> State:
    """Return names of regions as "segment properties" of Neuroglancer's precomputed format."""
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": [_segment_id(region) for region in regions],
            "properties": [
                {"id": "label", "type": "label", "values": [region.name for region in regions]},
                {
                    "id": "description",
                    "type": "description",
                    "values": [region.abbreviation or "" for region in regions],
                },
            ],
        },
    }


def _segment_id(region: LabelValue) -> str:
    """Write a label value as the client does: as uint64, with negative values wrapped."""
    return str(region.value % 2**64)


def _shown_axes(axes: Sequence[Axis]) -> list[Axis]:
    """Sort axes, x first, without channels, each of which has its own layer."""
    shown = [axis for axis in axes if axis.type != "channel"]
    return sorted(shown, key=lambda axis: ("xyz".find(axis.name) % 9, axis.name))


def _space(axes: Sequence[Axis]) -> list[Axis]:
    return [axis for axis in axes if axis.name in _PLANE]


def _zoom(axes: Sequence[Axis]) -> State:
    """Choose scales at which the image fits into each panel, in voxels of the finest axis per pixel."""
    finest = min(axis.step for axis in axes)
    extents = {axis.name: axis.n_voxels * axis.step / finest for axis in axes}
    x, y, z = (extents.get(name, 1.0) for name in "xyz")
    width, height = _PANEL
    scale = _MARGIN * max(x / width, y / height, z / height, z / width)
    return {"crossSectionScale": scale, "projectionScale": 0.75 * math.hypot(x, y, z)}


def _layer(layer: Layer, sources: list[str]) -> State:
    described: State = {"name": layer.name, "visible": layer.visible, "source": sources}
    if layer.mode == DisplayMode.LABELS and layer.image.dtype.kind in "iu":
        return described | {
            "type": "segmentation",
            "tab": "segments",
            "selectedAlpha": 0.35,
            "notSelectedAlpha": 0.08,
            "segmentColors": {_segment_id(region): region.color for region in layer.regions},
        }
    described["source"] = sources[0]
    mode = DisplayMode.INTENSITY if layer.mode == DisplayMode.LABELS else layer.mode
    zero = {"f": "0.0", "u": "0u", "i": "0"}[layer.image.dtype.kind]
    described |= {"type": "image", "opacity": 1, "shader": _SHADERS[mode].format(color=layer.color, zero=zero)}
    if layer.channel or any(axis.type == "channel" for axis in layer.image.axes):
        described |= {"localPosition": [layer.channel], "blend": "additive"}
    if mode != DisplayMode.MASK:
        described["shaderControls"] = {"normalized": _contrast(layer)}
    return described


def _contrast(layer: Layer) -> State:
    channel = layer.image.channels[layer.channel]
    window, limits = (layer.limits, layer.limits) if layer.limits else (channel.window, channel.limits)
    return {"range": list(ends_apart(*window)), "window": list(ends_apart(*limits))}
