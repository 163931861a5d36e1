"""The demo's cohort and dataset, as small as can be, made once for each process and only to be read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

import catnip2bids
from catnip2bids.demo import write_cohort
from runs import SHAPE, settings


@pytest.fixture(scope="session")
def demo_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort; tests that want to write copy it."""
    return _cohort(tmp_path_factory.getbasetemp() / "demo")


@pytest.fixture(scope="session")
def demo_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its dataset, without a report; tests that want to write copy it."""
    return _dataset(tmp_path_factory.getbasetemp() / "demo")


@cache  # each module that imports a fixture has one of its own
def _cohort(place: Path) -> Path:
    write_cohort(place / "cohort", shape=SHAPE)
    return place / "cohort"


@cache
def _dataset(place: Path) -> Path:
    catnip2bids.package(_cohort(place), place / "dataset", settings())
    return place / "dataset"
