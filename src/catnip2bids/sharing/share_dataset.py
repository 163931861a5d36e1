"""Write the static files with which a public Neuroglancer shows a dataset on any web server, and the links to them.

Invariant: a link needs files of the dataset only, and all files that are made for it are in one folder, which is
replaced as a whole. Nothing is sent anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from catnip2bids.atomic_write import atomic_output, raising_write_errors, refuse_unwritable
from catnip2bids.bids.checksums import write_checksums
from catnip2bids.bids.dataset_paths import NEUROGLANCER
from catnip2bids.bids.provenance import PROVENANCE, read_provenance
from catnip2bids.bids.tables import Table
from catnip2bids.documents import refuse_foreign
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.formatting import format_count, format_list
from catnip2bids.packaging.existing_dataset import check_checksums, set_aside
from catnip2bids.packaging.package_runs import locked_if_unchanged
from catnip2bids.packaging.shared_links import LINKS, LINKS_COLUMNS
from catnip2bids.paths import safe_path
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.viewing.cell_points import annotation_files
from catnip2bids.viewing.scene import DisplayMode, Layer, Scene, scenes_of
from catnip2bids.viewing.state import Addresses, region_properties, state_of
from catnip2bids.viewing.surfaces import surface_files

PUBLIC_CLIENT = "https://neuroglancer-demo.appspot.com"
"""The Neuroglancer of its authors."""
_README = """\
# Files for Neuroglancer

`catnip2bids share` made this folder. With it, the links in `links.tsv` open the dataset in
[Neuroglancer](https://github.com/google/neuroglancer), from the address {url}

Each folder has the scenes of one sample (`image.json`, `heatmaps.json`: states of Neuroglancer), names of regions
(segment properties) and their surfaces (meshes), and cells (annotations), in formats of Neuroglancer. All of it is
made from other files of the dataset. If the dataset moves to another address, run `catnip2bids share` again. The
whole folder may be deleted; `catnip2bids verify` misses it until the dataset is packaged again.
"""


@dataclass(frozen=True)
class Link:
    """A link to a scene."""

    run: str  # the entities that all files of the sample share
    scene: str
    link: str


@dataclass(frozen=True, repr=False)
class SharedDataset(ShortRepr):
    """What `share` made."""

    folder: Path  # of the new files
    links: tuple[Link, ...]  # to samples and heat maps
    problems: tuple[str, ...]  # images and cells that are not shown

    @property
    def ok(self) -> bool:
        """Whether the links show all images and cells."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return the links and problems as a JSON document."""
        return {"links": [asdict(link) for link in self.links], "problems": list(self.problems)}

    def _summary(self) -> ReprSummary:
        links = format_count(len(self.links), "link")
        return ReprSummary(str(self.folder), (links,), [asdict(link) for link in self.links], self.problems)


def share(
    dataset: Path | str, url: str, *, client: str = PUBLIC_CLIENT, progress: Progress | None = None
) -> SharedDataset:
    """Make links that open a published dataset in a public Neuroglancer.

    The links work once the dataset, with the files that this adds to ``derivatives/catnip-neuroglancer``, is at `url`.
    Its server must answer requests for byte ranges, and allow other web pages to read (CORS).

    Parameters
    ----------
    dataset
        A dataset that `package` made, of OME-Zarr images.
    url
        Address of the root folder of the dataset, where it is or will be.
    client
        Address of a Neuroglancer client.
    progress
        Receives the samples, and warnings.

    Raises
    ------
    UsageError
        If the images are OME-TIFF, which Neuroglancer cannot read from files, or an address is not one.
    DatasetError, SourceError
        If it is not a dataset of this program, it is read-only, or a file cannot be read. Then nothing was changed.

    Examples
    --------
    >>> shared = share("dataset", "https://data.example.org/dataset")
    >>> shared.links[0].link.partition("#!")[0]
    'https://neuroglancer-demo.appspot.com/'
    """
    dataset, progress = Path(dataset), progress or Progress()
    url, client = _checked(url, "--url"), _checked(client, "--client")
    _refuse_unless_zarr(dataset)
    refuse_foreign(dataset)
    provenance = read_provenance(dataset)
    check_checksums(dataset, provenance)
    if unfinished := provenance.unfinished_runs:
        what = f"packaging of {format_list(unfinished)} was interrupted"
        raise UsageError(f"{dataset}: {what}; package again first, or take the animal out")
    if _is_blocked(url, client):
        progress.warning(f"{url}: browsers let a page of https load files of https only; use a server with https")
    problems: list[str] = []
    links = []
    refuse_unwritable(dataset)
    refuse_unwritable(dataset / NEUROGLANCER)
    with raising_write_errors(dataset), locked_if_unchanged(dataset, provenance):
        with atomic_output(safe_path(dataset, NEUROGLANCER)) as folder:
            for scene in scenes_of(dataset, problems.append):
                progress.item(f"{scene.sample}: {scene.title}")
                state = _write_scene(dataset, folder, url, scene, problems.append)
                links.append(Link(scene.sample, scene.title, f"{client}/#!{url}/{NEUROGLANCER}/{state}"))
            _write(folder / LINKS, Table(LINKS_COLUMNS, tuple(asdict(link) for link in links)).to_tsv().encode())
            _write(folder / "README.md", _README.format(url=url).encode())
            checksums = set_aside(dataset, provenance)
        write_checksums(dataset, checksums, [NEUROGLANCER])
    for problem in problems:
        progress.problem(problem)
    return SharedDataset(dataset / NEUROGLANCER, tuple(links), tuple(problems))


def _write_scene(dataset: Path, made: Path, url: str, scene: Scene, warn: Callable[[str], None]) -> str:
    """Write the files of a scene into the folder of all scenes, `made`; return the path of its state below it.

    `url` is the address of the dataset.
    """
    place, folder = f"{url}/{NEUROGLANCER}/{quote(scene.sample)}", made / scene.sample
    for layer in scene.layers:
        if layer.regions:
            names = json.dumps(region_properties(layer.regions, with_tags=True)).encode()
            _write(folder / _folder_name(layer.name) / "info", names)
    for cells in scene.cells:
        for name, content in annotation_files(cells.table).items():
            _write(folder / _folder_name(cells.name) / name, content)
    addresses = Addresses(
        [f"{url}/{quote(layer.image.path.relative_to(dataset).as_posix())}/" for layer in scene.layers],
        [f"{place}/{_folder_name(layer.name)}/" for layer in scene.layers],
        [_write_surfaces(layer, folder, place, warn) for layer in scene.layers],
        [f"{place}/{_folder_name(cells.name)}/" for cells in scene.cells],
    )
    name = "heatmaps.json" if scene.layers[0].mode == DisplayMode.HEATMAP else "image.json"
    _write(folder / name, json.dumps(state_of(scene, addresses)).encode())
    return f"{quote(scene.sample)}/{name}"


def _write_surfaces(layer: Layer, folder: Path, place: str, warn: Callable[[str], None]) -> str:
    """Write the surfaces of the regions of a layer; return their address, or an empty text if there are none."""
    if layer.surface_image is None:
        return ""
    name = f"{_folder_name(layer.name)}-surfaces"
    try:
        surfaces = surface_files(layer.surface_image)
    except SourceError as error:
        warn(f"surfaces are not shown: {error}")
        return ""
    for file, content in surfaces.items():
        _write(folder / name / file, content)
    return f"{place}/{name}/"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _folder_name(layer: str) -> str:
    """Return the name of a layer as the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", layer.lower()).strip("-")


def _checked(url: str, option: str) -> str:
    """Return a web address without the slash at its end; raise UsageError if it is not one."""
    try:
        parts = urlsplit(url)
        is_one = (
            parts.scheme in ("http", "https")
            and parts.hostname
            and parts.port != 0
            and not (parts.query or parts.fragment)
        )
    except ValueError:  # also of a port that is not a number, or too large
        is_one = False
    if not is_one or not re.fullmatch(r"[!-~]+", url):
        example = "https://data.example.org/dataset" if option == "--url" else PUBLIC_CLIENT
        raise UsageError(f"{option} {url}: is not the address of a folder on a web server; give for example {example}")
    return url.rstrip("/")


def _is_blocked(url: str, client: str) -> bool:
    """Tell whether browsers refuse to let the client load files from an address without encryption."""
    host = urlsplit(url).hostname or ""
    try:
        is_here = ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return urlsplit(client).scheme == "https" and urlsplit(url).scheme == "http" and not is_here


def _refuse_unless_zarr(dataset: Path) -> None:
    if not (dataset / PROVENANCE).is_file():
        what = "is not a dataset that catnip2bids packaged" if dataset.exists() else "does not exist"
        raise UsageError(f"{dataset}: {what}; give the root folder of such a dataset")
    if tiff := next((image for image in read_provenance(dataset).all_images() if not image.endswith(".zarr")), None):
        raise UsageError(
            f"{dataset / tiff}: is an OME-TIFF, which Neuroglancer cannot read from a web server; package the dataset "
            "with --format ome-zarr, or show it on your machine with catnip2bids view"
        )
