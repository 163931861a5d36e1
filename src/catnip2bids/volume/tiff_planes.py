"""What slice folders and TIFF stacks have in common: planes that are TIFF pages of one kind.

Invariant: what is said here of all planes holds for each of them, as the census saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from catnip2bids.volume.encoding import Encoding
from catnip2bids.volume.tiff import PageLayout, bytes_of_a_strip, bytes_to_decode


@dataclass(frozen=True)
class TiffPlanes:
    """Planes of one volume, whatever files they are in.

    Attributes
    ----------
    layout
        What each of them is.
    """

    layout: PageLayout

    @property
    def reads_rows(self) -> bool:
        """Whether rows of all planes can be read without decoding whole planes."""
        return self.layout.reads_rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in native byte order."""
        return self.layout.dtype

    @property
    def encoding(self) -> Encoding | None:
        """How all planes are stored; None where they do not agree, or cannot be put into another file as they are."""
        return self.layout.encoding

    @property
    def unpacked_bytes(self) -> int:
        """Nothing: each plane is read by itself."""
        return 0

    @property
    def kept_bytes(self) -> int:
        """Memory that an open plane takes between two readings: a strip."""
        return bytes_of_a_strip(self.layout)

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding a plane takes; none where rows can be read."""
        return 0 if self.reads_rows else bytes_to_decode(self.layout)
