"""OME-TIFFs made of volumes, and independent readers of them: tifffile, and libtiff's command line tools."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from catnip2bids.engine import ProgressCallbacks, UnitResult, convert_volume, own_resources, scheduler_for
from catnip2bids.ome import OmeTiff, OmeTiffImage, OmeXmlFields, downsample
from catnip2bids.volume import Copyable, Kind, Volume
from made_up import Array

if TYPE_CHECKING:
    import ome_types

needs_libtiff = pytest.mark.skipif(
    "CI" not in os.environ and not all(map(shutil.which, ("tiffcmp", "tiffcp", "tiffinfo"))),
    reason="needs the command line tools of libtiff",
)


def ome_of(image: Path) -> ome_types.model.Image:
    """Read how an OME-TIFF is described, with ome-types, which takes long to import."""
    import ome_types

    return ome_types.from_tiff(image).images[0]


def image_of(volume: Volume, file: Path, kind: Kind = Kind.IMAGE, **choices: Any) -> OmeTiffImage:
    """Describe the OME-TIFF of a volume; voxels of 3.7 x 3.7 x 5 micrometers."""
    described = OmeXmlFields(
        choices.pop("name", "brain"),
        "cFos",
        choices.pop("description", "made up"),
        volume.shape,
        volume.dtype.name,
        (5.0, 3.7, 3.7),
    )
    encoding = volume.encoding if isinstance(volume, Copyable) else None
    return OmeTiffImage(file, described, kind, encoding, OmeTiff(**choices))


def write_image(volume: Volume, image: OmeTiffImage) -> UnitResult:
    """Write an OME-TIFF with all processors."""
    ignored = ProgressCallbacks(list[int]().append, list[int]().append)
    with scheduler_for([(volume, image)], own_resources(None, None)) as workers:
        return convert_volume(volume, image, workers, ignored)


@contextmanager
def without_complaint() -> Iterator[None]:
    """Fail if tifffile logs a warning or an error."""
    said: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Listening(logging.WARNING)
    tifffile.logger().addHandler(handler)
    try:
        yield
    finally:
        tifffile.logger().removeHandler(handler)
    assert not said


def levels_of(file: Path) -> list[Array]:
    """Read all levels of an OME-TIFF as tifffile's series; each has the axes z, y, x."""
    with without_complaint(), tifffile.TiffFile(file) as tiff:
        assert tiff.is_ome
        (series,) = tiff.series
        depth = len(tiff.pages)
        assert (series.kind, series.axes) == ("ome", "ZYX" if depth > 1 else "YX")  # of a single plane it drops the Z
        return [level.asarray().reshape(depth, *level.keyframe.shape) for level in series.levels]


def pages_of(file: Path) -> list[list[tifffile.TiffPage]]:
    """List the pages of a TIFF, each with its lower levels behind it."""
    with without_complaint(), tifffile.TiffFile(file) as tiff:
        found = []
        for index in range(len(tiff.pages)):
            page = tiff.pages[index].aspage()
            below = page.pages if page.subifds else None
            found.append([page, *(below[i].aspage() for i in range(len(below)))] if below else [page])
        return found


def segments_of(file: Path) -> list[list[bytes]]:
    """Read the strips or tiles of every page as they are stored."""
    data = file.read_bytes()
    return [
        [data[at : at + n] for at, n in zip(levels[0].dataoffsets, levels[0].databytecounts, strict=True)]
        for levels in pages_of(file)
    ]


def stored_in(page: tifffile.TiffPage) -> tuple[Any, ...]:
    """Tell how a page is stored, but for the byte order."""
    rows = None if page.is_tiled else min(page.rowsperstrip, page.shape[0])
    compression = 8 if page.compression == tifffile.COMPRESSION.DEFLATE else int(page.compression)
    return compression, int(page.predictor), rows, page.tile if page.is_tiled else None


def same_bits(one: Array, two: Array) -> bool:
    """Tell whether two arrays are the same bit for bit, NaN payloads included."""
    one, two = (array.astype(array.dtype.newbyteorder("<")) for array in (one, two))
    return one.shape == two.shape and one.dtype == two.dtype and one.tobytes() == two.tobytes()


def halved(planes: Array, kind: Kind, n_levels: int) -> list[Array]:
    """Make lower levels, plane by plane: rows and columns are halved, planes never."""
    levels = [planes]
    while len(levels) < n_levels:
        levels.append(np.concatenate([downsample(plane[np.newaxis], (1, 2, 2), kind) for plane in levels[-1]]))
    return levels


def libtiff(*words: object) -> str:
    """Run a tool of libtiff, which must have nothing to say on stderr; returns what it printed."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, errors="replace", check=False)
    assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def decoded_by_libtiff(file: Path) -> Array:
    """Let libtiff decode a file, and read what it wrote: uncompressed, little-endian, the pages of level 0 only."""
    plain = file.with_name(f"{file.name}.decoded.tif")
    libtiff("tiffcp", "-c", "none", "-s", "-L", file, plain)
    with without_complaint(), tifffile.TiffFile(plain) as tiff:
        assert {(int(page.aspage().compression), tiff.byteorder) for page in tiff.pages} == {(1, "<")}
        read = np.stack([page.asarray() for page in tiff.pages])
    plain.unlink()
    return read


def write_with_tifffile(path: Path, planes: Sequence[Array] | Array, **how: Any) -> Path:
    """Write a plain stack in ways that `made_up.tiff_bytes` has not: Zstandard, tiles, floating point predictor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, byteorder=how.pop("byteorder", "<"), bigtiff=how.pop("bigtiff", False)) as writer:
        for plane in planes:
            writer.write(plane, photometric="minisblack", metadata=None, contiguous=False, **how)
    return path


Writer = Callable[[Path, Array], Path]
"""Writes planes as the pages of one file."""
