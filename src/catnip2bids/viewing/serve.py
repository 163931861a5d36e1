"""Serve images to Neuroglancer until closed, and open them in a browser.

Invariant: no data leave this machine, and nothing is written.
"""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from catnip2bids.bids.provenance import PROVENANCE
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_count
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.viewing.routes import Routes
from catnip2bids.viewing.scene import Scene, ViewedImage, scenes_of
from catnip2bids.viewing.server import ViewServer
from catnip2bids.viewing.zarr_image import ZarrImage


class Viewing(ShortRepr):
    """A running viewer; it closes at the end of a ``with`` block or of the program."""

    def __init__(self, scenes: tuple[Scene, ...], server: ViewServer, first: str, image: ViewedImage) -> None:
        self.scenes, self._server, self._first, self._image = scenes, server, first, image

    @property
    def url(self) -> str:
        """URL to open first: the place that was asked for, the scene of the only sample, or the list of all scenes."""
        return f"{self.list_url}{self._first}"

    @property
    def list_url(self) -> str:
        """URL of the list of all scenes."""
        return self._server.root

    @property
    def port(self) -> int:
        """Port of the server."""
        return self._server.server_port

    @property
    def napari_command(self) -> str:
        """Command that opens in napari the image that was asked for, or the first one."""
        plugin = "napari-ome-zarr" if isinstance(self._image, ZarrImage) else "napari-tiff"
        return f"napari --plugin {plugin} {shlex.quote(str(self._image.path))}"

    def _summary(self) -> ReprSummary:
        # without the address, because it holds a secret and notebooks are saved and shared
        samples = len({scene.sample for scene in self.scenes})
        return ReprSummary(f"on port {self.port}", (format_count(samples, "sample"), "its url is what to open"))

    def wait(self) -> None:
        """Wait until the viewer is closed or the program is interrupted."""
        self._server.wait()

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def view(
    path: Path | str,
    *,
    image: str | None = None,
    position: tuple[int, int, int] | None = None,
    port: int = 0,
    progress: Progress | None = None,
) -> Viewing:
    """Serve images with their labels to Neuroglancer, on this machine only.

    Parameters
    ----------
    path
        A dataset that `package` made, the folder of an OME-Zarr image, or an OME-TIFF.
    image
        The image of a dataset to open first, by its file name or path.
    position
        Voxel (x, y, z) to open first, counted from 0, of that image or of the raw image of the only sample.
    port
        Port of the server; 0 for any free port.
    progress
        Listens to warnings about images that cannot be shown.

    Returns
    -------
    Viewing
        A running viewer; open its `url` in a browser.

    Raises
    ------
    UsageError
        If the path is none of these, the image or the position is not in it, or the port is in use.
    SourceError, DatasetError
        If the path cannot be read.

    Examples
    --------
    >>> with view("dataset") as viewing:
    ...     viewing.url.startswith("http://127.0.0.1:")
    True
    """
    path, progress = Path(path), progress or Progress()
    if leftovers := leftovers_below(path):
        progress.note(ignored(leftovers))
    scenes = scenes_of(path, progress.warning)
    asked_for = _image_named(path, scenes, image)
    first = _first_address(path, scenes, asked_for, position, is_named=image is not None)
    routes = Routes(path.resolve().name, scenes, path if (path / PROVENANCE).is_file() else None)
    return Viewing(scenes, ViewServer(routes, port, progress.warning), first, asked_for)


def _image_named(path: Path, scenes: Sequence[Scene], name: str | None) -> ViewedImage:
    """Return the image of this file name or path, by default the first one; raise UsageError if there is none."""
    images = [layer.image for scene in scenes for layer in scene.layers]
    if name is None:
        return images[0]
    for image in images:
        if image.path.name == Path(name).name:
            return image
    raise UsageError(f"--image {name}: is not an image of {path}; give a file name, such as {images[0].path.name}")


def _first_address(
    path: Path, scenes: Sequence[Scene], image: ViewedImage, position: tuple[int, int, int] | None, *, is_named: bool
) -> str:
    """Return the address to open first, below the root of the server; raise UsageError if it is not in the scenes."""
    has_one, name = len({scene.sample for scene in scenes}) == 1, image.path.name
    if position is None:
        return f"open/{quote(name)}" if is_named else "v/0" if has_one else ""
    if not (is_named or has_one):
        example = f"--image {name} --position {' '.join(map(str, position))}"
        raise UsageError(f"{path}: has several samples; say which image the position is in: {example}")
    sizes = {axis.name: axis.n_voxels for axis in image.axes}
    if any(at >= sizes.get(axis, at + 1) or at < 0 for axis, at in zip("xyz", position, strict=True)):
        what = f"{name}, which has {' x '.join(str(sizes[axis]) for axis in 'xyz' if axis in sizes)} voxels"
        raise UsageError(f"--position {' '.join(map(str, position))}: is outside of {what}; give X Y Z, counted from 0")
    return f"open/{quote(name)}/{','.join(map(str, position))}"


def open_in_browser(url: str) -> bool:
    """Open a graphical browser, and return whether one was found. Text browsers would block the terminal.

    Other users of the machine may read the address from the command line of the browser. A private file could hide the
    address, but sandboxed browsers (snap, flatpak) cannot read such a file.
    """
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        return False
    return webbrowser.open(url)
