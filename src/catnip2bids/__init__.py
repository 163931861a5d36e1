"""catnip2bids: CATNIP's output folders as a BIDS microscopy dataset, every pixel accounted for.

`scan` finds runs and takes a census, `package` makes the dataset, `validate` checks it, `verify` proves that its pixels
are those that were read, `report` draws pages to look at, `view` shows images with their labels, `restore` makes the
original files of it again, `convert` makes one image of one volume, and `compare` says how two components differ.
Results are typed objects; all errors are of the family `Catnip2bidsError`.
"""

from typing import TYPE_CHECKING, Any

from catnip2bids._version import __version__

if TYPE_CHECKING:
    from catnip2bids.choices import Compression, Format, Kind, Naming, OmeZarrVersion
    from catnip2bids.comparison import Comparison, compare
    from catnip2bids.conversion import ConvertedImage, convert
    from catnip2bids.errors import Catnip2bidsError
    from catnip2bids.packaging import PackageResult, Settings, package
    from catnip2bids.plan import Plan, make_plan, read_plan
    from catnip2bids.reporting import Report, report
    from catnip2bids.restoration import Restoration, restore
    from catnip2bids.scanning import Scan, scan
    from catnip2bids.validation import ValidationReport, validate
    from catnip2bids.verification import Verification, verify
    from catnip2bids.viewing import Viewing, view

__all__ = [
    "Catnip2bidsError",
    "Comparison",
    "Compression",
    "ConvertedImage",
    "Format",
    "Kind",
    "Naming",
    "OmeZarrVersion",
    "PackageResult",
    "Plan",
    "Report",
    "Restoration",
    "Scan",
    "Settings",
    "ValidationReport",
    "Verification",
    "Viewing",
    "__version__",
    "compare",
    "convert",
    "make_plan",
    "package",
    "read_plan",
    "report",
    "restore",
    "scan",
    "validate",
    "verify",
    "view",
]

# imported when first used: reading pixels takes libraries that `catnip2bids --help` should not wait for
_HOME = {
    "Catnip2bidsError": "errors",
    "Naming": "choices",
    "OmeZarrVersion": "choices",
    "PackageResult": "packaging",
    "Plan": "plan",
    "Report": "reporting",
    "Restoration": "restoration",
    "Scan": "scanning",
    "Comparison": "comparison",
    "Compression": "choices",
    "ConvertedImage": "conversion",
    "Format": "choices",
    "Kind": "choices",
    "Settings": "packaging",
    "compare": "comparison",
    "convert": "conversion",
    "ValidationReport": "validation",
    "Verification": "verification",
    "Viewing": "viewing",
    "make_plan": "plan",
    "package": "packaging",
    "read_plan": "plan",
    "report": "reporting",
    "restore": "restoration",
    "scan": "scanning",
    "validate": "validation",
    "verify": "verification",
    "view": "viewing",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
