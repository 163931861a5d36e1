"""Each example is run as it stands there, on one made-up cohort."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import catnip2bids
from demo_cohort import demo_cohort, demo_dataset
from fork_server import LEAVE_OUT_DANDI, LEAVE_OUT_PLOTS, SCRIPT, start
from repo import REPO

__all__ = ["demo_cohort", "demo_dataset"]

EXAMPLES = sorted((REPO / "examples").glob("*.py"))
SAID = {
    "check_dataset": "Verification dataset: 20 images, 186 planes, 134 other files, originals read too, 0 problems",
    "compare_components": "relation of the second to the first: 2-is-1-masked",
    "convert_volume": "ConvertedImage brain.ome.btf: 36 x 40 x 12 voxels, uint16",
    "correct_plan": "PackageResult dataset-of-plan: 18 images made",
    "follow_progress": "100 %",
    "look_at_dataset": "answers with 200",
    "package_cohort": "sub-10001ko_sample-LeftHemisphere_stain-cFos: 8 images, 2 tables, 1 excluded",
    "read_dataset": "most cells: ",
    "remove_animal": "Verification dataset-of-one: 8 images",
    "restore_originals": "Comparison cohort and restored: identical",
    "scan_cohort": "atlaslabel_def_origspace: atlas, (12, 40, 36) uint16",
    "share_dataset": "sub-10001ko_sample-LeftHemisphere_stain-cFos, image, atlas regions and cells: ",
    "use_cluster": "dataset-of-cluster: 20 images made",
}


@pytest.fixture(scope="module")
def desk(demo_cohort: Path, demo_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort, and its dataset."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(demo_cohort, folder / "cohort")
    shutil.copytree(demo_dataset, folder / "dataset")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_the_example_runs(desk: Path, script: Path) -> None:
    if script.stem == "use_cluster":  # its workers import the script
        done = subprocess.run([sys.executable, script], cwd=desk, capture_output=True, text=True, check=False)
    else:
        done = start(f"{LEAVE_OUT_DANDI}{LEAVE_OUT_PLOTS}{SCRIPT}", script, cwd=desk).finished()
    assert (done.returncode, done.stderr) == (0, "")
    assert SAID[script.stem] in done.stdout


@pytest.mark.slow
def test_an_example_makes_up_a_cohort_where_there_is_none(tmp_path: Path) -> None:
    done = start(SCRIPT, REPO / "examples/scan_cohort.py", cwd=tmp_path).finished()
    assert (done.returncode, done.stderr) == (0, "")
    assert SAID["scan_cohort"] in done.stdout


def test_all_examples_are_listed() -> None:
    listed = re.findall(r"\]\((\w+)\.py\)", (REPO / "examples/README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(SAID) == [script.stem for script in EXAMPLES]


def test_each_function_has_an_example() -> None:
    text = "".join(script.read_text(encoding="utf-8") for script in EXAMPLES)
    functions = {name for name in catnip2bids.__all__ if inspect.isfunction(getattr(catnip2bids, name))}
    # a plan that is a file is read by package itself
    assert {name for name in functions if f"catnip2bids.{name}(" not in text} == {"read_plan"}


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_examples_are_short(script: Path) -> None:
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 45
