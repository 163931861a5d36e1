"""Neuroglancer's sharded format: chunks of bytes by their keys, in one file.

Invariant: the same chunks give the same bytes.

Neuroglancer's repository describes the format: src/datasource/precomputed/sharded.rst.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Document = dict[str, Any]

SHARD: Final = "0.shard"
"""Name of the only shard."""
_PRESHIFT_BITS = 9
"""Chunks whose keys differ only in these last bits share a minishard."""


@dataclass(frozen=True)
class ShardedChunks:
    """A chunk of bytes for each key."""

    keys: Array  # ascending
    n_bytes: Array  # of each chunk
    data: Iterable[bytes]  # the chunks, in the order of the keys
    n_bits: int = 0  # of the largest key, if keys are dense
    n_bytes_before: Array | None = None  # bytes at the beginning of each chunk that its index entry leaves out

    @property
    def _minishard_bits(self) -> int:
        return max(self.n_bits - _PRESHIFT_BITS, 0)

    @property
    def sharding(self) -> Document:
        """How the chunks are found in the shard, for the document ``info``."""
        return {
            "@type": "neuroglancer_uint64_sharded_v1",
            "preshift_bits": _PRESHIFT_BITS,
            "hash": "identity",
            "minishard_bits": self._minishard_bits,
            "shard_bits": 0,
            "minishard_index_encoding": "raw",
            "data_encoding": "raw",
        }

    def shard(self) -> bytes:
        """Return the content of the only shard."""
        bits = self._minishard_bits
        keys, n_bytes = self.keys.astype(np.uint64), self.n_bytes.astype(np.uint64)
        left_out = np.zeros_like(n_bytes) if self.n_bytes_before is None else self.n_bytes_before.astype(np.uint64)
        minishards = keys >> np.uint64(_PRESHIFT_BITS) if bits else np.zeros_like(keys)
        starts = np.cumsum(n_bytes) - n_bytes
        data = b"".join(self.data)
        places, tables, offset = np.zeros((1 << bits, 2), "<u8"), [], len(data)
        for number, (first, stop) in enumerate(pairwise(np.searchsorted(minishards, np.arange((1 << bits) + 1)))):
            table = np.zeros((3, stop - first), "<u8")
            if first < stop:
                table[0] = np.diff(keys[first:stop], prepend=np.uint64(0))
                # each offset is relative to the end of the previous chunk
                table[1] = left_out[first:stop]
                table[1, 0] += starts[first]
                table[2] = n_bytes[first:stop] - left_out[first:stop]
            places[number] = offset, offset + table.nbytes
            offset += table.nbytes
            tables.append(table.tobytes())
        return b"".join([places.tobytes(), data, *tables])
