"""Default colours of labels."""

from __future__ import annotations

import colorsys

_GOLDEN_RATIO = (5**0.5 - 1) / 2
_LIGHTNESSES = (0.42, 0.52, 0.62)
_SATURATIONS = (0.60, 0.75, 0.90)


def color_of_label(index: int) -> str:
    """Return the default colour ``#rrggbb`` of a label value, which is always the same.

    Hues advance by the golden ratio, so that neighbouring ids look different; the lightness suits black and white
    backgrounds.
    """
    hue = index * _GOLDEN_RATIO % 1
    lightness = _LIGHTNESSES[index % 3]
    saturation = _SATURATIONS[index // 3 % 3]
    return "#" + bytes(round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation)).hex()
