"""The main command: package source folders as a valid dataset."""

from catnip2bids.packaging.estimate_size import expected_result
from catnip2bids.packaging.package_runs import package, preflight_with_resources, write_dataset
from catnip2bids.packaging.preflight import Preflight, run_preflight
from catnip2bids.packaging.removal import remove_animal
from catnip2bids.packaging.result import Estimate, PackageResult
from catnip2bids.packaging.settings import Settings

__all__ = [
    "Estimate",
    "PackageResult",
    "Preflight",
    "Settings",
    "expected_result",
    "package",
    "preflight_with_resources",
    "remove_animal",
    "run_preflight",
    "write_dataset",
]
