"""Surfaces of regions: made from a small level of a label image, in Neuroglancer's format of meshes.

Invariant: memory and time do not grow with the image: only a level of at most `_MOST_VOXELS` is read, and one with too
many borders between labels is refused. The same level gives the same bytes.

Neuroglancer's repository describes the format (src/datasource/precomputed/mesh.rst, "Multi-resolution mesh format"),
and Draco's the encoding of each mesh (docs/spec). All meshes are in one shard: the older format, which needs no Draco,
has two files for each region, with colons in their names, which not every file system allows.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Final

import numpy as np

from catnip2bids.errors import SourceError
from catnip2bids.viewing.shards import SHARD, Array, ShardedChunks
from catnip2bids.viewing.zarr_image import ZarrImage

INFO: Final = "info"
_MOST_VOXELS = 2**21
_MOST_READ = 2**24
"""The smallest level is read if it has at most this many voxels; if more than `_MOST_VOXELS`, it is subsampled."""
_MOST_BORDERS = 2**21
"""Pairs of neighbouring voxels with different labels. An atlas of 560 regions has 0.6 million of them."""
_QUANTIZATION_BITS = 10
"""Of the places of vertices in the box around a surface; the format allows 10 or 16."""
_UNSIMPLIFIED = -1.0
"""As largest error of the mesh generator: simplifying takes 50 times as long, and moves surfaces by half a voxel."""
_IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]
_MANIFEST = struct.Struct("<3f3fIf3fI3II")


def has_surfaces(image: ZarrImage) -> bool:
    """Tell whether surfaces can be made from an image of labels: whether it has a small level of whole numbers."""
    return image.dtype.kind in "iu" and image.small_level(_MOST_VOXELS, _MOST_READ) is not None


def surface_files(image: ZarrImage) -> Mapping[str, bytes]:
    """Return the files of the surfaces by their names.

    Raises SourceError if the image cannot be read, or its labels are noise.
    """
    meshes = dict(_meshes(image))
    keys = np.array(sorted(meshes), np.uint64)
    parts = [meshes[int(key)] for key in keys]
    chunks = ShardedChunks(
        keys,
        np.array([len(mesh) + _MANIFEST.size for mesh, _ in parts]),
        (mesh + manifest for mesh, manifest in parts),
        n_bytes_before=np.array([len(mesh) for mesh, _ in parts]),
    )
    return {INFO: surfaces_info(), SHARD: chunks.shard()}


def surfaces_info() -> bytes:
    """Return the description of surfaces, which is the same for all images."""
    nothing = np.zeros(0, np.uint64)
    info = {
        "@type": "neuroglancer_multilod_draco",
        "vertex_quantization_bits": _QUANTIZATION_BITS,
        "transform": _IDENTITY,
        "lod_scale_multiplier": 1.0,
        "sharding": ShardedChunks(nothing, nothing, ()).sharding,
    }
    return json.dumps(info).encode()


def _meshes(image: ZarrImage) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """Yield the mesh of each label and its manifest, by the label as uint64."""
    # late: it takes a second, and most people look at no surface
    from neuroglancer._neuroglancer import OnDemandObjectMeshGenerator

    number = image.small_level(_MOST_VOXELS, _MOST_READ)
    if number is None:
        return
    labels, axes = image.read_level(number)
    step = next(n for n in count(1) if math.prod(-(-size // n) for size in labels.shape) <= _MOST_VOXELS)
    labels = labels[(slice(step // 2, None, step),) * 3]
    # surfaces end where the image ends; labels below 0 wrap around, as in the client
    padded = np.pad(labels if labels.dtype.kind == "u" else labels.astype(np.int64).view(np.uint64), 1)
    _refuse_noise(image, padded)
    steps_nm = np.array([axis.step for axis in reversed(axes)]) * 1e9 * step  # x, y, z
    first = (np.array([axis.first for axis in reversed(axes)]) + step // 2) / step - 1
    generator = OnDemandObjectMeshGenerator(padded, steps_nm, first, max_quadrics_error=_UNSIMPLIFIED)
    for label in np.unique(padded):
        if label and (mesh := generator.get_mesh(int(label))):
            yield int(label), _encoded(mesh)


def _refuse_noise(image: ZarrImage, labels: Array) -> None:
    """Refuse labels that differ between too many neighbours: surfaces of noise take any amount of memory."""
    borders = (labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1])
    n_borders = sum(map(np.count_nonzero, borders))
    if n_borders > _MOST_BORDERS:
        raise SourceError(
            f"{image.path}: its labels have {n_borders:,} borders between voxels, and surfaces are made of at most "
            f"{_MOST_BORDERS:,}; look at the sections"
        )


def _encoded(mesh: bytes) -> tuple[bytes, bytes]:
    """Encode a mesh of the older format (number of vertices, their x, y, z, triangles); return it and its manifest."""
    (n_vertices,) = np.frombuffer(mesh, "<u4", 1)
    vertices = np.frombuffer(mesh, "<f4", 3 * n_vertices, 4).reshape(-1, 3)
    triangles = np.frombuffer(mesh, "<u4", offset=4 + vertices.nbytes).reshape(-1, 3)
    low = vertices.min(axis=0)
    extent = np.maximum(vertices.max(axis=0) - low, 1)
    places = np.rint((vertices - low) / extent * (2**_QUANTIZATION_BITS - 1)).astype(np.uint32)
    encoded = _draco(places, triangles)
    # one level of detail, of one fragment, which is the box around the surface
    return encoded, _MANIFEST.pack(*extent, *low, 1, 1.0, 0, 0, 0, 1, 0, 0, 0, len(encoded))


def _draco(places: Array, triangles: Array) -> bytes:
    """Encode vertices (n, 3), whole numbers below 2**15, and triangles (m, 3) with Draco, without compression.

    This is version 2.2 of the bitstream: sequential connectivity with uncompressed indices, and one attribute of
    integers without prediction.
    """
    header = b"DRACO" + bytes([2, 2, 1, 0, 0, 0])  # version, mesh, sequential, flags
    indices = triangles.astype("u1" if len(places) < 2**8 else "<u2")
    if len(places) >= 2**16:  # numbers of variable length, here of three bytes of 7 bits
        indices = np.stack([triangles & 127 | 128, triangles >> 7 & 127 | 128, triangles >> 14], axis=-1).astype("u1")
    # one decoder of one attribute: position, int32, 3 components, not normalized, id 0; decoded as integers
    attribute = bytes([1, 1, 0, 5, 3, 0, 0, 1])
    values = bytes([0xFE, 0, 2]) + (2 * places).astype("<u2").tobytes()  # no prediction, raw, 2 bytes; the sign is last
    connectivity = _varint(len(triangles)) + _varint(len(places)) + b"\1" + indices.tobytes()
    return header + connectivity + attribute + values


def _varint(number: int) -> bytes:
    """Write a number in groups of 7 bits, the last ones first."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + _varint(number >> 7)
