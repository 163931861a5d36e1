"""Datasets that promise more than they hold, and the memory of the programs that read them.

Invariant: each bomb is made of a real dataset, and is small on disk.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from fork_server import LEAVE_OUT_DANDI, LEAVE_OUT_PLOTS, forked

MIB = 2**20
Bomb = Callable[[Path, str], object]
"""Changes a dataset, of which it is told the OME-Zarr of a raw image."""


@dataclass(frozen=True)
class Run:
    """A program that ended.

    Attributes
    ----------
    exit_code, said
        How, and what it printed.
    peak_bytes
        The most memory that it held, and with that the most that one of the programs held that it started.
    """

    exit_code: int
    said: str
    peak_bytes: int


def run_watched(*arguments: str | Path, log: Path, with_others: bool = False) -> Run:
    """Run the command line and watch its memory; a program that takes too long is killed, and is an error.

    What it prints goes to `log`, beside which a file of the same name holds the memory. Dandi runs and plots are drawn
    only `with_others`, since these programs take longest.
    """
    used = log.with_suffix(".memory")
    for file in (log, used):
        file.unlink(missing_ok=True)
    exit_code = forked(_command, list(map(str, arguments)), log, used, with_others)
    said = log.read_text(encoding="utf-8")
    assert used.exists(), (arguments, exit_code, said)
    return Run(exit_code, said, int(used.read_text(encoding="ascii")))


def _command(arguments: list[str], log: Path, used: Path, with_others: bool) -> None:
    """Be the program, and write down how much memory it took."""
    from catnip2bids.__main__ import main

    if not with_others:
        exec(LEAVE_OUT_DANDI + LEAVE_OUT_PLOTS)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["catnip2bids", *arguments]
    try:
        main()
    finally:
        kib = sum(resource.getrusage(whose).ru_maxrss for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        used.write_text(str(kib * 2**10), encoding="ascii")


def _zarr(image: Path, **changes: Any) -> None:
    """Change the metadata of level 0."""
    document = json.loads((image / "0/zarr.json").read_bytes())
    document.update(changes)
    (image / "0/zarr.json").write_text(json.dumps(document))


def _unsharded(image: Path, shape: list[int], chunk: list[int], codec: dict[str, Any]) -> Path:
    """Make level 0 an array without shards; returns the file of its first chunk."""
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
    _zarr(image, shape=shape, chunk_grid=grid, codecs=[little, codec])
    return image / "0/c/0/0/0"


_SHUFFLED = {"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "typesize": 2, "blocksize": 0}
BLOSC = {"name": "blosc", "configuration": _SHUFFLED}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}


def _shape(image: Path) -> list[int]:
    return list(json.loads((image / "0/zarr.json").read_bytes())["shape"])


@cache
def _zeros(codec: str, n_bytes: int = 2**30) -> bytes:
    zeros = bytes(n_bytes)
    if codec == "blosc":
        return bytes(imagecodecs.blosc_encode(zeros, level=1, compressor="zstd", typesize=1))
    return bytes(imagecodecs.zstd_encode(zeros, level=1))


def large_chunk(codec: dict[str, Any]) -> Bomb:
    """Promise a chunk of 2 GiB."""

    def bomb(dataset: Path, raw: str) -> None:
        image = dataset / raw
        _unsharded(image, _shape(image), [1024, 1024, 1024], codec).write_bytes(_zeros(codec["name"], 2**31 - 2**20))

    return bomb


def long_frame(codec: dict[str, Any]) -> Bomb:
    """Put a frame of 1 GiB into a chunk that promises 34 KiB."""

    def bomb(dataset: Path, raw: str) -> None:
        image = dataset / raw
        _unsharded(image, _shape(image), _shape(image), codec).write_bytes(_zeros(codec["name"]))

    return bomb


def shape_of(*shape: int, chunk: tuple[int, int, int] = (64, 64, 64)) -> Bomb:
    """Promise a large array of which hardly anything is stored, in provenance too."""

    def bomb(dataset: Path, raw: str) -> None:
        _unsharded(dataset / raw, list(shape), list(chunk), BLOSC).unlink()
        path = dataset / "code/catnip2bids/provenance.json"
        document = json.loads(path.read_bytes())
        for run in document["runs"].values():
            run["images"][raw]["shape"] = shape
        path.write_text(json.dumps(document))

    return bomb


def large_index(dataset: Path, raw: str) -> None:
    """Promise a shard with an index of 4 GiB, in a file that is as large and holds nothing."""
    image = dataset / raw
    document = json.loads((image / "0/zarr.json").read_bytes())
    document["codecs"][0]["configuration"]["chunk_shape"] = [1, 1, 1]
    grid = {"name": "regular", "configuration": {"chunk_shape": [64, 2048, 2048]}}
    _zarr(image, codecs=document["codecs"], chunk_grid=grid)
    os.truncate(image / "0/c/0/0/0", 5 * 2**30)


def sparse_shard(dataset: Path, raw: str) -> None:
    """Make a shard a file of 4 GiB, of which the index says that it is one chunk."""
    shard = dataset / raw / "0/c/0/0/0"
    os.truncate(shard, 4 * 2**30)
    with shard.open("r+b") as file:
        file.seek(-20, 2)
        file.write(struct.pack("<QQI", 0, 4 * 2**30 - 20, 0))


def _document(dataset: Path, path: str, raw: str) -> Path:
    return dataset / path.replace("RAW", raw).replace("NAME", Path(raw).name)


def sparse(path: str) -> Bomb:
    """Make a document of the dataset a file of 2 GiB."""

    def bomb(dataset: Path, raw: str) -> None:
        os.truncate(_document(dataset, path, raw), 2 * 2**30)

    return bomb


def nested(path: str) -> Bomb:
    """Make a document a list of empty lists, which Python holds in twenty times as much memory."""

    def bomb(dataset: Path, raw: str) -> None:
        (dataset / path.replace("RAW", raw).replace("NAME", Path(raw).name)).write_bytes(
            b'{"a":[' + b"[]," * (5 * MIB) + b"0]}"
        )

    return bomb


def many_levels(dataset: Path, raw: str) -> None:
    """Describe 100,000 levels."""
    path = dataset / raw / "zarr.json"
    document = json.loads(path.read_bytes())
    image = document["attributes"]["ome"]["multiscales"][0]
    image["datasets"] = image["datasets"][:1] * 100_000
    path.write_text(json.dumps(document))


def blosc_in_gzip(dataset: Path, raw: str) -> None:
    """Compress a Blosc frame of 1 GiB once more."""
    image = dataset / raw
    chunk = _unsharded(image, _shape(image), _shape(image), BLOSC)
    document = json.loads((image / "0/zarr.json").read_bytes())
    gzip_codec = {"name": "gzip", "configuration": {"level": 1}}
    _zarr(image, codecs=[*document["codecs"], gzip_codec])
    chunk.write_bytes(gzip.compress(_zeros("blosc")))


def compressed_shard(dataset: Path, raw: str) -> None:
    """Compress a shard of 1 GiB once more."""
    image = dataset / raw
    document = json.loads((image / "0/zarr.json").read_bytes())
    _zarr(image, codecs=[*document["codecs"], ZSTD])
    (image / "0/c/0/0/0").write_bytes(_zeros("zstd"))


def large_voxels(dataset: Path, raw: str) -> None:
    """Promise voxels of 800 MB."""
    folder = dataset / raw / "0"
    (folder / "zarr.json").unlink()
    metadata = {"zarr_format": 2, "shape": [12, 40, 36], "chunks": [12, 40, 36], "dtype": [["a", "<u2", [4 * 10**8]]]}
    metadata |= {"fill_value": None, "order": "C", "filters": None, "compressor": None}
    (folder / ".zarray").write_text(json.dumps(metadata))


def many_lines(path: str) -> Bomb:
    """Add four million lines to a table, which Python holds in more than a hundred times as much memory."""

    def bomb(dataset: Path, raw: str) -> None:
        with _document(dataset, path, raw).open("ab") as file:
            file.write(b"a\n" * (4 * MIB))

    return bomb


BOMBS: dict[str, Bomb] = {
    "a chunk of 2 GiB": large_chunk(BLOSC),
    "a chunk of 2 GiB, by another codec": large_chunk(ZSTD),
    "a frame of 1 GiB": long_frame(BLOSC),
    "a frame of 1 GiB, by another codec": long_frame(ZSTD),
    "a frame of 1 GiB in another codec": blosc_in_gzip,
    "a shard of 1 GiB in another codec": compressed_shard,
    "voxels of 800 MB": large_voxels,
    "wide planes": shape_of(12, 100_000, 100_000),
    "wide planes in one-voxel chunks": shape_of(12, 100_000, 100_000, chunk=(1, 1, 1)),
    "10^9 planes": shape_of(10**9, 40, 36),
    "10^6 planes": shape_of(10**6, 40, 36, chunk=(64, 40, 36)),
    "10^12 chunks": shape_of(10**4, 10**4, 10**4, chunk=(1, 1, 1)),
    "an index of 4 GiB": large_index,
    "a shard of 4 GiB": sparse_shard,
    "100,000 levels": many_levels,
    "metadata of 2 GiB": sparse("RAW/zarr.json"),
    "metadata of an array of 2 GiB": sparse("RAW/0/zarr.json"),
    "provenance of 2 GiB": sparse("code/catnip2bids/provenance.json"),
    "a table of 2 GiB": sparse("participants.tsv"),
    "plane hashes of 2 GiB": sparse("code/catnip2bids/pixels/NAME.tsv"),
    "a sidecar of 2 GiB": sparse("dataset_description.json"),
    "a table of many lines": many_lines("participants.tsv"),
    "plane hashes of many lines": many_lines("code/catnip2bids/pixels/NAME.tsv"),
    "metadata of many lists": nested("RAW/zarr.json"),
    "provenance of many lists": nested("code/catnip2bids/provenance.json"),
}


def _tiff(path: Path, segment: bytes, tags: dict[int, int]) -> None:
    """Write a page of 64 x 64 pixels, of one strip or tile."""
    offsets, counts = (324, 325) if 322 in tags else (273, 279)
    tags = {256: 64, 257: 64, 258: 8, 262: 1, 277: 1, 339: 1, counts: len(segment), **tags}
    tags[offsets] = 8 + 2 + 12 * (len(tags) + 1) + 4
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + segment)


def _large_tile(path: Path) -> None:
    segment = bytes(imagecodecs.zstd_encode(bytes(32_768**2), level=1))
    _tiff(path, segment, {259: 50000, 322: 32_768, 323: 32_768})


def _large_lerc(path: Path) -> None:
    one = bytes(imagecodecs.lerc_encode(np.zeros((4096, 4096), "uint8")))
    _tiff(path, one * 64, {256: 4096, 257: 4096, 259: 34887, 278: 4096})


def _large_jpeg2000(path: Path) -> None:
    image = bytes(imagecodecs.jpeg2k_encode(np.zeros((8192, 8192), "uint8"), codecformat="jp2"))
    at = image.index(b"jp2c") - 4
    size = b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 0, 0, 64, 64, 0, 0)
    box = struct.pack(">I", 8 + 16 + len(size)) + b"uuid" + bytes(16) + size
    _tiff(path, image[:at] + box + image[at:], {259: 34712, 278: 64})


TIFF_BOMBS: dict[str, Callable[[Path], None]] = {
    "a tile of 1 GiB": _large_tile,
    "LERC of 1 GiB": _large_lerc,
    "JPEG 2000 of 64 MiB": _large_jpeg2000,
}
