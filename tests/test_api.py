"""The public face: what `import catnip2bids` gives, and what its help says."""

from __future__ import annotations

import doctest
import inspect
import pydoc
import shutil
import subprocess
import sys
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import get_origin, get_type_hints

import pytest

import catnip2bids
from catnip2bids.packaging.settings import Options
from demo_cohort import demo_cohort, demo_dataset
from in_process import no_dandi, no_plots

__all__ = ["demo_cohort", "demo_dataset", "no_dandi", "no_plots"]

FUNCTIONS = [name for name in catnip2bids.__all__ if inspect.isfunction(getattr(catnip2bids, name))]
CLASSES = [name for name in catnip2bids.__all__ if inspect.isclass(getattr(catnip2bids, name))]


def test_the_public_face_is_short_and_sorted() -> None:
    assert sorted(catnip2bids.__all__) == catnip2bids.__all__
    assert set(catnip2bids.__all__) - {"__version__"} == {*FUNCTIONS, *CLASSES}
    assert len(catnip2bids.__all__) <= 40


def test_the_contract_names_are_there() -> None:
    assert {"scan", "package", "compare", "convert", "verify", "restore", "validate"} <= set(FUNCTIONS)


def test_importing_it_loads_no_library() -> None:
    code = "import sys, catnip2bids; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "tensorstore", "pydantic", "rich", "typer", "zarr"} & set(loaded)


def test_names_are_known_before_they_are_imported() -> None:
    code = "import catnip2bids; print(*dir(catnip2bids))"
    known = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(catnip2bids.__all__) <= set(known)


def test_choices_are_public_and_so_are_their_texts() -> None:
    choices = [getattr(catnip2bids, name) for name in CLASSES if issubclass(getattr(catnip2bids, name), StrEnum)]
    assert {choice.__name__ for choice in choices} == {
        "Action",
        "Compression",
        "Format",
        "Kind",
        "Naming",
        "OmeZarrVersion",
    }
    assert catnip2bids.Settings(image_format="ome-tiff").image_format is catnip2bids.Format.OME_TIFF  # type: ignore[arg-type]  # texts are taken


def test_package_takes_each_field_of_settings() -> None:
    assert list(Options.__annotations__) == [field.name for field in fields(catnip2bids.Settings)]


RESULTS: tuple[str, ...] = (
    "Comparison",
    "ConvertedImage",
    "Estimate",
    "PackageResult",
    "Report",
    "Restoration",
    "Scan",
)
RESULTS += ("ValidationReport", "Verification")


@pytest.mark.parametrize("name", RESULTS)
def test_results_cannot_be_changed(name: str) -> None:
    result = getattr(catnip2bids, name)
    assert result.__dataclass_params__.frozen
    assert not [name for name, hint in get_type_hints(result).items() if get_origin(hint) in (list, dict)]


def test_help_explains_all_that_is_public() -> None:
    text = pydoc.plain(pydoc.render_doc(catnip2bids))
    for name in (*FUNCTIONS, *CLASSES):
        assert f"    {name}(" in text or f"class {name}" in text, name
    assert "no attribute" not in text


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pakage'"):
        _ = catnip2bids.pakage


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_says_what_it_takes_raises_and_an_example(name: str) -> None:
    function = getattr(catnip2bids, name)
    text = inspect.getdoc(function) or ""
    for title in ("Parameters", "Raises", "Examples"):
        assert f"\n{title}\n{'-' * len(title)}\n" in text, title
    for parameter in inspect.signature(function).parameters:
        assert any(parameter in line.split(", ") for line in text.splitlines()), parameter
    assert "->" in str(inspect.signature(function))


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(catnip2bids, name))


@pytest.fixture
def desk(demo_cohort: Path, demo_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with all that the examples in docstrings speak of."""
    shutil.copytree(demo_cohort, tmp_path / "cohort")
    shutil.copytree(demo_dataset, tmp_path / "dataset")
    (tmp_path / "run").symlink_to(next((tmp_path / "cohort").glob("KO/*")))
    monkeypatch.chdir(tmp_path)


SLOW = ("", "package", "report", "validate")
"""Functions, and the module itself, of which the examples take over a second."""


@pytest.mark.usefixtures("desk", "no_dandi", "no_plots")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in ("", *FUNCTIONS)]
)
def test_examples_in_docstrings_are_true(name: str) -> None:
    tested = getattr(catnip2bids, name) if name else catnip2bids
    names = {public: getattr(catnip2bids, public) for public in catnip2bids.__all__}
    example = doctest.DocTestParser().get_doctest(
        inspect.getdoc(tested) or "", names, name or "catnip2bids", None, None
    )
    assert example.examples
    said: list[str] = []
    assert doctest.DocTestRunner().run(example, out=said.append).failed == 0, "".join(said)
