"""The recipes of containers: what they copy and install is there; they are built where something can build them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from repo import REPO

DOCKERFILE = REPO / "Dockerfile"
DEFINITION = REPO / "containers/catnip2bids.def"


def copied_by_docker() -> list[tuple[str, str]]:
    """What is copied from the repository, and to where below /source."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return [(name, words.split()[-1]) for words in lines for name in words.split()[:-1]]


def copied_by_apptainer() -> list[tuple[str, str]]:
    section = DEFINITION.read_text(encoding="utf-8").partition("%files\n")[2].partition("\n\n")[0]
    return [(words.split()[0], words.split()[1]) for words in section.splitlines()]


def installed_by(recipe: Path) -> list[str]:
    found = re.search(r"pip install .*--constraint (\S+) '\.\[(\w+(?:,\w+)*)\]'", recipe.read_text(encoding="utf-8"))
    assert found is not None
    return [found[1], *found[2].split(",")]


def test_both_copy_the_same_and_all_of_it_is_there() -> None:
    names = [name for name, _ in copied_by_docker()]
    assert names == [name for name, _ in copied_by_apptainer()]
    assert all((REPO / name).exists() for name in names)
    assert all(place == f"/source/{name}" for name, place in copied_by_apptainer())
    assert {place for _, place in copied_by_docker()} == {"./", "./src"}


def test_all_that_the_build_reads_is_copied() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["tool"]["hatch"]["version"]["path"]
    read = [project["project"]["readme"], *project["project"]["license-files"], version, "pyproject.toml"]
    names = {name for name, _ in copied_by_docker()}
    assert {path.partition("/")[0] for path in read} <= names


def test_docker_may_see_all_that_it_copies() -> None:
    seen = {line[1:] for line in (REPO / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    assert seen == {name for name, _ in copied_by_docker()}


@pytest.mark.parametrize("recipe", [DOCKERFILE, DEFINITION], ids=lambda recipe: recipe.name)
def test_the_same_is_installed_that_the_project_offers(recipe: Path) -> None:
    constraints, *extras = installed_by(recipe)
    assert constraints in {name for name, _ in copied_by_docker()}
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras) <= project["optional-dependencies"].keys()
    base = re.search(r"python:(3\.\d+)-", recipe.read_text(encoding="utf-8"))
    assert base is not None
    assert f"Programming Language :: Python :: {base[1]}" in project["classifiers"]


@pytest.mark.parametrize("recipe", [DOCKERFILE, DEFINITION], ids=lambda recipe: recipe.name)
def test_nothing_but_our_program_is_started(recipe: Path) -> None:
    started = re.findall(r"^(?:ENTRYPOINT |    exec )(.+)$", recipe.read_text(encoding="utf-8"), re.MULTILINE)
    assert started in (['["catnip2bids"]'], ['catnip2bids "$@"'])


def builder(name: str) -> str | None:
    """Return the program if it is here and can build: Docker needs a server, and both the network."""
    program = shutil.which(name)
    question = {"docker": ["manifest", "inspect", "python:3.11-slim-bookworm"], "apptainer": ["version"]}[name]
    if program is None:
        return None
    try:
        return (
            program if subprocess.run([program, *question], capture_output=True, timeout=60).returncode == 0 else None
        )
    except subprocess.TimeoutExpired:
        return None


def test_docker_builds_it() -> None:
    docker = builder("docker")
    if docker is None:
        pytest.skip("Docker is not here, or cannot get its base image")
    subprocess.run([docker, "build", "-t", "catnip2bids-test", REPO], check=True)
    told = [docker, "run", "--rm", "catnip2bids-test", "--version"]
    assert subprocess.run(told, check=True, capture_output=True, text=True).stdout.startswith("catnip2bids ")


def test_apptainer_builds_it(tmp_path: Path) -> None:
    apptainer = builder("apptainer")
    if apptainer is None:
        pytest.skip("Apptainer is not here")
    image = tmp_path / "catnip2bids.sif"
    subprocess.run([apptainer, "build", str(image), str(DEFINITION)], cwd=REPO, check=True)
    told = [apptainer, "run", str(image), "--version"]
    assert subprocess.run(told, check=True, capture_output=True, text=True).stdout.startswith("catnip2bids ")
