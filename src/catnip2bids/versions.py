"""What `catnip2bids --version` tells: all that decides what comes out, for reports of bugs.

Invariant: none of the libraries is imported, so it is there at once, even where one of them is broken.
"""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from catnip2bids._version import __version__

_LIBRARIES: Final = (
    "bids-validator-deno",
    "bidsschematools",
    "numpy",
    "tensorstore",
    "zarr",
    "tifffile",
    "imagecodecs",
    "nibabel",
    "ome-types",
    "ome-zarr-models",
    "neuroglancer",
)
_EXTRAS: Final = {"distributed": "cluster", "dandi": "dandi"}
_BIDS_VERSION: Final = re.compile(rb'"bids_version":\s*"([^"]+)"')


def installed_versions() -> dict[str, str]:
    """Return the versions of the program, of Python, the system, BIDS, and the libraries that are there, by name."""
    found = {
        "catnip2bids": __version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "BIDS": _bids_version(),
    }
    for name in (*_LIBRARIES, *_EXTRAS):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def versions() -> dict[str, str]:
    """Return the same, and what is said of the libraries that are not there."""
    missing = dict.fromkeys(_LIBRARIES, "not installed; install catnip2bids again")
    missing |= {name: f"not installed (extra {extra})" for name, extra in _EXTRAS.items()}
    found = installed_versions()
    return found | {name: said for name, said in missing.items() if name not in found}


def _bids_version() -> str:
    """Read the version of BIDS out of the schema's text; to parse all of it would take longer than everything else."""
    package = find_spec("bidsschematools")
    if package is None or package.origin is None:
        return "unknown"
    try:
        found = _BIDS_VERSION.search(Path(package.origin).with_name("data").joinpath("schema.json").read_bytes())
    except OSError:
        return "unknown"
    return found[1].decode() if found else "unknown"
