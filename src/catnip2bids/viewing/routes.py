"""Map paths to content: the list of scenes, Neuroglancer's client and states, images, names of regions.

Invariant: only the viewed images and files of the client are served, and no folder is listed. A state sets everything
that is visible at first and relies on no defaults of Neuroglancer; its keys are those of the client in the package
neuroglancer 2.41.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from catnip2bids._version import __version__
from catnip2bids.errors import UsageError
from catnip2bids.html_pages import page_templates
from catnip2bids.ome import LabelValue, ends_apart
from catnip2bids.viewing.image import Axis
from catnip2bids.viewing.scene import DisplayMode, Layer, Scene, ViewedImage

_HTML, _JSON = "text/html; charset=utf-8", "application/json"
_TYPES = {".html": _HTML, ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".json": _JSON}
_NUMBER = re.compile("[0-9]{1,6}")
Item = TypeVar("Item")
State = dict[str, Any]

_PANEL = (460, 400)
"""Pixels of a panel, one of four in a window of 1280 x 900 beside the list of regions."""
_MARGIN = 1.05
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


@dataclass(frozen=True)
class Content:
    """The content at an address: its media type, and a file or bytes."""

    type: str
    body: Path | bytes

    def open(self) -> BinaryIO:
        """Open the content for reading."""
        return BytesIO(self.body) if isinstance(self.body, bytes) else self.body.open("rb")


class Routes:
    """The content of all addresses; `title` is that of the list of scenes."""

    def __init__(self, title: str, scenes: Sequence[Scene]) -> None:
        self._title, self._scenes = title, tuple(scenes)
        self._images: list[ViewedImage] = []
        for layer in (layer for scene in scenes for layer in scene.layers):
            if layer.image not in self._images:
                self._images.append(layer.image)

    def find(self, path: str, root: str) -> Content | None:
        """Return the content at a path; addresses in the content begin with `root`."""
        match path.split("/", 2):
            case [""]:
                return Content(_HTML, self._start_page().encode())
            case ["v", number, "state.json"] if scene := _numbered(self._scenes, number):
                return _document(self._state(int(number), scene, root))
            case ["v", number, name] if self.is_scene(number):
                file = self._client.get(name or "index.html")
                return None if file is None else Content(_type_of(file.name), file)
            case ["images", number, name] if image := _numbered(self._images, number):
                body = image.read(name)
                return None if body is None else Content(_type_of(name), body)
            case ["regions", number, name] if scene := _numbered(self._scenes, number):
                layer = _numbered(scene.layers, name.removesuffix("/info")) if name.endswith("/info") else None
                return _document(_region_properties(layer.regions)) if layer else None
        return None

    def is_scene(self, number: str) -> bool:
        """Tell whether a scene has this number."""
        return _numbered(self._scenes, number) is not None

    def _start_page(self) -> str:
        """Return the page that lists all scenes by sample; it loads no resources."""
        numbered = groupby(enumerate(self._scenes), key=lambda item: item[1].sample)
        samples = [(name, list(scenes)) for name, scenes in numbered]
        template = page_templates("catnip2bids.viewing").get_template("start.html")
        return template.render(title=self._title, samples=samples, version=__version__)

    def _state(self, number: int, scene: Scene, root: str) -> State:
        return _state_of(scene, [self._sources(root, number, *item) for item in enumerate(scene.layers)])

    def _sources(self, root: str, scene: int, number: int, layer: Layer) -> list[str]:
        """Return the Neuroglancer sources (URL and format) of an image and of its region names."""
        sources = [f"{root}images/{self._images.index(layer.image)}/|zarr{layer.image.zarr_format}:"]
        if layer.regions:
            sources.append(f"{root}regions/{scene}/{number}/|neuroglancer-precomputed:")
        return sources

    @cached_property
    def _client(self) -> dict[str, Path]:
        """Files of the client by name; the package is not imported, because that takes a second."""
        spec = find_spec("neuroglancer")
        folders = spec.submodule_search_locations if spec else None
        if not folders:
            raise UsageError("neuroglancer is not installed; install catnip2bids again: pip install catnip2bids")
        return {file.name: file for file in (Path(folders[0]) / "static/client").iterdir() if file.suffix in _TYPES}


def _numbered(items: Sequence[Item], number: str) -> Item | None:
    """Return the item with a number from an address; None if it does not exist."""
    return items[int(number)] if _NUMBER.fullmatch(number) and int(number) < len(items) else None


def _document(state: State) -> Content:
    return Content(_JSON, json.dumps(state).encode())


def _type_of(name: str) -> str:
    return _TYPES.get(Path(name).suffix, "application/octet-stream")


def _state_of(scene: Scene, sources: Sequence[list[str]]) -> State:
    """Describe a scene; `sources` has for each layer the URLs of its image and, if any, of the names of its regions."""
    # x comes first; each channel has its own layer
    axes = [axis for axis in scene.layers[0].image.axes if axis.type != "channel"]
    axes.sort(key=lambda axis: ("xyz".find(axis.name) % 9, axis.name))
    space = [axis for axis in axes if axis.name in ("x", "y", "z")]
    layers = [_layer(layer, addresses) for layer, addresses in zip(scene.layers, sources, strict=True)]
    regions = next((layer["name"] for layer in layers if layer["type"] == "segmentation" and layer["visible"]), None)
    state: State = {
        "title": " ".join(filter(None, (scene.sample, scene.title))),
        "dimensions": {axis.name: [axis.step, axis.unit] for axis in axes},
        "position": [axis.middle for axis in axes],
        "layers": layers,
        "layout": "4panel" if len(space) > 2 else "xy",
        "selectedLayer": {"layer": regions or layers[0]["name"], "visible": regions is not None},
        "crossSectionBackgroundColor": "#000000",
        "hideCrossSectionBackground3D": True,
        "showAxisLines": False,
        "showDefaultAnnotations": False,
        "projectionOrientation": [0.3, 0.2, 0.05, 0.93],
    }
    return state | _zoom(space)


def _region_properties(regions: Sequence[LabelValue]) -> State:
    """Return names of regions as "segment properties" of Neuroglancer's precomputed format."""
    abbreviations = [region.abbreviation or "" for region in regions]
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": [_segment_id(region) for region in regions],
            "properties": [
                {"id": "label", "type": "label", "values": [region.name for region in regions]},
                {"id": "description", "type": "description", "values": abbreviations},
            ],
        },
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
