"""The ways and the Python environments they run in.

Invariant: a way that names dependencies (as inline script metadata, https://peps.python.org/pep-0723/) runs in an
environment of its own that has these and nothing else of ours; their versions exclude each other, so one environment
for all could not be. Every other way runs in the environment of catnip2bids.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from measuring import last_line

WAYS: Final = Path(__file__).parent / "ways"
OURS: Final = "ours"
LIMITS: Final = ("decode_only", "encode_only")
"""Ways that do a part of the work: one after the other, nothing could be done in less."""
READING_STACKS: Final = ("bioio_conversion_api",)
"""Ways of tools that read one file only: they get the planes as a TIFF stack beside the series."""
ENVIRONMENTS: Final = Path(__file__).parents[1] / ".venv-benchmarks"
_SCRIPT_METADATA: Final = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)
_LIBRARIES: Final = ("dask", "imagecodecs", "numcodecs", "numpy", "tensorstore", "tifffile", "zarr")
_TELL_VERSIONS: Final = """
import importlib.metadata, json, platform, sys
found = {"Python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class ToolError(Exception):
    """A tool cannot be installed."""


def all_ways() -> list[str]:
    """List the names of all ways: ours, the other tools, the limits."""
    names = {path.stem for path in WAYS.glob("[!_]*.py")}
    return sorted(names, key=lambda name: (name != OURS, name in LIMITS, name))


def requirements(way: str) -> list[str]:
    """Read the dependencies that a way names; none if it runs with those of catnip2bids."""
    block = _SCRIPT_METADATA.search((WAYS / f"{way}.py").read_text(encoding="utf-8"))
    if block is None:
        return []
    table = tomllib.loads(re.sub(r"^# ?", "", block[1], flags=re.MULTILINE))
    return [str(name) for name in table.get("dependencies", [])]


def prepare(way: str, base_python: str) -> str:
    """Make the environment of a way if it is missing or was made for other dependencies.

    Parameters
    ----------
    way
        Name of the way.
    base_python
        Python to make it with.

    Returns
    -------
    The Python to run the way with.

    Raises
    ------
    ToolError
        If it cannot be made; the message is the last line that pip said.
    """
    wanted = requirements(way)
    if not wanted:
        return sys.executable
    folder = ENVIRONMENTS / way
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    text = "\n".join(wanted) + "\n"
    if installed.is_file() and installed.read_text(encoding="utf-8") == text:
        return str(python)
    ENVIRONMENTS.mkdir(exist_ok=True)
    (ENVIRONMENTS / ".gitignore").write_text("*\n", encoding="utf-8")
    _run(base_python, "-m", "venv", "--clear", str(folder))
    _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
    installed.write_text(text, encoding="utf-8")
    return str(python)


def versions(way: str, python: str) -> dict[str, str]:
    """Ask for the versions of Python, the tool, and the libraries that do the work."""
    named = [re.split(r"[^\w.-]", requirement)[0] for requirement in requirements(way)] or ["catnip2bids"]
    found = json.loads(_run(python, "-c", _TELL_VERSIONS, *dict.fromkeys([*named, *_LIBRARIES])))
    return {str(name): str(version) for name, version in found.items()}


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise ToolError(last_line(error.stderr or error.stdout)) from error
    except OSError as error:
        raise ToolError(f"{command[0]}: {error.strerror}") from error
