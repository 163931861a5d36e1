"""Map paths to content: scenes, Neuroglancer's client and states, images, regions, cells, and the report.

Invariant: only the viewed images, tables of cells, pages of the report and files of the client are served, and no
folder is listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from importlib.util import find_spec
from io import BytesIO
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, TypeVar

from catnip2bids._version import __version__
from catnip2bids.errors import UsageError
from catnip2bids.html_pages import page_templates
from catnip2bids.viewing.cell_points import annotation_files
from catnip2bids.viewing.report_pages import REPORT_POLICY, has_report, report_page
from catnip2bids.viewing.scene import Scene, ViewedImage
from catnip2bids.viewing.state import Addresses, State, region_properties, state_of
from catnip2bids.viewing.surfaces import INFO, surface_files, surfaces_info
from catnip2bids.viewing.thumbnail import thumbnail

CLIENT_POLICY: Final = (
    "default-src 'self' blob: data:; script-src 'self' blob: 'unsafe-eval' 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)
"""The browser blocks all requests of the client to other servers."""
_HTML, _JSON, _WEBP = "text/html; charset=utf-8", "application/json", "image/webp"
_TYPES = {".html": _HTML, ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm", ".json": _JSON}
_TEMPLATES = "catnip2bids.viewing"
_SCRIPT = "client.js"
"""A script beside the client: its list of regions finds any part of a name, and it fits phones."""
_MOST_KEPT = 4
"""Tables whose cells, and images whose surfaces, are kept in memory: 140 MB for a million cells."""
_NUMBER = re.compile("[0-9]{1,6}")
_VOXEL = "(?P<x>[0-9]{1,6}),(?P<y>[0-9]{1,6}),(?P<z>[0-9]{1,6})"
_PLACE = re.compile(rf"(?:state|{_VOXEL})\.json")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Content:
    """The content at an address: its media type, a file or bytes, and what the browser lets it do."""

    type: str
    body: Path | bytes
    policy: str = CLIENT_POLICY

    def open(self) -> BinaryIO:
        """Open the content for reading."""
        return BytesIO(self.body) if isinstance(self.body, bytes) else self.body.open("rb")


class Routes:
    """The content of all addresses; `title` is that of the list of scenes, and `dataset` what may have a report."""

    def __init__(self, title: str, scenes: Sequence[Scene], dataset: Path | None) -> None:
        self._title, self._scenes, self._dataset = title, tuple(scenes), dataset
        self._annotations, self._thumbnail = lru_cache(_MOST_KEPT)(annotation_files), cache(thumbnail)
        self._surface_files = lru_cache(_MOST_KEPT)(surface_files)
        self._reading = Lock()  # a table or an image is read once, whatever is asked for at the same time
        self._images: list[ViewedImage] = []
        for layer in (layer for scene in scenes for layer in scene.layers):
            if layer.image not in self._images:
                self._images.append(layer.image)

    def find(self, path: str, root: str) -> Content | None:
        """Return the content at a path; addresses in the content begin with `root`."""
        match path.split("/", 3):
            case [""]:
                return Content(_HTML, self._start_page().encode())
            case ["report", name]:
                page = None if self._dataset is None else report_page(self._dataset, name)
                return None if page is None else Content(_HTML, page, REPORT_POLICY)
            case ["v", number, "state.json"] if scene := _numbered(self._scenes, number):
                return _document(state_of(scene, self._addresses(root, int(number))))
            case ["v", number, of_layer, name] if scene := _numbered(self._scenes, number):
                place = _PLACE.fullmatch(name)
                if place is None or _numbered(scene.layers, of_layer) is None:
                    return None
                voxel = {axis: int(at) for axis, at in place.groupdict().items() if at is not None}
                shown = scene.showing(int(of_layer))
                return _document(state_of(shown, self._addresses(root, int(number)), voxel))
            case ["v", number, name] if self.is_scene(number):
                return self._client_file(name or "index.html")
            case ["images", number, first, *rest] if image := _numbered(self._images, number):
                name = "/".join([first, *rest])
                body = image.read(name)
                return None if body is None else Content(_type_of(name), body)
            case ["regions", number, of_layer, "info"] if scene := _numbered(self._scenes, number):
                layer = _numbered(scene.layers, of_layer)
                return _document(region_properties(layer.regions)) if layer else None
            case ["surfaces", number, of_layer, name] if scene := _numbered(self._scenes, number):
                return self._surfaces(scene, of_layer, name)
            case ["cells", number, of_table, name] if scene := _numbered(self._scenes, number):
                return self._cells(scene, of_table, name)
            case ["thumbnails", number] if scene := _numbered(self._scenes, number):
                return Content(_WEBP, self._thumbnail(scene.layers[0]))
        return None

    def target(self, path: str, root: str) -> str | None:
        """Return the address that a short one leads to: that of a scene, or of a place in an image."""
        match path.split("/"):
            case ["v", number] if self.is_scene(number):
                return f"{root}v/{number}/#!{root}v/{number}/state.json"
            case ["open", image, *voxel] if _PLACE.fullmatch(state := f"{'/'.join(voxel) or 'state'}.json"):
                return next((f"{root}v/{at}/#!{root}v/{at}/{layer}/{state}" for at, layer in self._places(image)), None)
        return None

    def is_scene(self, number: str) -> bool:
        """Tell whether a scene has this number."""
        return _numbered(self._scenes, number) is not None

    def _places(self, image: str) -> Iterator[tuple[int, int]]:
        """Yield the scenes and layers, by their numbers, that show an image of this file name."""
        for number, scene in enumerate(self._scenes):
            for of_layer, layer in enumerate(scene.layers):
                if layer.image.path.name == image:
                    yield number, of_layer

    def _start_page(self) -> str:
        """Return the page that lists all scenes by sample."""
        numbered = groupby(enumerate(self._scenes), key=lambda item: item[1].sample)
        samples = [(name, list(scenes)) for name, scenes in numbered]
        template = page_templates(_TEMPLATES).get_template("start.html")
        has_pages = self._dataset is not None and has_report(self._dataset)
        return template.render(title=self._title, samples=samples, has_report=has_pages, version=__version__)

    def _addresses(self, root: str, number: int) -> Addresses:
        scene = self._scenes[number]
        of_layers = list(enumerate(scene.layers))
        return Addresses(
            [f"{root}images/{self._images.index(layer.image)}/" for _, layer in of_layers],
            [f"{root}regions/{number}/{at}/" for at, _ in of_layers],
            [f"{root}surfaces/{number}/{at}/" if layer.surface_image else "" for at, layer in of_layers],
            [f"{root}cells/{number}/{of_table}/" for of_table in range(len(scene.cells))],
        )

    def _surfaces(self, scene: Scene, number: str, name: str) -> Content | None:
        """Return a file of the surfaces of a layer; they are made when the first one is drawn."""
        layer = _numbered(scene.layers, number)
        image = layer.surface_image if layer else None
        if image is None:
            return None
        if name == INFO:
            return Content(_JSON, surfaces_info())
        with self._reading:
            body = self._surface_files(image).get(name)
        return None if body is None else Content(_type_of(name), body)

    def _cells(self, scene: Scene, number: str, name: str) -> Content | None:
        cells = _numbered(scene.cells, number)
        if cells is None:
            return None
        with self._reading:
            body = self._annotations(cells.table).get(name)
        return None if body is None else Content(_JSON if name == INFO else _type_of(name), body)

    def _client_file(self, name: str) -> Content | None:
        """Return a file of the client; its page loads a script of ours, too."""
        if name == _SCRIPT:
            return Content(_type_of(name), (files(_TEMPLATES) / "templates" / name).read_bytes())
        file = self._client.get(name)
        if file is None:
            return None
        if name == "index.html":
            script = f'<script defer src="{_SCRIPT}"></script></head>'.encode()
            return Content(_HTML, file.read_bytes().replace(b"</head>", script))
        return Content(_type_of(name), file)

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
