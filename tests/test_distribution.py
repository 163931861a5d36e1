"""What is handed out: a wheel with the program and nothing else, and an sdist that is the whole repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from trove_classifiers import classifiers

import catnip2bids
from repo import REPO, files_of_repo

PACKAGE = REPO / "src/catnip2bids"
DATA_ENDINGS = {".html", ".css", ".js", ".typed"}
"""What the package holds beside Python; a new kind of file has to be named here, and be in the wheel."""


def built(folder: Path, project: Path = REPO) -> dict[str, Path]:
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "sdist", "-t", "wheel"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return built(tmp_path_factory.mktemp("dist"))


def members_of(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(distributions: dict[str, Path]) -> None:
    expected = {
        f"catnip2bids/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = members_of(distributions[".whl"])
    about = {name.partition(".dist-info/")[2] for name in found if ".dist-info/" in name}
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert {name: data for name, data in found.items() if ".dist-info/" not in name} == expected


def test_the_package_holds_only_known_kinds_of_files(distributions: dict[str, Path]) -> None:
    inside = [PurePosixPath(name) for name in members_of(distributions[".whl"]) if ".dist-info/" not in name]
    assert {path.suffix or path.name for path in inside if path.suffix != ".py"} - {"py.typed"} <= DATA_ENDINGS
    assert any(path.name == "py.typed" for path in inside)


def test_the_sdist_is_the_repository(distributions: dict[str, Path]) -> None:
    """So the tests can be run from it: they read the docs, the benchmarks and what CI does."""
    with tarfile.open(distributions[".gz"]) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert found - {"PKG-INFO"} == files_of_repo()


@pytest.mark.slow
def test_the_sdist_gives_the_same_wheel(distributions: dict[str, Path], tmp_path: Path) -> None:
    with tarfile.open(distributions[".gz"]) as archive:
        archive.extractall(tmp_path, filter="data")
    again = built(tmp_path / "again", tmp_path / f"catnip2bids-{catnip2bids.__version__}")
    assert members_of(again[".whl"]) == members_of(distributions[".whl"])


def metadata_of(wheel: Path) -> bytes:
    return next(data for name, data in members_of(wheel).items() if name.endswith(".dist-info/METADATA"))


def test_the_metadata_are_valid(distributions: dict[str, Path]) -> None:
    found = Metadata.from_email(metadata_of(distributions[".whl"]), validate=True)
    assert found.name == "catnip2bids"
    assert str(found.version) == catnip2bids.__version__
    assert set(found.classifiers or ()) <= classifiers
    assert found.description_content_type == "text/markdown"
    assert (found.description or "").startswith("# catnip2bids")


def test_each_python_that_is_named_may_be_used(distributions: dict[str, Path]) -> None:
    found = BytesParser().parsebytes(metadata_of(distributions[".whl"]))
    prefix = "Programming Language :: Python :: "
    versions = [name.removeprefix(prefix) for name in found.get_all("Classifier", []) if name.startswith(prefix)]
    allowed = SpecifierSet(found["Requires-Python"])
    minors = [version for version in versions if version.startswith("3.")]
    assert minors, "name the versions that the tests are run with"
    assert all(version in allowed for version in minors)


def test_what_is_pinned_for_development_is_allowed() -> None:
    """`make test` is run with versions that a user could have, too."""
    pins = {
        canonicalize_name(name): version
        for line in (REPO / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
        for name, _, version in [line.partition("==")]
    }
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name != "catnip2bids":
            assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement.name


def test_the_citation_is_of_this_version() -> None:
    """https://github.com/citation-file-format: the first keys have to be there, and these values are ours."""
    text = (REPO / "CITATION.cff").read_text(encoding="utf-8")
    citation = dict(re.findall(r"^([a-z-]+):[ \n]+(\S.*)$", text, re.MULTILINE))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"abstract", "type", "keywords", "date-released"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (catnip2bids.__version__, project["license"])
    assert re.findall(r"^  - name: (.+)$", text, re.MULTILINE) == [author["name"] for author in project["authors"]]
