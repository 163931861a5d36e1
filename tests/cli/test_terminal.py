"""What people see: nothing wider than their terminal, plain lines in pipes, and silence if they ask for it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import termios
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from rich.cells import cell_len

from catnip2bids.cli.console import (
    Column,
    Row,
    folded,
    print_address,
    print_heading,
    print_line,
    print_message,
    print_pairs,
    print_result,
    print_table,
    shortened,
)
from catnip2bids.cli.terminal import show_restoration, show_verification
from catnip2bids.packaging import package
from catnip2bids.restoration import Restoration
from catnip2bids.verification import Verification
from catnip2bids.verification.result import ImageVerdict, Problem, ProblemKind
from fork_server import CATNIP2BIDS, LEAVE_OUT_PLOTS, WITHOUT_DANDI, command, start
from runs import FLOX, KO, KO_PREFIX, RAW, TODAY, settings, slices_of, write_l0, write_l2

Seen = tuple[int, str, str]
"""Exit code, what was written to the terminal, and what came out at stdout."""
Shown = Callable[[str], Seen]
Piped = Callable[[str], list[str]]

ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)")
FRAMES = re.compile("[\u2500-\u259f]")
VOXEL_SIZE = ("--voxel-size", "3.7", "3.7", "5")
COMMANDS = {
    "scan": ("scan", "cohort", "-o", "new.toml"),
    "dry-run": ("package", "cohort", "-o", "new", *VOXEL_SIZE, "--dry-run"),
    "package": ("package", "cohort", "-o", "new", *VOXEL_SIZE, "--no-report"),
    "tiff": ("package", f"cohort/{KO}", "-o", "new", *VOXEL_SIZE, "--no-report", "--format", "ome-tiff"),
    "with report": ("package", f"cohort/{TODAY}", "-o", "new", *VOXEL_SIZE),
    "verify": ("verify", "dataset"),
    "restore": ("restore", "dataset", "-o", "new"),
    "compare": ("compare", f"cohort/{KO}", f"cohort/{TODAY}", "-o", "new"),
    "convert": ("convert", f"cohort/{KO}/640_N4", "new.ome.btf", *VOXEL_SIZE),
    "error": ("package", "cohort", "-o", "new"),
}


def in_terminal(*words: str, cwd: Path, width: int = 80, variables: Mapping[str, str] = {}) -> Seen:
    """Run the command line in a terminal."""
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment = {**environment, "TERM": "xterm-256color"} | dict(variables)
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(_all_of, main)
        script, terminal = f"{LEAVE_OUT_PLOTS}{WITHOUT_DANDI}", os.ttyname(side)
        done = start(script, *words, cwd=cwd, environment=environment, terminal=terminal).finished()
        os.close(side)
        seen = done.returncode, written.result().decode(), done.stdout
    os.close(main)
    return seen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with a problem, and a dataset of it with a damaged table."""
    folder = tmp_path_factory.mktemp("terminal")
    slices_of(write_l0(folder / "cohort", KO) / "640_FRST")[4].unlink()
    write_l2(folder / "cohort", TODAY)
    assert not package([folder / "cohort"], folder / "dataset", settings()).ok
    with (folder / "dataset/participants.tsv").open("a", encoding="utf-8") as table:
        table.write("sub-nobody\n")
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path) -> Path:
    """A place of one's own from which both can be reached."""
    return _beside(folder, tmp_path)


def _beside(folder: Path, place: Path) -> Path:
    for name in ("cohort", "dataset"):
        (place / name).symlink_to(folder / name)
    return place


@pytest.fixture(scope="module")
def shown(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Runs one of the commands in a terminal, once."""
    return cache(lambda name: in_terminal(*COMMANDS[name], cwd=_beside(folder, tmp_path_factory.mktemp(name))))


@pytest.fixture(scope="module")
def piped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Piped:
    """Runs one of the commands away from a terminal, once; returns the lines for people."""

    def run(name: str) -> list[str]:
        place = _beside(folder, tmp_path_factory.mktemp(name))
        done = start(CATNIP2BIDS, *COMMANDS[name], cwd=place, environment=os.environ | {"FORCE_COLOR": "1"}).finished()
        assert "Traceback" not in done.stderr
        assert not done.stdout
        return done.stderr.splitlines()

    return cache(run)


def _all_of(terminal: int) -> bytes:
    """Read what is written to a terminal until nobody has it open any more."""
    written = bytearray()
    while data := _read(terminal):
        written += data
    return bytes(written)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side was closed
        return b""


def lines_of(written: str) -> list[str]:
    """Everything that stood in a line of the terminal at some time."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", ESCAPE.sub("", written))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "with report" else ()) for name in COMMANDS]
)
def test_no_line_is_wider_than_the_terminal(shown: Shown, name: str) -> None:
    code, written, out = shown(name)
    assert "Traceback" not in written
    assert (code in (0, 1, 2), out) == (True, "")
    assert max(map(cell_len, lines_of(written))) <= 80
    assert ESCAPE.search(written)


def test_a_narrow_terminal_still_tells_images_apart(here: Path) -> None:
    _, written, _ = in_terminal("verify", "dataset", cwd=here, width=60)
    lines = lines_of(written)
    assert max(map(cell_len, lines)) <= 60
    assert any("desc-FRSTsegfiltered10000_" in line for line in lines)


@pytest.mark.slow
def test_a_validation_fits_too_and_says_once_what_is_the_same_in_several_files(here: Path) -> None:
    damaged = shutil.copytree(here / "dataset", here / "damaged")
    for name in ("a.txt", "b.txt"):
        (damaged / "derivatives/catnip-counts" / name).touch()
    code, written, _ = in_terminal("validate", "damaged", cwd=here)
    assert code == 1
    lines = lines_of(written)
    assert max(map(cell_len, lines)) <= 80
    assert sum("FILE_EMPTY" in line for line in lines) == 1
    assert re.search(r"^damaged: not valid, \d+ errors?, \d+ warnings?$", "\n".join(lines), re.MULTILINE)


def test_a_run_is_named_once_and_then_what_differs(shown: Shown) -> None:
    _, written, _ = shown("verify")
    lines = lines_of(written)
    assert lines.count("sub-45670ko sample-LeftHemisphere stain-cFos") == 1
    assert any(re.match(r"space-orig_desc-atlas_SPIM\.ome\.zarr +12 +1 +proven$", line) for line in lines)
    assert any(line.startswith("problem: participants.tsv: was changed") for line in lines)
    assert [line for line in lines if line][-1].startswith("dataset: something has changed")


def test_packaging_ends_with_a_line_for_each_run_and_a_sum(shown: Shown) -> None:
    code, written, _ = shown("package")
    lines = [line for line in lines_of(written) if line]
    assert code == 1
    assert any(re.match(r"45670ko LeftHemisphere cFos +5 +1 +0 +1 +1$", line) for line in lines)
    assert any(re.match(r"46001wt LeftHemisphere cFos +7 +1 +4 +1 +0$", line) for line in lines)
    assert lines[-1] == "new: 12 images made, 1 problem, 1 warning"
    assert sum(line.startswith("problem: ") for line in lines) == 1


def test_how_pixels_got_into_images_is_said_for_all_of_them_together(
    shown: Shown,
) -> None:
    _, written, _ = shown("tiff")
    told = [line for line in lines_of(written) if ": pixels " in line]
    assert told
    assert sum(int(line.split()[0]) if " images: " in line else 1 for line in told) == 5


def test_json_goes_to_stdout_while_a_person_looks_on(here: Path) -> None:
    _, written, out = in_terminal("scan", "cohort", "-o", "new.toml", "--json", cwd=here)
    assert out.startswith("{")
    assert "shape_zyx" not in written


@pytest.mark.parametrize(
    "variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=lambda variables: next(iter(variables))
)
def test_colours_can_be_refused(here: Path, variables: dict[str, str]) -> None:
    _, written, _ = in_terminal(*COMMANDS["error"], cwd=here, variables=variables)
    codes = re.findall(r"\x1b\[([0-9;]*)m", written)
    assert not any(30 <= int(number) <= 107 for code in codes for number in code.split(";") if number)
    assert "TERM" not in variables or not ESCAPE.search(written)


@pytest.mark.parametrize("name", ["scan", "dry-run", "package", "verify", "compare"])
def test_a_pipe_gets_plain_whole_lines(piped: Piped, name: str) -> None:
    for line in piped(name):
        assert line.strip()
        assert not ESCAPE.search(line)
        assert not FRAMES.search(line)
        assert "…" not in line


def test_help_and_mistakes_have_no_frames_in_a_pipe(tmp_path: Path) -> None:
    for words in (("package", "--help"), ("packge",)):
        done = command(*words, cwd=tmp_path)
        assert not FRAMES.search(done.stdout + done.stderr)
        assert "[bold]" not in done.stdout


def test_lines_of_a_pipe_hold_whole_names(piped: Piped) -> None:
    target = f"derivatives/catnip/sub-45670ko/micr/{KO_PREFIX}_space-orig_desc-atlas_SPIM.ome.zarr"
    assert f"cohort/{KO}/atlaslabel_def_origspace -> {target}" in piped("dry-run")
    assert f"{target}: 12 planes, 1 level, proven" in piped("verify")
    assert f"cohort/{KO}/640_N4: image, 36 x 40 x 12, uint16, convert" in piped("scan")


@pytest.mark.slow
def test_quiet_is_silent_when_all_is_good(here: Path) -> None:
    write_l0(here / "good", FLOX)
    done = command("package", "good", "-o", "new", *VOXEL_SIZE, "--no-report", "--quiet", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert in_terminal("-q", "verify", "new", cwd=here) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("-q", *COMMANDS["verify"], "--json"), "participants.tsv"),
        ((*COMMANDS["dry-run"], "-q"), "640_FRST"),
        (("--quiet", *COMMANDS["package"]), "640_FRST"),
    ],
    ids=["verify", "dry-run", "package"],
)
def test_quiet_still_says_what_is_wrong_and_nothing_else(here: Path, words: tuple[str, ...], wrong: str) -> None:
    done = command(*words, cwd=here)
    assert (done.returncode, done.stdout[:1]) == (1, "{" if "--json" in words else "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("problem: ")
    assert wrong in line


STRANGE = "a\x1b[2Jb\x9b1m\nproblem: c\u202ed\rx\x07"


def test_names_of_files_do_not_command_the_terminal(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO)
    for name in (STRANGE, f"{STRANGE}.tif", f"640_N4/{STRANGE}.tif"):
        (run / name).write_bytes(b"x")
    (tmp_path / "cohort" / STRANGE).mkdir()
    words = ("scan", ".", "-o", f"../{STRANGE}.toml")
    done = command(*words, cwd=tmp_path / "cohort")
    plain = r"a\x1b[2Jb\x9b1m\nproblem: c\u202ed\rx\x07"
    assert f"{KO}/{plain}.tif: " in done.stderr
    _, written, _ = in_terminal(*words, cwd=tmp_path / "cohort", width=200)
    assert f"{plain}.tif " in written
    for text in (done.stderr, ESCAPE.sub("", written.replace("\x1b[2K", "").replace("\r\n", "\n").replace("\r", ""))):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "\x1b[2J" not in written


def test_an_error_about_a_name_of_two_lines_is_one_line(tmp_path: Path) -> None:
    words = ("verify", "nowhere\nerror: x")
    done = command(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(r"error: nowhere\nerror: x: does not exist")
    _, written, _ = in_terminal(*words, cwd=tmp_path, width=200)
    assert done.stderr.rstrip() in lines_of(written)


def test_an_error_of_several_facts_has_a_line_for_each(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[[run]]\nname = 1\nsource = 2\n")
    (tmp_path / "cohort").mkdir()
    write_l0(tmp_path / "cohort", KO, only=RAW)
    done = command("package", "cohort", "-o", "out", "--plan", "plan.toml", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) > 1
    assert all(line.startswith("error: plan.toml, line ") for line in lines)


def test_messages_and_results_do_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("say \x1b[2J")
    print_message("error", "error \x1b[2J")
    print_message("note", "note \x1b[2J")
    print_address("address \x1b[2J")
    print_heading("heading \x1b[2J", "more \x1b[2J")
    print_result("result \x1b[2J", "good", ["fact \x1b[2J"], ok=True)
    print_table([Column("name"), Column("fact")], [Row("row", "row \x1b[2J", ("fact \x1b[2J",))])
    print_pairs([("pair \x1b[2J", "other \x1b[2J")])
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count(r"\x1b[2J") == 12


def test_images_of_a_run_are_listed_by_name_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("heatmap15000", "heatmap10000", "heatmap9000", "atlas")
    verdicts = [ImageVerdict(f"micr/sub-1_sample-x_stain-y_desc-{name}_SPIM", 1, 1, ()) for name in names]
    show_verification(Verification(Path("dataset"), tuple(verdicts), 0, (), (), False))
    found = re.findall(r"desc-(\w+)_SPIM", capsys.readouterr().err)
    assert found == ["atlas", "heatmap9000", "heatmap10000", "heatmap15000"]


def test_an_image_whose_original_was_not_read_is_not_called_changed(capsys: pytest.CaptureFixture[str]) -> None:
    unread = Problem("its original could not be read: memory", kind=ProblemKind.NOT_READ)
    show_verification(Verification(Path("dataset"), (ImageVerdict("image", 1, 1, (unread,)),), 0, ()))
    said = capsys.readouterr().err
    assert ("not read" in said, "not everything is proven" in said, "changed" in said) == (True, True, False)


def test_an_image_that_is_gone_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    gone = Problem("does not exist", kind=ProblemKind.MISSING)
    show_verification(Verification(Path("dataset"), (ImageVerdict("image", 0, 0, (gone,)),), 0, ()))
    said = capsys.readouterr().err
    assert ("missing" in said, "something has changed" in said, "not read" in said) == (True, True, False)


@pytest.mark.parametrize(("n", "said"), [(1, "1 entry restored"), (31, "31 entries restored")])
def test_what_was_restored_is_counted(n: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_restoration(Restoration(Path("restored"), tuple(map(str, range(n))), (), {}, ()))
    assert capsys.readouterr().err == f"restored: {said}\n"


@pytest.mark.slow
def test_label_images_inside_of_an_image_are_listed_with_its_run(here: Path) -> None:
    write_l0(here / "good", FLOX)
    assert package([here / "good"], here / "new", settings(embed_labels=True)).ok
    _, written, _ = in_terminal("verify", "new", cwd=here)
    lines = lines_of(written)
    assert any(line.startswith("hemisphere") for line in lines)
    assert sum(line.startswith("image ") for line in lines) == 1  # the head of a table


@pytest.mark.parametrize("width", [1, 7, 20, 80])
def test_folded_lines_fit_and_lose_nothing(width: int) -> None:
    text = "a/path_that/is__long/日本語のフォルダ/" + "x" * 50 + " and a few words behind it\nanother line"
    lines = folded(text, max(width, 2))
    assert max(map(cell_len, lines)) <= max(width, 2)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "").replace("\n", "")


def test_shortened_names_keep_both_ends() -> None:
    assert shortened("heatmaps_atlasspace/FRSTseg_00010000.tif", 15) == "heatmap…000.tif"
    assert shortened("640_N4", 15) == "640_N4"
    assert shortened("日本語のフォルダ_FRST.tif", 15) == "日本語 …RST.tif"


@pytest.mark.parametrize("width", range(1, 20))
def test_shortened_names_fit(width: int) -> None:
    assert cell_len(shortened("日本語のフォルダ/日本語のフォルダ", width)) == width
