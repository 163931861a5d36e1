"""catnip2bids: CATNIP's output folders as a BIDS microscopy dataset, every pixel accounted for.

The steps, with a function for each:

- `scan` finds runs and inspects everything in them; `make_plan` proposes what to do with it, `write_plan` writes the
  plan for a person to correct, and `read_plan` reads it again;
- `package` makes the dataset; `Settings` describes its options, and `remove_animal` takes an animal out again;
- `validate` checks the dataset, `verify` proves that its pixels are those that were read;
- `report` draws pages to look at, `view` shows images with their labels in a browser, `share` makes links to a
  published dataset;
- `restore` writes the original files back.

`convert` makes one image of one volume, `open_volume` opens a volume as an array, and `compare` says how two components
differ. Each function returns a result with a short representation, and a longer one in notebooks. Its `ok`, if it has
one, tells whether all went well.

Paths are text or `pathlib.Path`. Arrays and shapes are (z, y, x); voxel sizes are X Y Z in micrometers, as in BIDS.
Errors that a user can correct are raised as `Catnip2bidsError`, or a subclass of it in `catnip2bids.errors`, with a
message that names the file and says what to do. To follow the progress of a function, pass it an instance of a subclass
of `Progress`.

The names in ``__all__`` are public, and so are their attributes without a leading underscore. A choice such as
``catnip2bids.Format.OME_TIFF`` may also be given as text, ``"ome-tiff"``.

Examples
--------
Make up a cohort, package and verify it, which takes a second or two:

>>> import tempfile
>>> from pathlib import Path
>>> import catnip2bids
>>> from catnip2bids.demo import write_cohort
>>> folder = Path(tempfile.mkdtemp())
>>> runs = write_cohort(folder / "cohort", shape=(12, 40, 36))
>>> size_um = (3.7, 3.7, 5.0)
>>> result = catnip2bids.package(folder / "cohort", folder / "dataset", voxel_size_um=size_um, report=False)
>>> len(result.made), result.problems
(20, ())
>>> catnip2bids.verify(folder / "dataset").ok
True
"""

from __future__ import annotations

from catnip2bids._version import __version__

TYPE_CHECKING = False  # type checkers take it as true; importing typing would delay how the program handles Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from catnip2bids.catnip.component_type import Action
    from catnip2bids.comparison import Comparison, compare
    from catnip2bids.conversion import ConvertedImage, convert
    from catnip2bids.enums import Cluster, Compression, Format, Kind, Naming, OmeZarrVersion
    from catnip2bids.errors import Catnip2bidsError
    from catnip2bids.packaging import Estimate, PackageResult, Settings, package, remove_animal
    from catnip2bids.plan import Plan, make_plan, read_plan, write_plan
    from catnip2bids.progress import Progress
    from catnip2bids.reporting import Report, report
    from catnip2bids.restoration import Restoration, restore
    from catnip2bids.scanning import Scan, scan
    from catnip2bids.sharing import SharedDataset, share
    from catnip2bids.validation import ValidationReport, validate
    from catnip2bids.verification import Verification, verify
    from catnip2bids.viewing import Viewing, view
    from catnip2bids.volume.volume_array import VolumeArray, open_volume

__all__ = [
    "Action",
    "Catnip2bidsError",
    "Cluster",
    "Comparison",
    "Compression",
    "ConvertedImage",
    "Estimate",
    "Format",
    "Kind",
    "Naming",
    "OmeZarrVersion",
    "PackageResult",
    "Plan",
    "Progress",
    "Report",
    "Restoration",
    "Scan",
    "Settings",
    "SharedDataset",
    "ValidationReport",
    "Verification",
    "Viewing",
    "VolumeArray",
    "__version__",
    "compare",
    "convert",
    "make_plan",
    "open_volume",
    "package",
    "read_plan",
    "remove_animal",
    "report",
    "restore",
    "scan",
    "share",
    "validate",
    "verify",
    "view",
    "write_plan",
]

# imported when first used: reading pixels takes libraries that `catnip2bids --help` should not wait for
_NAMES_IN = {
    "catnip.component_type": ["Action"],
    "comparison": ["Comparison", "compare"],
    "conversion": ["ConvertedImage", "convert"],
    "enums": ["Cluster", "Compression", "Format", "Kind", "Naming", "OmeZarrVersion"],
    "errors": ["Catnip2bidsError"],
    "packaging": ["Estimate", "PackageResult", "Settings", "package", "remove_animal"],
    "plan": ["Plan", "make_plan", "read_plan", "write_plan"],
    "progress": ["Progress"],
    "reporting": ["Report", "report"],
    "restoration": ["Restoration", "restore"],
    "scanning": ["Scan", "scan"],
    "sharing": ["SharedDataset", "share"],
    "validation": ["ValidationReport", "validate"],
    "verification": ["Verification", "verify"],
    "viewing": ["Viewing", "view"],
    "volume.volume_array": ["VolumeArray", "open_volume"],
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, so that `help` and completion know them before they are imported."""
    return sorted({*globals(), *__all__})
