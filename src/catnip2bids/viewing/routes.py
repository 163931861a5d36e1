"""Map paths to content: the list of scenes, Neuroglancer's client and states, images, names of regions.

Invariant: only the viewed images and files of the client are served, and no folder is listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeVar

from catnip2bids._version import __version__
from catnip2bids.errors import UsageError
from catnip2bids.html_pages import page_templates
from catnip2bids.viewing.image import ViewedImage
from catnip2bids.viewing.neuroglancer_state import State, region_properties, state_of
from catnip2bids.viewing.scene import Layer, Scene

_HTML, _JSON = "text/html; charset=utf-8", "application/json"
_TYPES = {".html": _HTML, ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".json": _JSON}
_NUMBER = re.compile("[0-9]{1,6}")
Item = TypeVar("Item")


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
        """Return the content at a path; addresses in the content begin with `root`.

        Raises
        ------
        SourceError
            If an image cannot be read.
        """
        match path.split("/", 2):
            case [""]:
                return Content(_HTML, self._start_page().encode())
            case ["v", number, "state.json"] if scene := _numbered(self._scenes, number):
                return _document(self._state(int(number), scene, root))
            case ["v", number, name] if self.is_scene(number):
                return self._client_file(name or "index.html")
            case ["images", number, name] if image := _numbered(self._images, number):
                body = image.read(name)
                return None if body is None else Content(_type_of(name), body)
            case ["regions", number, name] if scene := _numbered(self._scenes, number):
                layer = _numbered(scene.layers, name.removesuffix("/info")) if name.endswith("/info") else None
                return _document(region_properties(layer.regions)) if layer else None
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
        return state_of(scene, [self._sources(root, number, *item) for item in enumerate(scene.layers)])

    def _sources(self, root: str, scene: int, number: int, layer: Layer) -> list[str]:
        """Return the Neuroglancer sources (URL and format) of an image and of its region names."""
        sources = [f"{root}images/{self._images.index(layer.image)}/|zarr{layer.image.zarr_format}:"]
        if layer.regions:
            sources.append(f"{root}regions/{scene}/{number}/|neuroglancer-precomputed:")
        return sources

    def _client_file(self, name: str) -> Content | None:
        return Content(_type_of(name), self._client[name]) if name in self._client else None

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
