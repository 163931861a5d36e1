"""Datasets and images to look at, and plain requests to the server that shows them.

Invariant: the cohort and its two datasets are made once for each process, and only read; tests that want to write take
a copy.
"""

from __future__ import annotations

import http.client
import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from catnip2bids import Viewing, package
from catnip2bids.demo import write_atlas_table, write_cohort
from catnip2bids.enums import Format
from catnip2bids.packaging import Settings
from runs import settings

SHAPE = (24, 80, 72)
KO = "sub-10001ko_sample-LeftHemisphere_stain-cFos"
RAW = f"sub-10001ko/micr/{KO}_SPIM"
ATLAS = f"derivatives/catnip/sub-10001ko/micr/{KO}_space-orig_desc-atlas_SPIM"
CELLS = f"derivatives/catnip/sub-10001ko/micr/{KO}_space-orig_desc-FRSTseg10000_SPIM"
CELL_LAYERS = [f"{what} cells, threshold {number}" for number in (10000, 15000) for what in ("counted", "uncounted")]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two made-up animals."""
    return _cohort(tmp_path_factory.getbasetemp() / "viewed")


@pytest.fixture(scope="session")
def dataset(cohort: Path) -> Path:
    """The cohort as OME-Zarr, with the colours of its atlas."""
    return _dataset(cohort)


@pytest.fixture(scope="session")
def tiff_dataset(cohort: Path) -> Path:
    """The cohort as OME-TIFF with lower levels."""
    return _tiff_dataset(cohort)


@pytest.fixture
def own_dataset(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the dataset that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))


@cache  # each module that imports a fixture has one of its own
def _cohort(folder: Path) -> Path:
    write_cohort(folder / "cohort", shape=SHAPE)
    write_atlas_table(folder / "atlas_info.txt")
    return folder / "cohort"


@cache
def _dataset(cohort: Path) -> Path:
    return packaged(cohort, cohort.parent / "dataset")


@cache
def _tiff_dataset(cohort: Path) -> Path:
    return packaged(cohort, cohort.parent / "tiff", image_format=Format.OME_TIFF, pyramid=True)


def packaged(cohort: Path, dataset: Path, **choices: Any) -> Path:
    """Package the cohort, or the runs in a part of it."""
    [atlas_table] = (folder / "atlas_info.txt" for folder in cohort.parents if (folder / "atlas_info.txt").is_file())
    chosen: Settings = settings(atlas_table=atlas_table, **choices)
    package([cohort], dataset, chosen)
    return dataset


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(viewing: Viewing, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask a viewing for a path below its address, as it stands: nothing is tidied up in it."""
    address = urlsplit(viewing.list_url)
    connection = http.client.HTTPConnection("127.0.0.1", viewing.port, timeout=10)
    try:
        connection.request(method, path if path.startswith("/") else address.path + path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def state(viewing: Viewing, scene: int = 0, **headers: str) -> dict[str, Any]:
    """Return the state that a scene is opened with."""
    answer = ask(viewing, f"v/{scene}/state.json", **headers)
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.body)
    return found


def layers(viewing: Viewing, scene: int = 0) -> dict[str, dict[str, Any]]:
    """Return the layers of a scene by name."""
    return {layer["name"]: layer for layer in state(viewing, scene)["layers"]}


def data_path(viewing: Viewing, layer: dict[str, Any]) -> str:
    """Return the path below the viewing's address at which the image of a layer is."""
    sources = layer["source"]
    source: str = sources if isinstance(sources, str) else sources[0]
    return source.removeprefix(viewing.list_url).partition("|")[0]
