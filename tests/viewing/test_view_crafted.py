"""Images and datasets from strangers: what they promise takes no memory and no time, and nothing else is served."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

from catnip2bids import view
from catnip2bids.errors import SourceError
from catnip2bids.viewing.scene import scenes_of
from catnip2bids.viewing.zarr_image import _middle
from made_up import some_image
from runs import Array, Collector
from viewed import CELL_LAYERS, RAW, ask, cohort, dataset, layers, own_dataset, state

__all__ = ["cohort", "dataset", "own_dataset"]

AXES = [{"name": name, "type": "space"} for name in "zyx"]
VALUES = some_image((4, 20, 30), "uint8")
LARGE = 2**31


def write_image(image: Path, array: Array = VALUES, *, version: int = 3, **options: Any) -> Path:
    """Write an image with one level and without a window, so that some of its values are read."""
    group = zarr.create_group(image, zarr_format=3 if version == 3 else 2)
    group.create_array("0", data=array, chunks=array.shape, **options)
    multiscale = {"axes": AXES[-array.ndim :], "datasets": [{"path": "0"}]}
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    group.attrs.update({"ome": attributes} if version == 3 else attributes)
    return image


def change(document: Path, **changes: Any) -> None:
    document.write_text(json.dumps(json.loads(document.read_text()) | changes))


def change_ome(image: Path, **changes: Any) -> None:
    ome = json.loads((image / "zarr.json").read_text())["attributes"]["ome"]
    change(image / "zarr.json", attributes={"ome": ome | changes})


def with_datasets(*paths: str) -> Callable[[Path], None]:
    datasets = [{"path": path} for path in paths]
    return lambda image: change_ome(image, multiscales=[{"axes": AXES, "datasets": datasets}])


def chunks_of(*shape: int, **changes: Any) -> Callable[[Path], None]:
    grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
    return lambda image: change(image / "0/zarr.json", chunk_grid=grid, **changes)


def with_shards(image: Path) -> None:
    """Promise shards of 2**30 chunks of one voxel."""
    to_bytes = {"name": "bytes"}
    index = [{"name": "bytes", "configuration": {"endian": "little"}}]
    options = {"chunk_shape": [1, 1, 1], "codecs": [to_bytes], "index_codecs": index}
    chunks_of(1024, 1024, 1024, codecs=[{"name": "sharding_indexed", "configuration": options}])(image)


def with_channels(image: Path) -> None:
    change(image / "0/zarr.json", shape=[200_000, 20, 30])
    axes = [{"name": "c", "type": "channel"}, *AXES[1:]]
    change_ome(image, multiscales=[{"axes": axes, "datasets": [{"path": "0"}]}])


def with_many_labels(image: Path) -> None:
    zarr.create_group(image / "labels").attrs["ome"] = {"labels": [str(number) for number in range(101)]}


def nested(image: Path) -> None:
    (image / "0/zarr.json").write_text('{"a":' * 200_000)


def too_large(image: Path) -> None:
    os.truncate(image / "0/zarr.json", LARGE)


def pipe_as(name: str) -> Callable[[Path], None]:
    def put(image: Path) -> None:
        (image / name).unlink()
        os.mkfifo(image / name)

    return put


def link_as(name: str) -> Callable[[Path], None]:
    def put(image: Path) -> None:
        (image / name).rename(image.parent / "moved")
        (image / name).symlink_to(image.parent / "moved")

    return put


CRAFTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "channels": (with_channels, "200,000 channels"),
    "levels": (with_datasets(*["0"] * 65), "has 65 levels"),
    "label images": (with_many_labels, "at most 100 items"),
    "a level elsewhere": (with_datasets("../other/0"), "lies outside of it"),
    "a level with an absolute path": (with_datasets("/0"), "lies outside of it"),
    "chunks": (chunks_of(4, 2**15, 2**14), "chunks of 2.0 GiB"),
    "an index of shards": (with_shards, "an index of 16.0 GiB a shard"),
    "a nested document": (nested, "nested too deeply"),
    "a large document": (too_large, "has 2.0 GiB"),
    "a pipe as group": (pipe_as("zarr.json"), "has no metadata"),
    "a pipe as array": (pipe_as("0/zarr.json"), "no zarr.json or .zarray inside"),
    "a pipe as chunk": (pipe_as("0/c/0/0/0"), "is a link out of the image, or not a file"),
    "a link as group": (link_as("zarr.json"), "is a link out of the image"),
    "a link as array": (link_as("0/zarr.json"), "no zarr.json or .zarray inside"),
    "a link as level": (link_as("0"), "no zarr.json or .zarray inside"),
    "a link as chunk": (link_as("0/c/0/0/0"), "is a link out of the image"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_what_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    craft, words = CRAFTED[name]
    image = write_image(tmp_path / "crafted.zarr")
    view(image).close()
    craft(image)
    with pytest.raises(SourceError, match=words) as refused:
        view(image)
    assert "crafted.zarr" in str(refused.value)


def test_a_pipe_for_metadata_of_version_04(tmp_path: Path) -> None:
    image = write_image(tmp_path / "crafted.zarr", version=2)
    view(image).close()
    pipe_as(".zattrs")(image)
    with pytest.raises(SourceError, match="not a file"):
        view(image)
    os.mkfifo(tmp_path / "pipe.ome.tif")
    with pytest.raises(SourceError, match="named pipe"):
        view(tmp_path / "pipe.ome.tif")


def bomb(codec: str) -> bytes:
    """Compress 128 MiB of zeros."""
    encoders = {"zstd": imagecodecs.zstd_encode, "gzip": imagecodecs.gzip_encode, "blosc": imagecodecs.blosc_encode}
    return bytes(encoders[codec](bytes(2**27)))


CODECS = {
    "zstd": {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
    "gzip": {"name": "gzip", "configuration": {"level": 5}},
    "blosc": {
        "name": "blosc",
        "configuration": {"cname": "zstd", "clevel": 5, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0},
    },
}
PEAK = """
import resource, sys
from pathlib import Path
from catnip2bids import view
from catnip2bids.errors import SourceError
from catnip2bids.viewing.scene import scenes_of
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
good, *bombs = map(Path, sys.argv[1:])
view(good).close()
before = peak()
for image in bombs:
    try:
        view(image).close()
    except SourceError as error:
        print(error, file=sys.stderr)
print((peak() - before) * 1024)
"""


@pytest.mark.slow
def test_chunks_that_are_decoded_to_more_than_they_promise(tmp_path: Path) -> None:
    images = [write_image(tmp_path / "good.zarr")]
    for codec, described in CODECS.items():
        images.append(write_image(tmp_path / f"{codec}.zarr"))
        change(images[-1] / "0/zarr.json", codecs=[{"name": "bytes"}, described])
        (images[-1] / "0/c/0/0/0").write_bytes(bomb(codec))
    images.append(write_image(tmp_path / "blosc2.zarr", version=2))
    (chunk,) = (images[-1] / "0").glob("0*0")
    chunk.write_bytes(bomb("blosc"))
    images.append(write_image(tmp_path / "sparse.zarr"))
    os.truncate(images[-1] / "0/c/0/0/0", LARGE)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, images)], capture_output=True, text=True, timeout=60, check=True
    )
    refused = [line for line in done.stderr.splitlines() if line]
    assert [Path(line.split(": ")[0].partition(".zarr")[0]).name for line in refused] == [*CODECS, "blosc2"]
    assert int(done.stdout) < 2**26


def test_a_blosc_frame_is_not_decoded_to_more_than_a_chunk(tmp_path: Path) -> None:
    image = write_image(tmp_path / "crafted.zarr", version=2)
    (chunk,) = (image / "0").glob("0*0")
    chunk.write_bytes(bytes(imagecodecs.blosc_encode(bytes(VALUES.nbytes + 1))))
    with pytest.raises(SourceError, match="a chunk in 0/"):
        view(image)


def test_few_of_many_small_chunks_are_read(tmp_path: Path) -> None:
    values = np.zeros((1, 3000, 3000), "uint16")
    values[0, 1490:1510, 1490:1510] = 7
    image = write_image(tmp_path / "small.zarr", values[:, :4, :4])
    array = json.loads((image / "0/zarr.json").read_text())
    array["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1, 1]
    array["shape"] = [10**5, 1000, 1000]
    array["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    (image / "0/zarr.json").write_text(json.dumps(array))
    middle = image / "0/c/50000/500/500"
    middle.parent.mkdir(parents=True)
    middle.write_bytes(struct.pack("<H", 7))
    with view(image) as viewing:
        (layer,) = state(viewing)["layers"]
    assert layer["shaderControls"]["normalized"]["window"] == [0, 7]


def test_links_out_of_a_dataset_are_named_and_not_shown(own_dataset: Path, tmp_path: Path) -> None:
    collector = Collector()
    image, table = own_dataset / f"{RAW}.ome.zarr", own_dataset / "derivatives/catnip/dseg.tsv"
    for path, name in ((image, "image"), (table, "table")):
        path.rename(tmp_path / name)
        path.symlink_to(tmp_path / name)
    with view(own_dataset, progress=collector) as viewing:
        assert list(layers(viewing)) == [
            "cell filter (FRST)",
            "hemisphere mask",
            "cells, threshold 10000",
            "cells, threshold 15000",
            *CELL_LAYERS,
        ]
        assert ask(viewing, "images/0/zarr.json").status == 200
    said = "\n".join(collector.warnings)
    assert f"{image}: is a link out of the dataset" in said
    assert f"{table}: is a link out of {own_dataset}" in said


PHYSICAL = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}


def write_tiff(path: Path, **options: Any) -> Path:
    tifffile.imwrite(path, VALUES, ome=True, metadata=PHYSICAL, bigtiff=True, **options)
    return path


def overwrite_count(path: Path, tag: str, n_values: int, values: bytes = b"") -> None:
    """Let a tag have very many values, at the end of the file; those that are not given are zeros."""
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.tags[tag].offset
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        file.write(values)
        file.truncate(end + max(n_values, len(values)))
        file.seek(offset + 4)
        file.write(struct.pack("<QQ", n_values, end))


def test_ome_xml_of_1_gib_is_not_read(tmp_path: Path) -> None:
    image = write_tiff(tmp_path / "crafted.ome.tif")
    overwrite_count(image, "ImageDescription", 2**30)
    with pytest.raises(SourceError, match="tag 270 has 1,073,741,824 values"):
        view(image)


def test_subifds_without_end_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "crafted.ome.tif"
    with tifffile.TiffWriter(image, bigtiff=True, ome=True) as tiff:
        tiff.write(VALUES[:1], metadata=PHYSICAL, subifds=2)
        tiff.write(VALUES[0, ::2, ::2], subfiletype=1)
        tiff.write(VALUES[0, ::4, ::4], subfiletype=1)
    view(image).close()
    with tifffile.TiffFile(image) as opened:
        (level, *_) = opened.pages.first.aspage().subifds or ()
    overwrite_count(image, "SubIFDs", 10**5, struct.pack("<Q", level) * 10**5)
    with pytest.raises(SourceError, match="has 100,000 SubIFDs"):
        view(image)


def test_a_strip_of_600_mib_is_not_read(tmp_path: Path) -> None:
    image = tmp_path / "large.ome.tif"
    shape = (1, 30_000, 20_000)
    tifffile.imwrite(image, shape=shape, dtype="uint8", ome=True, metadata=PHYSICAL, rowsperstrip=shape[1])
    with pytest.raises(SourceError, match="take 572 MiB"):
        view(image).url  # noqa: B018


def test_a_foreign_file_is_named_and_the_dataset_shown(own_dataset: Path) -> None:
    os.mkfifo(own_dataset / "pipe")
    warnings: list[str] = []
    assert scenes_of(own_dataset, warnings.append)
    assert warnings == [f"{own_dataset}/pipe: is a named pipe or a device, not a file; remove it"]


@pytest.mark.parametrize(
    ("n_voxels", "length", "n_chunks", "middle"),
    [
        (9, 10, 1, slice(0, 9)),
        (100, 10, 1, slice(40, 50)),
        (100, 10, 2, slice(40, 60)),
        (5000, 4, 512, slice(1988, 3012)),
    ],
)
def test_no_more_chunks_are_looked_at_than_are_wanted(n_voxels: int, length: int, n_chunks: int, middle: slice) -> None:
    assert _middle(n_voxels, length, n_chunks) == middle
