"""Units of work: one slab of planes, read once, from which everything is made that needs its pixels.

Invariant: a slab's planes are read and decoded exactly once, and what is hashed is what is written. Units are
small picklable descriptions and `convert_slab` is a plain function of one, so they run on any executor.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.volume import Kind, Volume, label_values, plane_sha256, value_range

_PLANES_A_TASK = 4


class ImageWriter(Protocol):
    """An image format that can be written slab by slab, in any order."""

    @property
    def kind(self) -> Kind:
        """What the values mean."""

    @property
    def slab_depth(self) -> int:
        """Planes that belong together; slabs start at multiples of it."""

    def create(self) -> None:
        """Prepare the image."""

    def write_slab(self, start: int, slab: npt.NDArray[Any]) -> None:
        """Write planes from `start` on."""

    def write_remaining_levels(self) -> None:
        """Write what no single slab decides."""


@dataclass(frozen=True)
class Slab:
    """The planes `start` to `stop` (exclusive) of a volume, to be written into an image."""

    volume: Volume
    image: ImageWriter
    start: int
    stop: int


@dataclass(frozen=True)
class SlabResult:
    """What was learned from a slab while its pixels were in memory.

    Attributes
    ----------
    sha256
        Hash of each plane.
    value_range
        Smallest and largest finite value, None where there is none.
    labels
        The values that occur in labels and masks; None for intensities.
    """

    sha256: tuple[str, ...]
    value_range: tuple[float, float] | None
    labels: frozenset[int] | None


def cut_into_slabs(volume: Volume, image: ImageWriter) -> Iterator[Slab]:
    """Cut a volume into the slabs of an image; together they cover each plane once."""
    n_planes, depth = volume.shape[0], image.slab_depth
    for start in range(0, n_planes, depth):
        yield Slab(volume, image, start, min(start + depth, n_planes))


def convert_slab(slab: Slab, n_threads: int) -> SlabResult:
    """Read, hash and write one slab.

    Raises
    ------
    SourceError
        If a plane cannot be read, or holds labels that cannot be trusted.
    """
    volume, kind = slab.volume, slab.image.kind
    pixels = np.empty((slab.stop - slab.start, *volume.shape[1:]), volume.dtype)

    def read_and_hash(first: int) -> list[str]:
        last = min(first + _PLANES_A_TASK, slab.stop)
        planes = pixels[first - slab.start : last - slab.start]
        volume.read_planes(first, last, planes)
        return [plane_sha256(plane) for plane in planes]

    with ThreadPoolExecutor(n_threads) as readers:
        hashes = [h for part in readers.map(read_and_hash, range(slab.start, slab.stop, _PLANES_A_TASK)) for h in part]
    result = SlabResult(
        sha256=tuple(hashes),
        value_range=value_range(pixels),
        labels=None if kind == Kind.IMAGE else label_values(pixels),
    )
    slab.image.write_slab(slab.start, pixels)
    return result
