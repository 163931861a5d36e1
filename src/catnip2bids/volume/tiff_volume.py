"""The common part of slice folders and TIFF stacks: planes that are TIFF pages of one layout.

Invariant: the layout of the volume was that of each plane when it was inspected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from catnip2bids.volume.tiff_encoding import Encoding
from catnip2bids.volume.tiff_page import PageLayout, bytes_of_a_strip, bytes_to_decode
from catnip2bids.volume.volume import ReadCost


@dataclass(frozen=True)
class TiffPlanes:
    """Planes of one volume, in one TIFF file or several."""

    layout: PageLayout

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return self.layout.dtype

    @property
    def encoding(self) -> Encoding | None:
        """The encoding of all planes; None if they differ, or cannot be copied into another file."""
        return self.layout.encoding

    @property
    def read_cost(self) -> ReadCost:
        """Memory of a strip for each open plane; that of decoding a plane where rows cannot be read."""
        by_rows = self.layout.reads_rows
        decoding_bytes = 0 if by_rows else bytes_to_decode(self.layout)
        return ReadCost(by_rows, open_bytes=bytes_of_a_strip(self.layout), decoding_bytes=decoding_bytes)
