"""The main job: from source folders to a valid dataset."""

from catnip2bids.choices import Naming
from catnip2bids.packaging.estimating import Estimate, estimate
from catnip2bids.packaging.prepare import Preparation, prepare
from catnip2bids.packaging.removing import remove_animal
from catnip2bids.packaging.result import PackageResult
from catnip2bids.packaging.run import carry_out, draw_report, package, preparation
from catnip2bids.packaging.settings import Settings

__all__ = [
    "Estimate",
    "Naming",
    "PackageResult",
    "Preparation",
    "Settings",
    "carry_out",
    "draw_report",
    "estimate",
    "package",
    "preparation",
    "prepare",
    "remove_animal",
]
