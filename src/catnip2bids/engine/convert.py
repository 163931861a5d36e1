"""From a volume to an image: all units, then what is left, in bounded memory.

Invariant: at most two blocks of pixels and the unfinished shards of lower levels are held; the result lists the hash
of every plane in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catnip2bids.engine.units import ImageWriter, Resources, convert_unit, cut_into_units
from catnip2bids.volume import Volume


@dataclass(frozen=True)
class Conversion:
    """What was learned about a volume while it was converted.

    Attributes
    ----------
    sha256
        Hash of each plane, in order.
    value_range
        Smallest and largest finite value of the image; (0, 0) where there is none.
    labels
        The values that occur in labels and masks, 0 included; None for intensities.
    """

    sha256: tuple[str, ...]
    value_range: tuple[float, float]
    labels: frozenset[int] | None


def convert_volume(
    volume: Volume, image: ImageWriter, resources: Resources, on_planes_done: Callable[[int], None]
) -> Conversion:
    """Write a volume into an image, unit by unit.

    Parameters
    ----------
    volume
        Where the pixels come from.
    image
        The image under construction.
    resources
        What may be used.
    on_planes_done
        Told the number of planes after each unit.
    """
    image.create()
    results = []
    for unit in cut_into_units(volume, image):
        results.append(convert_unit(unit, resources))
        on_planes_done(unit.stop - unit.start)
    image.write_remaining_levels()
    ranges = [result.value_range for result in results if result.value_range is not None]
    found = [result.labels for result in results if result.labels is not None]
    return Conversion(
        sha256=tuple(h for result in results for h in result.sha256),
        value_range=(min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else (0.0, 0.0),
        labels=frozenset().union(*found) if found else None,
    )
