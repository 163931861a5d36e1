"""Feeds everything that reads a lab's files with damaged ones: nothing but a SourceError that names the file may come.

Invariant: a target takes any bytes, in bounded time and memory. As a script, for as long as wanted:

    python tests/fuzzing.py --seconds 600
    python tests/fuzzing.py --seconds 600 --target tiff --coverage    # guided by coverage, where atheris is installed
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import nibabel as nib
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from catnip2bids.catnip.atlas import read_atlas_table
from catnip2bids.catnip.counts import read_counts
from catnip2bids.catnip.log import read_log, template_uri
from catnip2bids.catnip.run_name import parse_run_name
from catnip2bids.errors import SourceError
from catnip2bids.volume import Copyable, Inspection, inspect_nifti, inspect_slices, inspect_stack
from made_up import read_all, smooth_plane
from mutilations import KINDS, WHOLE, good_bytes, mutilate

_MOST_SECONDS = 5.0
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Attributes
    ----------
    name
        The name of the file that holds the bytes; its ending decides how it is read.
    read
        Reads the file, and looks at all that it was told.
    good
        Good files to begin with.
    """

    name: str
    read: Callable[[Path], None]
    good: tuple[bytes, ...]

    def __call__(self, content: bytes, folder: Path) -> None:
        """Read these bytes; raises whatever is not allowed."""
        path = folder / self.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        begin = time.perf_counter()
        try:
            self.read(path)
        except SourceError as error:
            _check_message(str(error), path)
        assert time.perf_counter() - begin < _MOST_SECONDS, "takes too long"


def _check_message(message: str, path: Path) -> None:
    assert str(path) in message, f"does not name the file: {message}"
    assert "MemoryError" not in message, f"asked for too much memory: {message}"


def _read_volume(census: Inspection, path: Path) -> None:
    if census.volume is None:
        for problem in census.problems:
            _check_message(problem, path)
        raise SourceError("\n".join(census.problems))
    volume = census.volume
    if isinstance(volume, Copyable) and volume.encoding is not None:
        for plane in range(volume.shape[0]):
            assert sum(len(piece) for piece in volume.read_encoded(plane).data) > 0
    planes = read_all(volume)
    assert (planes.shape, planes.dtype) == (volume.shape, volume.dtype)


def _read_slice(path: Path) -> None:
    _read_volume(inspect_slices([path]), path)


def _read_log(path: Path) -> None:
    log = read_log(path)
    assert log.atlas_version is None or log.atlas_version[1:].isdecimal()
    for numbers in (log.downsampling, log.image_shape):
        assert numbers is None or min(numbers) > 0
    assert log.species
    assert log.is_whole_brain in (None, True, False)
    assert template_uri(log, log.atlas_version).startswith("https://")
    assert log.public_fields.keys() == log.fields.keys()


def _read_counts(path: Path) -> None:
    rows = read_counts(path)
    assert len({row.index for row in rows}) == len(rows) > 0
    assert all((row.cell_count is None) == (row.label_volume is None) for row in rows)


def _read_atlas_table(path: Path) -> None:
    table = read_atlas_table(path)
    assert table.merged_with(table) == table
    assert table.same_atlas_as(table)
    assert list(table.regions) == sorted(table.regions)


def _read_run_name(path: Path) -> None:
    name, *parents = path.read_bytes().decode("utf-8", "surrogateescape").split("/")
    found = parse_run_name(name, parents)
    assert found.acquired is None or found.date is not None
    assert found.subject_label is None or (found.subject_label.isascii() and found.subject_label.isalnum())


def _nifti(dtype: str, is_packed: bool) -> bytes:
    image = nib.Nifti1Image(np.stack([smooth_plane((6, 5), dtype)] * 3), np.eye(4))  # no types
    content = image.to_bytes()
    return gzip.compress(content) if is_packed else bytes(content)


def _tiffs(n_planes: int) -> tuple[bytes, ...]:
    planes = np.stack([smooth_plane((12, 20)) + 100 * z for z in range(n_planes)])
    return tuple(good_bytes(name, planes) for name in WHOLE)


_LOG = b"""Unique ID is 640_2026-05-02_09-12-33
========================= Image Info ===============================
640 Channel                   : /home/jane/My Lab/640/
Downsampling factor           : 6x7x5.5
Atlas label                   : C:\\CATNIP\\atlas_v2\\annotation.nii.gz
Atlas version                 : v2
Background noise init/slope   : 50/1.05
Image size                    : 104x193x90 (HxWxD)
======================== Flipping Images ===========================
"""
_COUNTS = b"""Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)
1,root,root,12,30000
4,Inferior_colliculus,IC,0,30
5,Zona_incerta,,-1,-1
"""
_ATLASES = (
    b"id,name,acronym,red,green,blue,structure_order,parent_id\r\n4,Inferior_colliculus,IC,255,152,255,75500,557\r\n",
    b"\xef\xbb\xbfID,name,acronym\n3,Subthalamic_nucleus\n5,Zona_incerta\n",
    b"index\tname\tabbreviation\tcolor\themi\n3\tA, b\tn/a\t#FF00aa\tL\n5\tC\tc\tn/a\tn/a\n",
)
_NAMES = (
    b"210810_45670_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11/_45925_LH_flox_20211029/KO",
    b"640_LH_2026-05-02_09-12-33",
)

TARGETS: dict[str, Target] = {
    "tiff": Target("stack.tif", lambda path: _read_volume(inspect_stack(path), path), _tiffs(2)),
    "slice": Target("Z0001.tif", _read_slice, _tiffs(1)),
    "nifti": Target("image.nii", lambda path: _read_volume(inspect_nifti(path), path), (_nifti("uint16", False),)),
    "nifti-gz": Target(
        "image.nii.gz", lambda path: _read_volume(inspect_nifti(path), path), (_nifti("float32", True),)
    ),
    "log": Target("run.log.txt", _read_log, (_LOG,)),
    "counts": Target("FRSTseg_00010000.csv", _read_counts, (_COUNTS,)),
    "atlas": Target("atlas_v2/atlas_info.txt", _read_atlas_table, _ATLASES),
    "run-name": Target("name", _read_run_name, _NAMES),
}

_PIECES = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\n", b"\r", b"\r\n", b"\t", b",", b":", b"/", b"\\", b"_", b"-", b" "),
    *(b"9" * 30, b"-1", b"1e9", b"\xc2\xb2", b"\xd9\xa3", b"\xe2\x80\xa8", b"nan", b"0x0x0", b"=====", b"v" * 5000),
    *(b"\xff" * 8, b"\0" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"),
)
_EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 24),
        st.one_of(st.sampled_from(_PIECES), st.binary(max_size=8)),
    ),
    max_size=6,
)


def _edited(content: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    """Let pieces of a file be replaced by others."""
    for where, n_replaced, piece in edits:
        at = int(where * len(content))
        content = content[:at] + piece + content[at + n_replaced :]
    return content


def contents(name: str) -> SearchStrategy[bytes]:
    """Return how damaged files of a target are made up."""
    good = st.sampled_from(TARGETS[name].good)
    made = [st.builds(_edited, good, _EDITS), st.binary(max_size=300)]
    if name in ("tiff", "slice"):
        chances = st.builds(Random, st.integers(0, 2**32))
        mutilated = st.builds(mutilate, st.sampled_from(sorted(KINDS)), good, chances)
        made += [mutilated, st.builds(_edited, mutilated, _EDITS)]
    if name == "nifti-gz":  # damage inside, which no checksum tells
        made.append(st.builds(_edited, st.just(gzip.decompress(TARGETS[name].good[0])), _EDITS).map(gzip.compress))
    return st.one_of(made)


def fuzz(name: str, folder: Path, n_examples: int, *, seed: int | None = None) -> None:
    """Try so many files on a target; the same ones each time, or by chance, if there is a seed.

    Raises
    ------
    Exception
        Whatever comes out of the target and is not allowed, with the smallest content that does it.
    """
    if seed is not None:
        random.seed(seed)

    @settings(
        max_examples=n_examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(contents(name))
    def try_one(content: bytes) -> None:
        TARGETS[name](content, folder)

    try_one()


def _fuzz_with_coverage(name: str, folder: Path, seconds: int) -> None:
    """Let atheris make up files: it looks for those that reach lines that none reached before; ends the program."""
    atheris: Any = importlib.import_module("atheris")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(TARGETS[name].good):
        (corpus / f"good-{number}").write_bytes(content)
    for module in list(sys.modules.values()):
        if module.__name__.startswith(("catnip2bids.volume", "catnip2bids.catnip", "tifffile", "nibabel.nifti")):
            for function in [item for item in vars(module).values() if callable(item) and hasattr(item, "__code__")]:
                atheris.instrument_func(function)
    words = [sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-max_len=6000", "-timeout=10"]
    atheris.Setup(words, lambda content: TARGETS[name](content, folder))
    atheris.Fuzz()


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--target", choices=TARGETS, action="append", help="what to feed; by default all by turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", action="store_true", help="let atheris make up the files of one target")
    given_ = parser.parse_args()
    names = given_.target or list(TARGETS)
    resource.setrlimit(resource.RLIMIT_DATA, (2 * _MOST_BYTES,) * 2)
    end, seed, counts = time.monotonic() + given_.seconds, given_.seed, dict.fromkeys(names, 0)
    with tempfile.TemporaryDirectory() as folder:
        if given_.coverage:
            _fuzz_with_coverage(names[0], Path(folder), given_.seconds)
        while time.monotonic() < end:
            for name in names:
                seed += 1
                fuzz(name, Path(folder), 500, seed=seed)
                counts[name] += 500
    sys.stdout.write("".join(f"{name}: {count} files, nothing found\n" for name, count in counts.items()))


if __name__ == "__main__":
    main()
