"""What a shared machine and a public archive may expect: nothing private, nothing open to others, nothing hidden."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from catnip2bids import Format, package
from catnip2bids.packaging.copies import private_words
from fork_server import command, start
from runs import KO_NAME, RAW, Collector, mentions, settings, slices_of, state_of, write_l0

SECRET = "lab_of_zweistein"
USER = "zweistein_jane"


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        (Format.OME_ZARR, ("--no-report",)),
        pytest.param(Format.OME_ZARR, (), marks=pytest.mark.slow),
        pytest.param(Format.OME_TIFF, (), marks=pytest.mark.slow),
    ],
)
def test_no_dataset_names_folders_users_or_machines(
    tmp_path: Path, image_format: Format, options: tuple[str, ...]
) -> None:
    source, dataset = tmp_path / SECRET / "cohort", tmp_path / SECRET / "dataset"
    run = write_l0(source, only=(*RAW, "640_FRST"))
    slices_of(run / "640_FRST")[3].write_bytes(b"damaged")  # problems are published too
    (run / "notes.txt").symlink_to(tmp_path / "nowhere")
    environment = {"HOME": f"/home/{USER}", "USER": USER, "LOGNAME": USER}
    script = f"import os; os.environ.update({environment!r}); from catnip2bids.cli import main; main()"
    words = ["package", source, "-o", dataset, "--voxel-size", 3.7, 3.7, 5, "--format", image_format, *options]
    done = start(script, *words)
    assert (done.wait(), "Traceback" in done.said) == (1, False), done.said
    private = [SECRET, USER, str(tmp_path), *([host] if len(host := socket.gethostname()) > 3 else [])]
    found = {
        f"{path.relative_to(dataset)}: {word}"
        for path in dataset.rglob("*")
        if path.is_file()
        for word in private
        if word.encode() in path.read_bytes() or word in path.name
    }
    assert not found


def test_copies_that_name_folders_are_warned_of(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (run / "notes.txt").write_text("seen in /nas/zweistein/brains/1.tif and C:\\Users\\jane\\2.tif, 640/FRST, 3.7/5\n")
    told = Collector()
    package([tmp_path / "source"], tmp_path / "dataset", settings(), progress=told)
    assert mentions(told.warnings, "notes.txt", "/nas/zweistein/brains/1.tif", "C:\\Users\\jane\\2.tif", "exclude")
    assert not mentions(told.warnings, "640/FRST")
    (copy,) = (tmp_path / "dataset").rglob("notes.txt")
    assert copy.read_bytes() == (run / "notes.txt").read_bytes()


@pytest.mark.parametrize("text", [b"", b"3.7/5 and 1/2", b"https://github.com/SNIR-NIMH/CATNIP", b"</a>", b"\0/a/b/c"])
def test_what_is_no_path_is_not_taken_for_one(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "file").write_bytes(text)
    assert private_words(tmp_path / "file") == ""


def test_slices_that_are_links_out_of_the_source_are_followed_and_said(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "source", only=RAW)
    (tmp_path / "storage").mkdir()
    for path in slices_of(run / "640_N4"):
        path.rename(tmp_path / "storage" / path.name)
        path.symlink_to(tmp_path / "storage" / path.name)
    first = slices_of(run / "640_N4")[0].name
    package_words = ["package", "-o", tmp_path / "dataset", "--voxel-size", 3.7, 3.7, 5, "--no-report"]
    for words in (["scan"], package_words):
        done = command(words[0], tmp_path / "source", *words[1:], cwd=tmp_path)
        assert done.returncode == 0
        said = " ".join(done.stderr.split())
        assert f"640_N4/{first} -> {tmp_path / 'storage' / first}: is a link out of" in said
        assert "so are 11 more" in said
    assert list((tmp_path / "dataset").rglob("*cFos_SPIM.ome.zarr"))


def test_a_copied_file_and_a_run_behind_links_are_said(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "elsewhere", KO_NAME, only=RAW)
    (tmp_path / "secret.csv").write_text("a\n")
    (run / "extra").mkdir()
    (run / "extra" / "table.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / KO_NAME).symlink_to(run)
    told = Collector()
    package([tmp_path / "source"], tmp_path / "dataset", settings(), progress=told)
    assert mentions(told.warnings, f"{tmp_path / 'source' / KO_NAME} -> {run}: is a link out of the source")
    assert mentions(told.warnings, "extra/table.csv", str(tmp_path / "secret.csv"))


@pytest.mark.parametrize(
    ("umask", "image_format", "options"),
    [
        (0o077, Format.OME_ZARR, ("--no-report",)),
        pytest.param(0o022, Format.OME_ZARR, ("--no-report",), marks=pytest.mark.slow),
        pytest.param(0o077, Format.OME_TIFF, (), marks=pytest.mark.slow),
    ],
)
def test_nothing_is_open_to_others_beyond_what_the_user_allows(
    tmp_path: Path, umask: int, image_format: Format, options: tuple[str, ...]
) -> None:
    run = write_l0(tmp_path / "source", only=(*RAW, "640_FRST_seg"))
    for path in [*run.rglob("*.csv"), run / "640_N4"]:
        path.chmod(0o777)  # what the source allows counts as little
    script = f"import os; os.umask({umask}); from catnip2bids.cli import main; main()"
    words = ["package", tmp_path / "source", "-o", tmp_path / "dataset", "--voxel-size", 3.7, 3.7, 5]
    assert start(script, *words, "--format", image_format, *options).wait() == 0
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dataset").rglob("*")}
    assert not {path: oct(mode) for path, mode in modes.items() if mode & umask}
    assert not {path: oct(mode) for path, mode in modes.items() if path.is_file() and mode & 0o111}


def test_names_are_harmless_in_the_page_of_a_comparison(tmp_path: Path) -> None:
    name = "<script>alert('1')<&>\"'<img src=x onerror=alert(2)>"
    for side in ("a", "b"):
        run = write_l0(tmp_path / side / name.replace("/", ""), KO_NAME, only=(*RAW, "640_FRST"))
        (run / f"{name}{side}.csv").write_text("x\n")
        slices_of(run / "640_FRST")[2].write_bytes(side.encode())
    folders = [tmp_path / side / name for side in ("a", "b")]
    assert command("compare", *folders, "-o", tmp_path / "out").returncode in {1, 2}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page


def test_the_source_is_only_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    run = write_l0(source, only=(*RAW, "atlaslabel_def_origspace", "atlaslabel_def_origspace_masked"))
    before = state_of(source)
    assert command("scan", source, cwd=tmp_path).returncode == 0
    words = ("package", source, "-o", tmp_path / "dataset", "--voxel-size", 3.7, 3.7, 5, "--no-report")
    assert command(*words).returncode == 0
    labels = run / "atlaslabel_def_origspace"
    assert command("compare", labels, run / f"{labels.name}_masked", "-o", tmp_path / "out").returncode == 1
    convert = ("convert", labels, tmp_path / "labels.ome.btf", "--voxel-size", 3.7, 3.7, 5, "--kind", "labels")
    assert command(*convert).returncode == 0
    assert state_of(source) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_closed_folder_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    done = command("package", tmp_path / "source", "-o", tmp_path / "closed/out", "--voxel-size", 3.7, 3.7, 5)
    assert (done.returncode, "closed: cannot be written" in done.stderr) == (2, True)
