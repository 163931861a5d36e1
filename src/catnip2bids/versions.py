"""The versions of everything that influences the output, for `catnip2bids --version` and bug reports.

Invariant: no library is imported, so the answer is fast and also comes if one of them is broken.
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
    """Return the versions of the program, Python, the system, BIDS, and the installed libraries, by name."""
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
    """Return the installed versions, with a note for each library that is not installed."""
    missing = dict.fromkeys(_LIBRARIES, "not installed; install catnip2bids again")
    missing |= {name: f"not installed (extra {extra})" for name, extra in _EXTRAS.items()}
    found = installed_versions()
    return found | {name: said for name, said in missing.items() if name not in found}


def _bids_version() -> str:
    """Search the version of BIDS in the text of the schema, because parsing the schema is slow."""
    package = find_spec("bidsschematools")
    if package is None or package.origin is None:
        return "unknown"
    try:
        found = _BIDS_VERSION.search(Path(package.origin).with_name("data").joinpath("schema.json").read_bytes())
    except OSError:
        return "unknown"
    return found[1].decode() if found else "unknown"
