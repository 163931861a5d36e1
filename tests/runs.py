"""Small runs of CATNIP for tests, ways to damage them, and independent readers of what comes out.

Invariant: nothing here uses the package's own readers or its knowledge of names, so a test that compares a
dataset with its source holds two independent views against each other.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import zarr

from catnip2bids.demo import RunSpec, write_run
from catnip2bids.packaging import Settings
from catnip2bids.progress import Progress

Array = npt.NDArray[Any]
Row = dict[str, str]

SHAPE = (12, 40, 36)
"""As small as a brain can be; its images have one level."""
TALL = (10, 72, 40)
"""The smallest with more than one level."""
VOXEL_SIZE_UM = (3.7, 3.7, 5.0)

KO_NAME = "210810_45670_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11"
KO = f"KO/{KO_NAME}"
"""A run whose name tells everything."""
FLOX_NAME = "210816_45925_floxed_male_RH_16-09-53_decon_2021-10-29_16-57-17"
FLOX = f"FLOX/_45925_RH_flox_20211029/{FLOX_NAME}"
"""The same, nested one deeper."""
TODAY_NAME = "640_2026-05-02_09-12-33"
"""A run whose name tells no subject."""
TODAY = f"WT/_46001_LH_wt_20260502/{TODAY_NAME}"
"""Its parent folder tells."""

RAW = ("640_N4", "N4_masked")
"""The entry of raw pixels, in 2021 and today: a run of it alone is packaged in a quarter of the time."""
LOG = f"{TODAY_NAME}.log.txt"

KO_PREFIX = "sub-45670ko_sample-LeftHemisphere_stain-cFos"
TODAY_PREFIX = "sub-46001wt_sample-LeftHemisphere_stain-cFos"

PROVENANCE = "code/catnip2bids/provenance.json"
CHECKSUMS = "code/catnip2bids/checksums.sha256"


def settings(**choices: Any) -> Settings:
    """Make settings with a voxel size; without a report, which takes a second."""
    return Settings(**{"voxel_size_um": VOXEL_SIZE_UM, "report": False, **choices})


def write_l0(folder: Path, name: str = KO, only: Collection[str] = (), **choices: Any) -> Path:
    """Write a run of 2021; one threshold unless told, and `only` some of its entries."""
    spec = RunSpec(name, **{"layout": "L0", "shape": SHAPE, "thresholds": (10000,), **choices})
    return _write_run(folder, spec, only)


def write_l2(folder: Path, name: str = TODAY, only: Collection[str] = (), **choices: Any) -> Path:
    """Write a run of today, likewise."""
    spec = RunSpec(name, **{"layout": "L2", "shape": SHAPE, "thresholds": (10000,), **choices})
    return _write_run(folder, spec, only)


def _write_run(folder: Path, spec: RunSpec, only: Collection[str]) -> Path:
    run = folder / spec.name
    run.mkdir(parents=True)
    for name, content in _files_of_run(spec).items():
        if not only or name.partition("/")[0] in only:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_bytes(content)
    return run


@cache
def _files_of_run(spec: RunSpec) -> dict[str, bytes]:
    """Make up a run, which takes ten times as long as to write it once more."""
    with TemporaryDirectory() as folder:
        run = write_run(Path(folder), spec)
        return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def write_l1(folder: Path, name: str = TODAY, **choices: Any) -> Path:
    """Write a run of 2022 to 2024: names begin with the channel, the unmasked labels were deleted at the end."""
    run = write_l2(folder, name, **choices)
    shutil.rmtree(run / "atlaslabel_def_origspace")
    for path in ("N4_masked", "FRST", "FRST_seg", "FRST_seg_corrected"):
        if (run / path).is_dir():
            (run / path).rename(run / f"640_{path}")
    for filtered in run.glob("640_FRST_seg/*_filtered"):
        shutil.rmtree(filtered)
    for cell_list in run.glob("640_FRST_seg/cellvolumes/*.mat"):
        cell_list.unlink()
    return run


# ---- what is on disk


def files_of(folder: Path) -> dict[str, bytes]:
    """Hash every file below a folder, hidden ones too, by POSIX path; a file is hashed by itself."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in sorted([folder, *folder.rglob("*")])
        if path.is_file()
    }


def dataset_files(dataset: Path) -> dict[str, bytes]:
    """Hash every file of a dataset but for its provenance and report, in which times stand, and the checksums."""
    return {
        path: content
        for path, content in files_of(dataset).items()
        if path not in (PROVENANCE, CHECKSUMS) and not path.startswith("docs/")
    }


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"",
            path.lstat().st_mtime_ns,
        )
        for path in sorted([folder, *folder.rglob("*")])
    }


def images_of(dataset: Path) -> set[str]:
    """List the images of a dataset by POSIX path."""
    return {
        path.relative_to(dataset).as_posix()
        for ending in (".ome.zarr", ".ome.tif", ".ome.btf")
        for path in dataset.rglob(f"*{ending}")
        if not path.name.startswith(".")
    }


def partials_of(dataset: Path) -> list[Path]:
    """List what was begun and not finished."""
    return [path for path in dataset.rglob(".*") if path.name.endswith((".partial", ".progress"))]


def read_tsv(path: Path) -> list[Row]:
    """Read a table; every row must have as many cells as there are columns."""
    lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), "excel-tab"))
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def read_json(path: Path) -> Any:
    """Read a JSON document, strictly: NaN is an error."""

    def refuse(name: str) -> None:
        raise ValueError(f"{path}: {name} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


# ---- pixels


def slice_number(name: str) -> int:
    """Tell the slice number of a file name of CATNIP: behind Z, or else the last number of the name."""
    found = re.findall(r"(?:^|_)Z(\d+)", name) or re.findall(r"(\d+)\D*$", name)
    return int(found[-1])


def slices_of(folder: Path) -> list[Path]:
    """List slice files in the order of their numbers."""
    return sorted(folder.glob("*.tif"), key=lambda path: slice_number(path.name))


def source_planes(path: Path) -> Array:
    """Read a slice folder or a stack with tifffile, planes in the order of their slice numbers."""
    if path.is_dir():
        return np.stack([tifffile.imread(file) for file in slices_of(path)])
    with tifffile.TiffFile(path) as stack:
        return np.stack([page.asarray() for page in stack.pages])


def planes_behind(image: str, path: Path) -> Array:
    """Read the planes that an image should hold; a hemisphere mask may have to be reconstructed from masked labels."""
    if "hemispheremask" not in image or path.name == "hemispheremask_origspace":
        return source_planes(path)
    labels, masked = source_planes(path.parent / "atlaslabel_def_origspace"), source_planes(path)
    mask: Array = (labels == masked).astype(np.uint16)
    mask[~masked.any(axis=(1, 2)) & labels.any(axis=(1, 2))] = 0
    return mask


def level(image: Path, number: int = 0) -> Array:
    """Read one level of an OME-Zarr image with zarr-python."""
    return np.asarray(zarr.open_array(image / str(number), mode="r")[...])


def ome(image: Path) -> dict[str, Any]:
    """Read the OME metadata of an image of version 0.5 or 0.4."""
    if (image / "zarr.json").is_file():
        attributes: dict[str, Any] = read_json(image / "zarr.json")["attributes"]["ome"]
        return attributes
    old: dict[str, Any] = read_json(image / ".zattrs")
    return old


def scales(image: Path) -> list[list[float]]:
    """List the scales (z, y, x) of the levels of an image."""
    datasets = ome(image)["multiscales"][0]["datasets"]
    return [
        step["scale"]
        for dataset in datasets
        for step in dataset["coordinateTransformations"]
        if step["type"] == "scale"
    ]


def plane_hash(plane: Array) -> str:
    """sha256 over the pixels of a plane as little-endian bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).tobytes()).hexdigest()


def rewrite_slice(path: Path, plane: Array) -> None:
    """Replace a slice by another plane."""
    tifffile.imwrite(path, plane, photometric="minisblack", metadata=None)


def change_slices(folder: Path, change: Callable[[Array], Array]) -> None:
    """Change every plane of a slice folder."""
    for path in slices_of(folder):
        rewrite_slice(path, change(tifffile.imread(path)))


# ---- what was written down


def decisions(dataset: Path) -> dict[str, dict[str, Any]]:
    """Return the decisions of a dataset by source; each source of each run has one."""
    listed = read_json(dataset / PROVENANCE)["decisions"]
    assert len({(decision["run"], decision["source"]) for decision in listed}) == len(listed)
    return {decision["source"]: decision for decision in listed}


def targets(dataset: Path) -> set[str | None]:
    """Return what the entries of all runs became."""
    return {decision["target"] for decision in read_json(dataset / PROVENANCE)["decisions"]}


class Collector(Progress):
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        """Remember it."""
        self.notes.append(text)

    def warning(self, text: str) -> None:
        """Remember it."""
        self.warnings.append(text)

    def problem(self, text: str) -> None:
        """Remember it."""
        self.problems.append(text)


def mentions(texts: Iterable[str], *words: str) -> bool:
    """Tell whether one of the texts has all of these words in it."""
    return any(all(word in text for word in words) for text in texts)


def column(rows: Iterable[Mapping[str, str]], name: str) -> list[str]:
    """Return one column of a table."""
    return [row[name] for row in rows]
