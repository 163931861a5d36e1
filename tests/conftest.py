"""The order of the tests: what takes milliseconds comes before what takes seconds, so that a mistake shows early.

Several processes share the tests out among themselves, in the order of the files, so that each needs few of the
datasets that tests of one file share.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("without deadline", deadline=None)  # machines that run tests are busy
settings.load_profile("without deadline")

TESTS = Path(__file__).parent
SLOW = (
    "cli/test_commands.py",
    "cli/test_ends.py",
    "cli/test_terminal.py",
    "engine/test_dask_executor.py",
    "engine/test_volume_to_image.py",
    "engine/test_executors.py",
    "engine/test_lost_workers.py",
    "engine/test_slurm_cluster.py",
    "packaging/test_adding.py",
    "packaging/test_bad_input.py",
    "packaging/test_package_ome_tiff.py",
    "reporting/test_pages_in_browser.py",
    "reporting/test_report.py",
    "restoration/test_restore.py",
    "test_benchmarks.py",
    "test_bombs.py",
    "test_conversion_to_tiff.py",
    "test_docs.py",
    "test_examples.py",
    "test_faults.py",
    "test_interruptions.py",
    "test_safety.py",
    "test_shared_cohort.py",
    "test_site.py",
    "validation/test_validate_run.py",
    "verification/test_verify.py",
    "viewing/test_view_in_browser.py",
    "viewing/test_view_state.py",
    "volume/test_zarr.py",
)
"""Files whose tests together take over 20 s."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests of slow files last, if one process runs all."""
    if not hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.relative_to(TESTS).as_posix() in SLOW)
