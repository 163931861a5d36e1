"""The benchmark's own programs, on slices so small that they say nothing about speed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
import tifffile

from fork_server import CATNIP2BIDS, SCRIPT, start
from made_up import Array
from runs import files_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZE = "12x256x320"


def run(script: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return start(SCRIPT, script, *words).finished(300)


class _Forked:
    """A measured program of Python, used like `subprocess.Popen`, but forked: it need not import all libraries."""

    def __init__(self, words: list[str], out: IO[str], err: IO[str]) -> None:
        self._streams = out, err
        script = SCRIPT
        if words[:2] == ["-m", "catnip2bids"]:
            script, words = CATNIP2BIDS, words[2:]
        self._program = start(f"import time; time.sleep(0.1)  # or its memory is never looked at\n{script}", *words)
        self.pid = self._program.pid

    def wait(self) -> int:
        code = self._program.wait()
        for stream, text in zip(self._streams, (self._program.printed, self._program.said), strict=True):
            stream.write(text)
        return code


def _begin(
    command: list[str], stdin: int, stdout: IO[str], stderr: IO[str], env: dict[str, str]
) -> _Forked | subprocess.Popen[str]:
    program, *words = command
    if program == sys.executable:
        return _Forked(words, stdout, stderr)
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, text=True)


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a benchmark in this process, with forked programs; returns what it printed."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    names = [path.stem for path in BENCHMARKS.glob("*.py")]
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    measuring = import_module("measuring")
    monkeypatch.setattr(measuring, "subprocess", SimpleNamespace(Popen=_begin, DEVNULL=subprocess.DEVNULL))
    monkeypatch.setattr(os, "sync", lambda: None)

    def run(name: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        capsys.readouterr()
        code = import_module(name).main()
        said = capsys.readouterr()
        assert not code, said.err
        return said.out

    return run


@cache
def maker() -> dict[str, Any]:
    """What makes series, of a script that is in no package."""
    return run_path(str(BENCHMARKS / "make_series.py"))


def made_series(folder: Path, kind: str = "image", seed: int = 0) -> tuple[Array, float]:
    """A series of the small size, and how many times larger its pixels are than its files."""
    maker()["make_series"](folder, maker()["Brain"]((12, 256, 320), seed), kind)
    slices = sorted(folder.iterdir())
    assert [path.name for path in slices] == [f"Z{number:04d}.tif" for number in range(1, 13)]
    volume = np.stack([tifffile.imread(path) for path in slices])
    return volume, volume.nbytes / sum(path.stat().st_size for path in slices)


@pytest.mark.parametrize(
    ("kind", "dtype", "least_ratio", "largest_ratio"),
    [("image", "uint16", 2.3, 3.5), ("labels", "uint16", 10, 200), ("mask", "uint8", 10, 200)],
)
def test_a_series_is_the_same_each_time_and_compresses_as_usual(
    tmp_path: Path, kind: str, dtype: str, least_ratio: float, largest_ratio: float
) -> None:
    volume, ratio = made_series(tmp_path / "first", kind)
    assert (volume.shape, volume.dtype) == ((12, 256, 320), np.dtype(dtype))
    assert least_ratio < ratio < largest_ratio
    made_series(tmp_path / "again", kind)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    other, _ = made_series(tmp_path / "other", kind, seed=1)
    assert not np.array_equal(other, volume)


def test_a_stack_has_the_planes_of_the_series(tmp_path: Path) -> None:
    volume, _ = made_series(tmp_path / "series")
    maker()["make_stack"](tmp_path / "series.tif", tmp_path / "series")
    with tifffile.TiffFile(tmp_path / "series.tif") as tiff:
        assert np.array_equal(tiff.asarray(), volume)
        assert tiff.series[0].axes == "ZYX"
        assert tiff.pages.first.rowsperstrip == 16


def test_slices_are_what_catnip_writes(tmp_path: Path) -> None:
    made_series(tmp_path / "series")
    with tifffile.TiffFile(tmp_path / "series" / "Z0001.tif") as tiff:
        page = tiff.pages.first
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.rowsperstrip == 16


def test_kinds_look_like_what_they_are(tmp_path: Path) -> None:
    image, _ = made_series(tmp_path / "image")
    labels, _ = made_series(tmp_path / "labels", "labels")
    mask, _ = made_series(tmp_path / "mask", "mask")
    assert 100 < len(np.unique(labels)) < 1000
    assert 9000 < labels.max() <= 12_000
    assert 0.3 < np.mean(labels == 0) < 0.7
    assert not image[labels == 0].any()
    assert np.unique(mask).tolist() == [0, 255]
    assert 0 < np.mean(mask == 255) < 0.02
    assert image[mask == 255].mean() > 3 * image[(mask == 0) & (labels > 0)].mean()


def test_a_series_is_made_as_the_command_line_says(tmp_path: Path) -> None:
    made = run(BENCHMARKS / "make_series.py", tmp_path / "series", SIZE, "--kind", "mask", "--seed", 1)
    assert made.returncode == 0, made.stderr
    made_series(tmp_path / "expected", "mask", 1)
    assert files_of(tmp_path / "series") == files_of(tmp_path / "expected")


def test_a_folder_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    made = run(BENCHMARKS / "make_series.py", tmp_path, SIZE)
    assert made.returncode == 2
    assert "is there already" in made.stderr


@pytest.mark.slow
def test_a_sitting_gives_a_table_and_all_values(tmp_path: Path, run_here: Callable[..., str]) -> None:
    ways = ["ours", "decode_only", "encode_only"]
    words = ["--kind", "labels", "--rounds", 1, "--threads", 1, "--work", tmp_path, "--ways", ",".join(ways)]
    printed = run_here("run", "--size", SIZE, "6x128x160", *words)
    table = (tmp_path / "results-labels.md").read_text(encoding="utf-8")
    assert printed == table
    assert str(tmp_path) not in table
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ours ")]
    assert [len(row) for row in rows] == [9, 9, 3]
    assert rows[0][4] == "1.00"
    assert rows[0][8] == "equal |"
    assert "ours / (decode_only + encode_only): **" in table
    assert "- ours: 12x256x320, 6x128x160" in table

    document = json.loads((tmp_path / "results-labels.json").read_text(encoding="utf-8"))
    assert (document["kind"], document["threads"], document["rounds"]) == ("labels", 1, 1)
    assert document["machine"].keys() == {"processor", "cores", "memory", "system"}
    assert all({"Python", "catnip2bids", "tensorstore"} <= found.keys() for found in document["versions"].values())
    assert [series["shape"] for series in document["series"]] == [[12, 256, 320], [6, 128, 160]]
    for series in document["series"]:
        assert list(series["ways"]) == ways
        for way in series["ways"].values():
            (only,) = way["runs"]
            assert only["seconds"] > 0
            assert only["peak_bytes"] > 10e6
            assert (way["error"], only["error"]) == (None, None)
        ours, decoded, encoded = (series["ways"][way]["runs"][0] for way in ways)
        assert ours["part_seconds"] is None
        assert decoded["part_seconds"] < decoded["seconds"]
        assert decoded["n_files"] == 0
        # the limit writes the same arrays; the group's document is not among them
        assert encoded["n_files"] == ours["n_files"] - 1
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"labels-12x256x320", "labels-6x128x160"}


@pytest.mark.slow
def test_a_way_that_fails_says_why(tmp_path: Path) -> None:
    benchmarks = tmp_path / "benchmarks"
    shutil.copytree(BENCHMARKS, benchmarks)
    (benchmarks / "ways" / "broken.py").write_text('raise SystemExit("reading...\\ncannot | do that")\n')
    (benchmarks / "ways" / "silent.py").write_text("")
    (benchmarks / "ways" / "foreign.py").write_text('# /// script\n# dependencies = ["x"]\n# ///\n')
    words = ["--ways", "broken,silent,foreign,decode_only", "--tools-python", tmp_path / "no-python"]
    measured = run(benchmarks / "run.py", "--size", "3x64x64", "--rounds", 2, "--work", tmp_path / "work", *words)
    assert measured.returncode == 1, measured.stderr
    assert "| broken | failed: cannot / do that |" in measured.stdout
    assert "| silent | failed: its output cannot be read: no OME-Zarr 0.5 image was written |" in measured.stdout
    assert "| foreign | failed: cannot be installed: " in measured.stdout
    document = json.loads((tmp_path / "work" / "results-image.json").read_text(encoding="utf-8"))
    ways = document["series"][0]["ways"]
    assert {way: len(found["runs"]) for way, found in ways.items()} == {
        "broken": 1,
        "silent": 1,
        "foreign": 0,
        "decode_only": 2,
    }
    assert ways["broken"]["error"] == "cannot | do that"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "12x256"], "is no shape"),
        (["--size", SIZE, "--ways", "theirs"], "no such way"),
        (["--size", SIZE, "--ways", "encode_only"], "name ours too"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    refused = run(BENCHMARKS / "run.py", "--work", tmp_path / "work", *words)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_comparing_is_measured_too(tmp_path: Path, run_here: Callable[..., str]) -> None:
    words = ["--size", "3x64x64", "--rounds", 1, "--threads", 1, "--work", tmp_path]
    rows = [line.split(" | ") for line in run_here("comparing", *words).splitlines()[2:]]
    assert [row[1] for row in rows] == ["catnip2bids", "usual loop"] * 3
    assert all(float(row[2]) > 0 for row in rows)


@pytest.mark.slow
def test_writing_ome_tiff_is_measured_too(tmp_path: Path, run_here: Callable[..., str]) -> None:
    words = ["--size", "3x64x64", "--rounds", 1, "--threads", 1, "--work", tmp_path, "--rows-per-strip", 1]
    rows = [line.split(" | ") for line in run_here("ome_tiff", *words).splitlines()[2:]]
    assert [row[0] for row in rows] == ["| slices to one OME-TIFF"] * 6 + ["| OME-XML onto a stack"] * 5
    assert all(float(row[2]) > 0 for row in rows if "cp" not in row[1])


@pytest.mark.slow
def test_verifying_is_measured_too(tmp_path: Path, run_here: Callable[..., str]) -> None:
    words = ["--size", "3x64x64", "--rounds", 1, "--threads", 1, "--work", tmp_path]
    rows = [line.split(" | ") for line in run_here("verifying", *words).splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *["| verify ome-zarr"] * 3,
        "| restore ome-zarr",
        *["| verify ome-tiff"] * 3,
        "| restore ome-tiff",
    ]
    assert all(float(row[2]) > 0 for row in rows)


@pytest.mark.slow
def test_a_cohort_is_measured_too(tmp_path: Path, run_here: Callable[..., str]) -> None:
    words = ["--size", "12x40x36", "--rounds", 1, "--threads", 2, "--work", tmp_path]
    rows = [line.split(" | ") for line in run_here("cohort", *words).splitlines()[2:]]
    assert [row[0] for row in rows] == [
        "| package",
        "| package again",
        "| verify",
        "| restore",
        "| convert a stack, all jobs",
        "| convert a stack, 1 job",
    ]
    assert all(float(row[2]) > 0 for row in rows)


def test_more_cores_shorten_the_parallel_part_of_a_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    predicting = import_module("predicting")
    samples = [(0.0, 0.0), (1.0, 1.0), (2.0, 1.1), (3.0, 3.1), (4.0, 5.1)]  # two seconds of one core, two of both
    found = predicting.profile(samples)
    assert (found.wall_seconds, found.serial_seconds, found.parallel_cpu_seconds) == pytest.approx((4, 2, 4))
    assert [found.predicted_seconds(n) for n in (1, 2, 4)] == pytest.approx([6, 4, 3])


@pytest.mark.slow
def test_installing_measures_an_environment_that_is_there(
    monkeypatch: pytest.MonkeyPatch, run_here: Callable[..., str]
) -> None:
    starts = import_module("installing")._STARTS
    for name in ("catnip2bids --version", "catnip2bids package --help"):  # are started like `catnip2bids --help`
        monkeypatch.delitem(starts, name)
    printed = run_here("installing", "--rounds", 1, "--programs", Path(sys.executable).parent)
    rows = dict(re.findall(r"^\| (\S.*?) \| ([\d.]+) \|$", printed, re.MULTILINE))
    assert float(rows["imagecodecs"]) > 10
    assert 0 < float(rows["`import catnip2bids`"]) < float(rows["`from catnip2bids import package`"])
    assert float(rows["`catnip2bids --help`"]) > 0
    imports = re.findall(r"^\| (\S+) \| (\d+) \|$", printed.partition("imported for")[2], re.MULTILINE)
    milliseconds = [int(number) for _, number in imports]
    assert milliseconds[0] > 0
    assert milliseconds == sorted(milliseconds, reverse=True)
