"""The command line as its users meet it: exit codes, what goes where, and never a traceback.

Each command runs as a program of its own at least once, to see its exit code; most tests call it in this process.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import catnip2bids
from catnip2bids import scan
from catnip2bids.bids.schema import bids_version
from catnip2bids.demo import write_atlas_table, write_cohort
from catnip2bids.versions import versions
from fork_server import command
from in_process import called, no_dandi, no_plots, no_validators
from made_up import some_image, write_slices
from runs import (
    KO,
    KO_NAME,
    SHAPE,
    TODAY,
    TODAY_NAME,
    dataset_files,
    images_of,
    slices_of,
    state_of,
    write_l0,
    write_l2,
)

__all__ = ["no_dandi", "no_plots", "no_validators"]

VOXEL_SIZE = ("--voxel-size", 3.7, 3.7, 5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    write_l0(folder, KO)
    write_l2(folder, TODAY, seed=3)
    return folder


@pytest.fixture(scope="module")
def dataset(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the cohort, only to be read."""
    folder = tmp_path_factory.mktemp("dataset") / "dataset"
    done = called("package", cohort, "-o", folder, *VOXEL_SIZE, "--no-report")
    assert (done.returncode, done.stdout) == (0, "")
    return folder


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    """A cohort of one run, which lacks a slice."""
    run = write_l0(tmp_path / "source", KO_NAME)
    slices_of(run / "640_FRST")[4].unlink()
    return tmp_path / "source"


def test_the_version_and_those_of_all_that_decides_what_comes_out() -> None:
    done = command("--version")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"catnip2bids {catnip2bids.__version__}", f"Python {platform.python_version()}"]
    assert f"BIDS {bids_version()}" in lines
    for library in ("numpy", "tensorstore", "tifffile", "imagecodecs", "zarr", "bids-validator-deno"):
        assert f"{library} {version(library)}" in lines


def test_the_versions_are_told_without_importing_what_takes_long() -> None:
    code = "import sys, catnip2bids.versions as v; v.versions(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "tensorstore", "bidsschematools", "rich", "typer"} & set(loaded)


def test_what_is_not_installed_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_is_there(library: str) -> str:
        raise PackageNotFoundError(library)

    monkeypatch.setattr("catnip2bids.versions.version", nothing_is_there)
    monkeypatch.setattr("catnip2bids.versions.find_spec", lambda _: None)
    found = versions()
    assert found["dandi"] == "not installed (extra dandi)"
    assert found["numpy"] == "not installed; install catnip2bids again"
    assert found["BIDS"] == "unknown"


def test_the_module_is_the_same_program() -> None:
    script = Path(sys.executable).with_name("catnip2bids")
    by_name = subprocess.run([script, "scan", "nowhere"], capture_output=True, text=True, check=False)
    words = [sys.executable, "-m", "catnip2bids", "scan", "nowhere"]
    by_module = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (by_name.returncode, by_name.stderr) == (2, by_module.stderr)
    assert by_module.returncode == 2
    assert "nowhere: does not exist" in by_module.stderr


def in_bash(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in bash, where `catnip2bids` is found, as a user at home would."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [bash, "--norc", "-c", f"{script}\ntrue"],  # true: else bash becomes the last program itself
        env=os.environ | {"PATH": path, "HOME": str(home), "SHELL": bash},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )


_OFFER = """
offer() {
  COMP_WORDS=(catnip2bids "$@"); COMP_CWORD=$#; COMPREPLY=()
  _catnip2bids_completion catnip2bids; echo "${COMPREPLY[@]}"
}
"""


@pytest.mark.slow
def test_bash_completes(tmp_path: Path) -> None:
    offered = {
        "pack": {"package"},
        "package --voxel": {"--voxel-size"},
        "package --format ''": {"ome-zarr", "ome-tiff"},
        "convert --kind l": {"labels"},
    }
    lines = "\n".join(f"offer {words}" for words in offered)
    done = in_bash(f'eval "$(catnip2bids --show-completion; true)"; {_OFFER}{lines}', tmp_path)
    assert [set(line.split()) for line in done.stdout.splitlines()] == [*offered.values()], done.stderr


@pytest.mark.slow
def test_completion_installs_itself(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n", encoding="utf-8")
    in_bash("catnip2bids --install-completion", tmp_path)
    assert (tmp_path / ".bashrc").read_text(encoding="utf-8").startswith("# mine\n")
    done = in_bash(f"source ~/.bashrc; {_OFFER}offer rest", tmp_path)
    assert done.stdout.split() == ["restore"], done.stderr


@pytest.mark.parametrize("name", ["demo", "scan", "package", "validate"])
def test_help_has_an_example(name: str) -> None:
    done = called(name, "--help")
    assert done.returncode == 0
    assert f"catnip2bids {name}" in done.stdout
    assert "Example" in done.stdout


def test_help_lists_the_commands() -> None:
    done = called("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("demo", "scan", "package", "validate"))


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("packge",),
        ("package",),
        ("package", "x"),
        ("scan",),
        ("scan", "nowhere"),
        ("validate", "nowhere"),
        ("validate", "."),
        ("package", "nowhere", "-o", "out", *VOXEL_SIZE),
        ("package", ".", "-o", "out", "--voxel-size", 3.7, 3.7),
        ("package", ".", "-o", "out", "--voxel-size", "a", "b", "c"),
        ("package", ".", "-o", "out", "--voxel-size", 0, 0, 0),
        ("package", ".", "-o", "out", *VOXEL_SIZE, "--naming", "other"),
        ("package", ".", "-o", "out", *VOXEL_SIZE, "--ome-zarr-version", "0.3"),
        ("package", ".", "-o", "out", *VOXEL_SIZE, "--plan", "nowhere.toml"),
    ],
)
def test_mistakes_end_with_2_and_write_nothing(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    done = called(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert not done.stdout or not arguments  # without arguments it is the help
    assert not list(tmp_path.iterdir())


def test_the_processors_of_a_report_are_limited(tmp_path: Path) -> None:
    done = called("report", "dataset", "--jobs", 0, cwd=tmp_path)
    assert (done.returncode, "Invalid value for '--jobs'" in done.stderr) == (2, True)


def test_scan_prints_a_table_and_writes_the_plan_and_nothing_else(cohort: Path, tmp_path: Path) -> None:
    before = state_of(cohort)
    done = called("scan", cohort, cwd=tmp_path)
    assert done.returncode == 0
    assert not done.stdout
    for word in ("640_N4", "sub-45670ko", "36 x 40 x 12", "uint16", "atlaslabel_def_origspace_masked", "exclude"):
        assert word in done.stderr, word
    assert [path.name for path in tmp_path.iterdir()] == ["plan.toml"]
    assert state_of(cohort) == before


def test_scan_as_json(cohort: Path, tmp_path: Path) -> None:
    done = called("scan", cohort, "-o", tmp_path / "my.toml", "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert [run["subject"] for run in document["runs"]] == ["45670ko", "46001wt"]
    entries = {entry["source"]: entry for run in document["runs"] for entry in run["entries"]}
    assert entries["640_N4"]["shape_zyx"] == [12, 40, 36]
    assert str(tmp_path) not in done.stdout


def test_scan_does_not_overwrite_a_plan_that_was_corrected(cohort: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    assert called("scan", cohort, "-o", plan).returncode == 0
    assert called("scan", cohort, "-o", plan).returncode == 0  # it says the same
    plan.write_text(plan.read_text(encoding="utf-8").replace("authors = []", 'authors = ["Me"]'), encoding="utf-8")
    done = called("scan", cohort, "-o", plan)
    assert done.returncode == 2
    assert "plan.toml" in done.stderr
    assert '"Me"' in plan.read_text(encoding="utf-8")
    assert called("scan", cohort, "-o", plan, "--overwrite").returncode == 0
    assert '"Me"' not in plan.read_text(encoding="utf-8")


@pytest.mark.parametrize(("plan", "content"), [("my.toml", "mine"), ("nowhere/file/plan.toml", None), (".", None)])
def test_scan_refuses_a_plan_that_cannot_be_written_before_it_scans(
    cohort: Path, tmp_path: Path, plan: str, content: str | None
) -> None:
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere/file").write_text("x")
    if content:
        (tmp_path / plan).write_text(content)
    before = state_of(tmp_path)
    done = called("scan", cohort, "-o", plan, cwd=tmp_path)
    assert done.returncode == 2
    assert "640_N4" not in done.stderr
    assert plan in done.stderr
    assert state_of(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "name", "more"),
    [
        *((called, "verify", ()), (called, "validate", ()), (command, "report", ()), (command, "view", ())),
        *((command, "restore", ("-o", "out")), (called, "package", ("-o", "out", *VOXEL_SIZE))),
        *((command, "convert", ("out.ome.zarr", *VOXEL_SIZE)), (command, "compare", ("nowhere",))),
    ],
)
def test_a_path_that_does_not_exist_is_told_from_one_that_is_something_else(
    tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]], name: str, more: tuple[object, ...]
) -> None:
    done = run(name, "nowhere", *more, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere: does not exist" in done.stderr
    assert not list(tmp_path.iterdir())


def test_slices_cannot_be_viewed_but_converted(tmp_path: Path) -> None:
    run = write_l0(tmp_path, KO_NAME)
    done = called("view", run / "640_N4", "--no-browser")
    assert done.returncode == 2
    assert f"catnip2bids convert {run / '640_N4'} image.ome.zarr" in done.stderr


def test_each_problem_of_a_volume_is_a_line(tmp_path: Path) -> None:
    for name, shape in (("a", (3, 20, 20)), ("b", (2, 20, 21))):
        write_slices(tmp_path / "both", some_image(shape), f"{name}_{{plane:02}}.tif")
    done = called("convert", tmp_path / "both", tmp_path / "out.ome.zarr", *VOXEL_SIZE)
    first, *others = done.stderr.splitlines()
    assert done.returncode == 2
    assert "are not named like" in first
    assert others
    assert all(line.startswith(f"error: {tmp_path / 'both'}") for line in (first, *others))


def test_scan_of_several_runs_given_directly(cohort: Path, tmp_path: Path) -> None:
    done = called("scan", cohort / KO, cohort / TODAY, "-o", tmp_path / "plan.toml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plan.toml").read_text(encoding="utf-8").count("[[run]]") == 2


def test_scan_from_within_a_run_does_not_write_into_it(tmp_path: Path) -> None:
    """The source is never written to: the plan would be a new entry of the run."""
    run = write_l0(tmp_path, KO_NAME)
    before = state_of(run)
    done = called("scan", ".", cwd=run)
    assert done.returncode == 0
    assert "no plan is written: plan.toml" in done.stderr
    asked_for = called("scan", ".", "-o", "plan.toml", cwd=run)
    assert asked_for.returncode == 2
    elsewhere = called("scan", ".", "-o", tmp_path / "plan.toml", cwd=run)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert "sub-45670ko" in elsewhere.stderr
    assert state_of(run) == before


@pytest.mark.slow
def test_scan_names_problems_and_ends_with_1(incomplete: Path, tmp_path: Path) -> None:
    done = command("scan", incomplete, "-o", tmp_path / "plan.toml", "--json")
    assert done.returncode == 1
    assert "640_FRST" in done.stderr
    assert "plan.toml: the plan; settle the problem first: " in done.stderr
    assert any("640_FRST" in problem for problem in json.loads(done.stdout)["problems"])


@pytest.mark.usefixtures("no_dandi")
def test_plan_correct_package_and_validate(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", TODAY_NAME)
    plan = tmp_path / "plan.toml"
    assert called("scan", tmp_path / "source", "-o", plan).returncode == 0
    text = plan.read_text(encoding="utf-8").replace('subject = ""', 'subject = "46001wt"')
    text = text.replace('sample = ""', 'sample = "LeftHemisphere"')
    plan.write_text(text.replace("# voxel_size_um = []", "voxel_size_um = [3.7, 3.7, 5.0]"), encoding="utf-8")
    done = called("package", tmp_path / "source", "-o", tmp_path / "out", "--plan", plan)
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert (tmp_path / "out/docs/report/index.html").is_file()
    checked = called("validate", tmp_path / "out", "--json")
    assert checked.returncode == 0, checked.stderr
    document = json.loads(checked.stdout)
    assert document["ok"] is True
    assert str(tmp_path) not in checked.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("no_validators")
def test_validate_ends_with_1_for_an_invalid_dataset(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "out")
    assert called("validate", tmp_path / "out").returncode == 0
    (tmp_path / "out/samples.tsv").unlink()
    done = called("validate", tmp_path / "out")
    assert done.returncode == 1
    assert not done.stdout
    assert "samples.tsv" in done.stderr


def test_without_a_voxel_size_it_says_where_to_find_it(cohort: Path, tmp_path: Path) -> None:
    done = called("package", cohort, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "--voxel-size" in done.stderr
    assert "microscope" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_subject_it_says_what_to_do(tmp_path: Path) -> None:
    write_l2(tmp_path / "source", TODAY_NAME)
    done = called("package", tmp_path / "source", "-o", tmp_path / "out", *VOXEL_SIZE)
    assert done.returncode == 2
    assert "--subject" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_everything_and_writes_nothing(cohort: Path, dataset: Path, tmp_path: Path) -> None:
    before = state_of(cohort)
    done = called("package", cohort, "-o", tmp_path / "out", *VOXEL_SIZE, "--dry-run")
    assert done.returncode == 0
    assert not done.stdout
    assert not list(tmp_path.iterdir())
    assert state_of(cohort) == before
    shown = done.stderr.replace("\n", "")
    assert images_of(dataset)
    for image in images_of(dataset):
        assert image.split("/")[-1] in shown
    assert "atlaslabel_def_origspace_masked" in shown


def test_a_dry_run_names_problems_and_ends_with_1(incomplete: Path, tmp_path: Path) -> None:
    done = called("package", incomplete, "-o", tmp_path / "out", *VOXEL_SIZE, "--dry-run")
    assert done.returncode == 1
    assert "640_FRST" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_line_and_the_api_make_the_same(cohort: Path, tmp_path: Path) -> None:
    options = ("--embed-labels", "--ome-zarr-version", "0.4", "--naming", "dseg", "--stain", "Npas4", "--no-report")
    done = called("package", cohort, "-o", tmp_path / "a", *VOXEL_SIZE, *options)
    assert done.returncode == 0, done.stderr
    made = catnip2bids.Settings(
        voxel_size_um=(3.7, 3.7, 5.0),
        embed_labels=True,
        naming=catnip2bids.Naming.DSEG,
        ome_zarr_version=type(catnip2bids.Settings().ome_zarr_version)("0.4"),
        stain="Npas4",
        report=False,
    )
    assert catnip2bids.package([cohort], tmp_path / "b", made).ok
    assert dataset_files(tmp_path / "a") == dataset_files(tmp_path / "b")
    again = called("package", cohort, "-o", tmp_path / "a", *VOXEL_SIZE, *options)
    assert again.returncode == 0
    assert "there already" in again.stderr
    replaced = called("package", cohort, "-o", tmp_path / "a", *VOXEL_SIZE, *options, "--overwrite")
    assert (replaced.returncode, "made" in replaced.stderr) == (0, True)


@pytest.mark.slow
@pytest.mark.usefixtures("no_validators", "no_plots")
def test_the_demo_twice(tmp_path: Path) -> None:
    """With a smaller cohort than the demo makes up, and without validators, which `make demo` asks."""
    write_cohort(tmp_path / "demo/cohort", shape=SHAPE)
    write_atlas_table(tmp_path / "demo/atlas_info.txt")
    first = called("demo", tmp_path / "demo")
    assert first.returncode == 0, first.stderr
    assert not first.stdout
    assert "look at" in first.stderr
    assert len(list((tmp_path / "demo/dataset").glob("sub-*"))) == 2
    content = dataset_files(tmp_path / "demo/dataset")
    second = called("demo", tmp_path / "demo")
    assert second.returncode == 0, second.stderr
    assert dataset_files(tmp_path / "demo/dataset") == content
    assert "there already" in second.stderr


def test_the_demo_writes_only_its_cohort_if_that_is_all_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.demo.make_demo.write_cohort", partial(write_cohort, shape=SHAPE))
    done = called("demo", tmp_path / "demo", "--cohort-only")
    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["atlas_info.txt", "cohort"]
    assert str(tmp_path / "demo/cohort") in done.stderr
    assert len(scan([tmp_path / "demo/cohort"]).runs) == 2


def test_the_demo_does_not_touch_another_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    done = called("demo", tmp_path)
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("words", [["scan"], ["verify"], ["validate"], ["report"], ["view"], ["demo"]])
def test_an_argument_that_is_too_long_is_refused(words: list[str]) -> None:
    done = called(*words, "n" * 300)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("File name too long; give a shorter name, or a place with a shorter path")
