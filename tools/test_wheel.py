"""Build the wheel and run the tests against it, installed in clean environments, as users get it.

    python tools/test_wheel.py                          lowest and newest dependencies, all Pythons that are found
    python tools/test_wheel.py python3.11 python3.13    these
    python tools/test_wheel.py --only lowest python3.11 -- tests/test_cli.py

The lowest versions that pyproject.toml allows are tested with the oldest Python, the newest with each. Needs uv.
Invariant: what is imported by the tests is the installed wheel, never the folder src.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPO: Final = Path(__file__).resolve().parents[1]
OLDEST: Final = 11
CANDIDATES: Final = tuple(f"python3.{minor}" for minor in range(OLDEST, 20))
LOWEST, NEWEST = "lowest", "newest"
_RESOLUTION: Final = {LOWEST: "lowest-direct", NEWEST: "highest"}
# dandi holds others back, which a user who installs catnip2bids alone does not have
_EXTRAS: Final = {LOWEST: ("test", "dandi"), NEWEST: ("test",)}
_WHERE: Final = "import catnip2bids; print(catnip2bids.__file__)"
_WHO: Final = "import sys; print(sys.executable); print(*sys.version_info[:2], sep='.')"


@dataclass(frozen=True)
class Python:
    """A Python that starts: its program, and its version such as ``3.11``."""

    program: str
    version: str

    @property
    def minor(self) -> int:
        """The number after ``3.``."""
        return int(self.version.partition(".")[2])


def find_python(name: str) -> Python | None:
    """Return the Python of that name; None if it is not here, or is a stand-in that does not start."""
    program = shutil.which(name)
    if program is None:
        return None
    asked = subprocess.run([program, "-c", _WHO], capture_output=True, text=True, check=False)
    return Python(*asked.stdout.split("\n")[:2]) if asked.returncode == 0 else None


def rounds_of(pythons: Sequence[Python], only: str | None) -> list[tuple[Python, str]]:
    """List what is tested: each Python with the newest dependencies, the oldest with the lowest ones first."""
    lowest = [(min(pythons, key=lambda python: python.minor), LOWEST)]
    newest = [(python, NEWEST) for python in pythons]
    return [found for found in (*lowest, *newest) if only in (None, found[1])]


def build_wheel(uv: str, folder: Path) -> Path:
    """Build the sdist, and the wheel from it."""
    subprocess.run([uv, "build", "--quiet", "--out-dir", folder, REPO], check=True)
    return next(folder.glob("*.whl"))


def tests_pass(uv: str, wheel: Path, python: Python, dependencies: str, tests: Sequence[str]) -> bool:
    """Install the wheel into a new environment and run the tests there; tells whether all passed."""
    with tempfile.TemporaryDirectory(prefix="catnip2bids-") as folder:
        environment = Path(folder) / "environment"
        inside = environment / "bin" / "python"
        subprocess.run([uv, "venv", "--quiet", "--python", python.program, environment], check=True)
        install: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", inside]
        extras = [f"--extra={extra}" for extra in _EXTRAS[dependencies]]
        # from pyproject.toml: what a wheel depends on is not direct for uv
        wanted: list[str | Path] = [f"--resolution={_RESOLUTION[dependencies]}", "-r", REPO / "pyproject.toml", *extras]
        subprocess.run([*install, *wanted], check=True)
        subprocess.run([*install, wheel], check=True)
        where = subprocess.run([inside, "-c", _WHERE], cwd=folder, capture_output=True, text=True, check=True).stdout
        if not Path(where.strip()).is_relative_to(environment):
            raise SystemExit(f"the tests would import {where.strip()} instead of the wheel")
        words = [str(environment / "bin" / "pytest"), "-p", "no:cacheprovider", *tests]
        return subprocess.run(words, cwd=REPO, check=False).returncode == 0


def say(text: str) -> None:
    """Print a line at once, before what the programs print that are started next."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def chosen_pythons(names: Sequence[str]) -> list[Python]:
    """Return the Pythons that were asked for, or else all that are found; says which are not here."""
    found = {name: find_python(name) for name in names or CANDIDATES}
    missing = [name for name, python in found.items() if python is None]
    pythons = [python for python in found.values() if python is not None]
    if missing and (names or not pythons):
        raise SystemExit(f"not found on PATH, or does not start: {', '.join(missing)}")
    say(f"Pythons: {', '.join(python.version for python in pythons)}; not found: {', '.join(missing) or 'none'}")
    too_old = [python.program for python in pythons if python.minor < OLDEST]
    if too_old:
        raise SystemExit(f"older than 3.{OLDEST}: {', '.join(too_old)}")
    return pythons


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="such as python3.13 (default: all on PATH)")
    parser.add_argument("--only", choices=[LOWEST, NEWEST], help="these dependencies only")
    parser.add_argument("--dry-run", action="store_true", help="say what would be tested with, and stop")
    words = sys.argv[1:]
    at = words.index("--") if "--" in words else len(words)
    given, tests = parser.parse_args(words[:at]), words[at + 1 :] or ["-n", "auto"]
    pythons = chosen_pythons(given.pythons)
    if given.dry_run:
        return 0
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is not installed; install it with pip install uv")
    results: dict[str, bool] = {}
    with tempfile.TemporaryDirectory(prefix="catnip2bids-wheel-") as folder:
        wheel = build_wheel(uv, Path(folder))
        for python, dependencies in rounds_of(pythons, given.only):
            name = f"Python {python.version}, {dependencies} dependencies"
            say(f"\n{name}")
            results[name] = tests_pass(uv, wheel, python, dependencies, tests)
    say("")
    for name, passed in results.items():
        say(f"{name}: {'passed' if passed else 'FAILED'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
