"""How commands end where output, memory or the alphabet is short: the right exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from catnip2bids import package, standard_streams, verify
from in_process import called
from runs import KO, VOXEL_SIZE_UM, dataset_files, files_of, settings, slices_of, write_l0

VOXEL_SIZE = "--voxel-size " + " ".join(map(str, VOXEL_SIZE_UM))
OLD_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
RUN = "Mäuse 🐭"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort in a folder with an odd name, its dataset, and one with a table that was changed."""
    folder = tmp_path_factory.mktemp("ends")
    write_l0(folder / RUN, KO)
    for name in ("dataset", "changed"):
        package([folder / RUN], folder / name, settings())
    with (folder / "changed/participants.tsv").open("a", encoding="utf-8") as table:
        table.write("sub-nobody\n")
    return folder


def ended(line: str, cwd: Path, variables: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a command line of bash, in which `catnip2bids` is the program."""
    program = f'catnip2bids() {{ {shlex.quote(sys.executable)} -m catnip2bids "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", program + line],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LINES = [
    ("catnip2bids verify dataset --json > /dev/full", 2, "stdout: cannot be written"),
    ("catnip2bids verify changed >&- 0<&-", 1, "something has changed"),
    ("catnip2bids verify --wrong 2> /dev/full", 2, ""),
    ("catnip2bids --help > /dev/full", 2, "stdout: cannot be written"),
]
MORE_LINES = [
    ("catnip2bids verify dataset 2>&-", 2, ""),
    ("catnip2bids verify nothing >&- 2>&-", 2, ""),
    ("catnip2bids verify dataset --json >&-", 2, "stdout: cannot be written"),
    ("catnip2bids verify dataset > /dev/full", 0, "nothing has changed"),  # nothing was to be written there
    ("catnip2bids verify dataset 2> /dev/full", 2, ""),
    ("catnip2bids verify changed 2> /dev/full", 2, ""),
    ("catnip2bids view dataset --no-browser --print-url > /dev/full", 2, "stdout: cannot be written"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "said"), [*LINES, *(pytest.param(*line, marks=pytest.mark.slow) for line in MORE_LINES)]
)
def test_what_could_not_be_told_is_told_by_the_exit_code(folder: Path, line: str, code: int, said: str) -> None:
    done = ended(line, folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1] if said else not done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_reader_that_is_gone_is_no_news(folder: Path) -> None:
    done = ended("catnip2bids -q verify dataset --json | true; echo ${PIPESTATUS[0]}", folder)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize("where", [">&- 2>&-", "2> /dev/full"])
@pytest.mark.slow
def test_work_is_done_though_nobody_can_be_told(folder: Path, tmp_path: Path, where: str) -> None:
    """Files that are written do not get the number of a stream that is closed."""
    done = ended(f"catnip2bids package {shlex.quote(RUN)} -o {tmp_path}/new {VOXEL_SIZE} --no-report {where}", folder)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert dataset_files(tmp_path / "new") == dataset_files(folder / "dataset")
    assert verify(tmp_path / "new").ok


@pytest.mark.slow
def test_a_plan_is_written_though_its_json_cannot_be_printed(folder: Path, tmp_path: Path) -> None:
    done = ended(f"catnip2bids scan {shlex.quote(RUN)} -o {tmp_path}/plan.toml --json > /dev/full", folder)
    assert (done.returncode, (tmp_path / "plan.toml").is_file()) == (2, True)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_old_locale_changes_neither_names_nor_results(folder: Path, tmp_path: Path) -> None:
    source, place = shlex.quote(RUN), shlex.quote(str(tmp_path / "ö"))
    (tmp_path / "ö").mkdir()
    image = shlex.quote(str(slices_of(folder / RUN / KO / "640_N4")[0].parent))
    for line, in_json in [
        (f"scan {source} -o {place}/plan.toml --json", KO),
        (f"package {source} -o {place}/new {VOXEL_SIZE} --no-report", ""),
        (f"verify {place}/new --source {source} --json", "images"),
        (f"restore {place}/new -o {place}/restored", ""),
        (f"compare {image} {image} -o {place}/comparison --json", RUN),
        ("package --help", ""),
    ]:
        done = ended(f"catnip2bids {line}", folder, OLD_LOCALE)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert in_json in json.dumps(json.loads(done.stdout), ensure_ascii=False) if in_json else True
    assert dataset_files(tmp_path / "ö/new") == dataset_files(folder / "dataset")
    missing = ended("catnip2bids verify 'nö🐭'", folder, OLD_LOCALE)
    assert (missing.returncode, missing.stderr.partition(":")[2][:20]) == (2, r" n\xf6\U0001f42d: do")


def test_names_that_are_not_utf8(folder: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(odd).mkdir()
    (Path(odd) / "run").symlink_to(folder / RUN)
    refused = called("scan", odd, "-o", tmp_path / "plan.toml")
    assert (refused.returncode, "has a name that is not UTF-8; rename it" in refused.stderr) == (2, True)
    refused = called("package", folder / RUN, "-o", f"{odd}/new", "--voxel-size", *VOXEL_SIZE_UM, "--no-report")
    assert (refused.returncode, "has a path that is not UTF-8; rename" in refused.stderr) == (2, True)
    assert {path.name for path in Path(odd).iterdir()} == {"run"}


@pytest.mark.parametrize(
    "command", ["scan 'Mäuse 🐭' -o new.toml", "verify dataset", "validate dataset", "report dataset"]
)
def test_a_limit_that_is_too_small_is_named(folder: Path, command: str) -> None:
    before = files_of(folder)
    done = ended(f"ulimit -v 300000; catnip2bids {command}", folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "memory (ulimit -v) is too small" in done.stderr
    assert files_of(folder) == before


def test_help_needs_no_memory(folder: Path) -> None:
    assert ended("ulimit -v 300000; catnip2bids verify --help", folder).returncode == 0


@pytest.mark.slow
def test_plots_that_cannot_be_drawn_are_missing_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    line = f"ulimit -v 4000000; catnip2bids package {shlex.quote(RUN)} -o {tmp_path}/new {VOXEL_SIZE}"
    done = ended(line, folder)
    assert (done.returncode, done.stderr.count("plots are missing")) == (0, 1), done.stderr
    assert dataset_files(tmp_path / "new") == dataset_files(folder / "dataset")
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "new/docs/report").glob("*.html")]
    assert [("lots are missing" in page, "<h1" in page) for page in pages] == [(True, True)] * 2
    drawn = ended(f"catnip2bids report {tmp_path}/new", folder)
    assert (drawn.returncode, "plots are missing" in drawn.stderr) == (0, False)
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "new/docs/report").glob("*.html")]
    assert not any("lots are missing" in page for page in pages)


_WRONG = """
import catnip2bids.verification as verification
from catnip2bids.__main__ import main

def fail(*arguments, **options):
    raise {}

verification.verify = fail
main()
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "memory ran out"),
        (ImportError("x.so: failed to map segment from shared object"), "memory ran out"),
        (RuntimeError("std::bad_alloc"), "memory ran out"),
        (KeyError("a\nb"), "KeyError: 'a\\nb'; this is a mistake in catnip2bids"),
        (OSError(5, "Input/output error", "a.tsv"), "a.tsv: Input/output error;"),
        (RuntimeError("a\x1bb\nc"), "RuntimeError: a b c; this is a mistake in catnip2bids"),
    ],
)
def test_an_error_that_nobody_expected_is_said_in_one_line(error: Exception, said: str) -> None:
    line = standard_streams._in_words(error)
    assert line.startswith(said)
    assert line.isprintable()


@pytest.mark.slow
def test_a_program_that_meets_such_an_error_prints_the_line_and_the_traceback_on_demand(folder: Path) -> None:
    command = [sys.executable, "-c", _WRONG.format("KeyError('a\\nb')"), "verify", "dataset"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: KeyError: 'a\\nb'; this is a mistake in catnip2bids")
    variables = {**os.environ, "CATNIP2BIDS_TRACEBACK": "1"}
    told = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert (told.returncode, "in fail" in told.stderr) == (2, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.slow
def test_a_demo_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    line = "mount -t tmpfs -o size=200k tmpfs disk && { catnip2bids demo disk/demo; code=$?; umount disk; exit $code; }"
    done = ended(line, tmp_path)
    if "mount:" in done.stderr:
        pytest.skip("this system lets nobody mount")
    assert (done.returncode, done.stderr.count("error: "), "No space left" in done.stderr) == (2, 1, True), done.stderr
    assert "Traceback" not in done.stderr
