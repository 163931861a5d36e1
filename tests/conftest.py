"""Settings for all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache
from unittest.mock import patch

import pytest
from hypothesis import settings

from catnip2bids.versions import installed_versions

settings.register_profile("without deadline", deadline=None)  # machines that run tests are busy
settings.load_profile("without deadline")


@pytest.fixture(scope="session", autouse=True)
def without_waiting() -> Iterator[None]:
    """Do what takes long in each test once, or not at all, in the process of the tests; programs do it all.

    The versions of libraries are read once, and no disk is waited for: only that a descriptor is open is looked at.
    """
    versions = cache(installed_versions)
    with patch("catnip2bids.packaging.package_runs.installed_versions", versions), patch("os.fsync", os.fstat):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest test begin first, so that no process waits for it in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/test_fuzzed_datasets.py"))


def pytest_collection_finish() -> None:
    """Look no more through what was imported and collected when garbage is: it stays to the end."""
    gc.collect()
    gc.freeze()
