"""Sources that change while they are packaged: noticed, and never taken for what they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catnip2bids import package, verify
from catnip2bids.engine import Resources, convert_volume
from catnip2bids.packaging import copies, run_preflight, write_dataset
from catnip2bids.progress import Progress
from runs import RAW, dataset_files, images_of, level, mentions, settings, slices_of, source_planes, write_l0


def test_a_file_that_grows_while_it_is_copied_is_a_problem_and_copied_when_it_is_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (run / "notes.txt").write_text("first line\n")
    pieces = copies._read_blocks

    def growing(file: Path) -> Iterator[bytes]:
        yield from pieces(file)
        if file.name == "notes.txt":
            file.write_text(f"{file.read_text()}another line\n")

    with monkeypatch.context() as changed:
        changed.setattr(copies, "_read_blocks", growing)
        result = package([tmp_path / "source"], tmp_path / "dataset", settings())
    assert mentions(result.problems, "notes.txt: changed while it was read; run again")
    assert not list((tmp_path / "dataset").rglob("notes.txt"))
    assert package([tmp_path / "source"], tmp_path / "dataset", settings()).ok
    (copy,) = (tmp_path / "dataset").rglob("notes.txt")
    assert copy.read_bytes() == (run / "notes.txt").read_bytes()


def rewrite(file: Path, content: bytes) -> None:
    """Replace the content of a file, but neither its size nor its time."""
    state = file.stat()
    assert len(content) == state.st_size
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_a_small_file_is_copied_again_if_only_its_content_has_changed(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source")
    package([tmp_path / "source"], tmp_path / "dataset", settings())
    (counts,) = run.glob("640_FRST_seg/FRSTseg_*.csv")
    content = counts.read_bytes()
    at = content.rindex(b",0,")
    rewrite(counts, content[:at] + b",7," + content[at + 3 :])
    assert package([tmp_path / "source"], tmp_path / "dataset", settings()).ok
    package([tmp_path / "source"], tmp_path / "reference", settings())
    assert dataset_files(tmp_path / "dataset") == dataset_files(tmp_path / "reference")
    assert verify(tmp_path / "dataset", sources=[tmp_path / "source"]).ok


@pytest.mark.parametrize("n_bytes", [2**20, 2**20 + 1])
def test_a_copy_of_a_large_file_is_kept_while_size_and_time_are_those_of_the_file(tmp_path: Path, n_bytes: int) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    file = run / "notes.bin"
    file.write_bytes(bytes(n_bytes))
    package([tmp_path / "source"], tmp_path / "dataset", settings())
    rewrite(file, b"\1" * n_bytes)
    package([tmp_path / "source"], tmp_path / "dataset", settings())
    (copy,) = (tmp_path / "dataset").rglob("notes.bin")
    is_small = n_bytes <= 2**20
    assert copy.read_bytes() == (b"\1" if is_small else b"\0") * n_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", ["atlaslabel_def_origspace_masked", pytest.param("atlaslabel_def_origspace", marks=pytest.mark.slow)]
)
def test_what_was_left_out_after_a_comparison_is_a_problem_if_files_change_since(tmp_path: Path, changed: str) -> None:
    run = write_l0(tmp_path / "source")
    prepared = run_preflight(
        [tmp_path / "source"], tmp_path / "dataset", settings(), None, Resources(2, 2**30), Progress()
    )
    file = slices_of(run / changed)[4]
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))
    result = write_dataset(prepared, Progress())
    assert mentions(result.problems, "atlaslabel_def_origspace_masked", "changed since they were compared; run again")
    assert package([tmp_path / "source"], tmp_path / "dataset", settings()).ok
    package([tmp_path / "source"], tmp_path / "reference", settings())
    assert dataset_files(tmp_path / "dataset") == dataset_files(tmp_path / "reference")


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_folder_that_gets_more_slices_is_a_problem_and_packaged_when_it_is_at_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A copy in progress adds slices that the scan has not seen, before the image is made or while it is."""
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    *_, last = slices_of(run / "640_N4")
    last.rename(tmp_path / last.name)

    def add_slice() -> None:
        with suppress(FileNotFoundError):  # images are made at the same time
            (tmp_path / last.name).rename(last)

    def convert_and_add(*arguments: Any) -> Any:
        found = convert_volume(*arguments)
        add_slice()
        return found

    with monkeypatch.context() as changed:
        if when == "while":
            changed.setattr("catnip2bids.build_image.convert_volume", convert_and_add)
        prepared = run_preflight([tmp_path / "source"], out, settings(), None, Resources(1, 2**30), Progress())
        if when == "before":
            add_slice()
        result = write_dataset(prepared, Progress())
    (problem,) = result.problems
    assert problem == f"{run / '640_N4'}: got more slices while it was read; run again when nothing writes to it"
    assert [image for image in images_of(out) if "desc-FRST_" not in image] == []
    assert package([tmp_path / "source"], out, settings()).ok
    (raw,) = (image for image in images_of(out) if image.startswith("sub-"))
    np.testing.assert_array_equal(level(out / raw), source_planes(run / "640_N4"))
