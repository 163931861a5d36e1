"""Settings for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from unittest.mock import patch

import pytest
from hypothesis import settings

from catnip2bids.versions import installed_versions

settings.register_profile("without deadline", deadline=None)  # machines that run tests are busy
settings.load_profile("without deadline")


@pytest.fixture(scope="session", autouse=True)
def versions_read_once() -> Iterator[None]:
    """Let all packaging of this process read the versions of libraries once: it takes a tenth of the time else."""
    with patch("catnip2bids.packaging.package_runs.installed_versions", cache(installed_versions)):
        yield
