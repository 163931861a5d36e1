"""One viewing: what is looked at, served until it is closed.

Invariant: nothing leaves this machine, and nothing is written.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from catnip2bids.formatting import format_count
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.viewing.image import ViewedImage
from catnip2bids.viewing.routes import Routes
from catnip2bids.viewing.scene import Scene, scenes_of
from catnip2bids.viewing.server import ViewServer
from catnip2bids.viewing.zarr_image import ZarrImage


class Viewing(ShortRepr):
    """Images that can be looked at as long as this is open; closed at the end of a ``with``, or with Python."""

    def __init__(self, path: Path, port: int, warn: Callable[[str], None]) -> None:
        self.scenes: tuple[Scene, ...] = scenes_of(path, warn)
        title = path.resolve().name
        self._server = ViewServer(Routes(title, self.scenes), port, warn)

    @property
    def url(self) -> str:
        """The address to open first: the images of the only sample, or else the list of all."""
        return f"{self.list_url}v/0" if len({scene.sample for scene in self.scenes}) == 1 else self.list_url

    @property
    def list_url(self) -> str:
        """The address of the list of everything that can be looked at."""
        return self._server.root

    @property
    def port(self) -> int:
        """The port it is served at."""
        return self._server.server_port

    @property
    def napari_command(self) -> str:
        """The command that opens the first image in napari."""
        image: ViewedImage = self.scenes[0].layers[0].image
        plugin = "napari-ome-zarr" if isinstance(image, ZarrImage) else "napari-tiff"
        return f"napari --plugin {plugin} {shlex.quote(str(image.path))}"

    def _summary(self) -> ReprSummary:
        # not its address: that has a secret in it, and notebooks are kept and shown around
        samples = len({scene.sample for scene in self.scenes})
        return ReprSummary(f"on port {self.port}", (format_count(samples, "sample"), "its url is what to open"))

    def wait(self) -> None:
        """Wait until it is closed, or the program is interrupted."""
        self._server.wait()

    def close(self) -> None:
        """End it."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def view(path: Path | str, *, port: int = 0, progress: Progress | None = None) -> Viewing:
    """Serve images with their labels to Neuroglancer, from this machine to this machine.

    Parameters
    ----------
    path
        A dataset that `package` made, the folder of an OME-Zarr image, or an OME-TIFF.
    port
        The port to serve at; 0 for any free one.
    progress
        Told about images that cannot be shown.

    Returns
    -------
    Viewing
        Open its `url` in a browser; it works until it is closed.

    Raises
    ------
    UsageError
        If the path is neither, or the port is in use.
    SourceError, DatasetError
        If it cannot be read.

    Examples
    --------
    >>> with view("dataset") as viewing:
    ...     viewing.url.startswith("http://127.0.0.1:")
    True
    """
    progress = progress or Progress()
    if leftovers := leftovers_below(Path(path)):
        progress.note(ignored(leftovers))
    return Viewing(Path(path), port, progress.warning)
