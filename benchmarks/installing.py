"""What installing catnip2bids takes, and how long it takes to start.

    python benchmarks/installing.py --rounds 9

Makes a new environment with pip, so it needs what pip needs. Prints tables: megabytes by package, seconds of each
start, and what Python imports for `catnip2bids --help`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

REPO: Final = Path(__file__).parents[1]
_MOST_PACKAGES: Final = 10
_MOST_MODULES: Final = 5
_SIZES: Final = """
import importlib.metadata, json
found = {}
for package in importlib.metadata.distributions():
    files = [file.locate() for file in package.files or []]
    found[package.name] = sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc")
print(json.dumps(found))
"""
_STARTS: Final = {
    "python -c pass": ("python", "-c", "pass"),
    "import catnip2bids": ("python", "-c", "import catnip2bids"),
    "catnip2bids --help": ("catnip2bids", "--help"),
    "catnip2bids --version": ("catnip2bids", "--version"),
    "catnip2bids package --help": ("catnip2bids", "package", "--help"),
    "from catnip2bids import package": ("python", "-c", "from catnip2bids import package"),
}


def installed(folder: Path, extras: str) -> Path:
    """Install catnip2bids into a new environment; returns the folder of its programs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    wanted = f"{REPO}[{extras}]" if extras else str(REPO)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", wanted], check=True)
    return folder / "bin"


def sizes(programs: Path) -> dict[str, int]:
    """Return the bytes of each package that catnip2bids brings, without compiled Python; the largest first."""
    told = subprocess.run([programs / "python", "-c", _SIZES], capture_output=True, text=True, check=True).stdout
    found = {name: n for name, n in json.loads(told).items() if name not in ("pip", "setuptools")}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def seconds_of(command: Sequence[str | Path], rounds: int) -> float:
    """Return the median time of a command, after one that nobody counts."""
    times = []
    for _ in range(rounds + 1):
        begin = perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(perf_counter() - begin)
    return statistics.median(times[1:])


def slowest_imports(programs: Path) -> list[tuple[str, float]]:
    """List the packages whose modules take Python longest for `catnip2bids --help`, in milliseconds."""
    command = [str(programs / "python"), "-X", "importtime", "-m", "catnip2bids", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    total: dict[str, float] = {}
    for own, name in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", told, re.MULTILINE):
        package = name.partition(".")[0]
        total[package] = total.get(package, 0) + int(own) / 1000
    return sorted(total.items(), key=lambda item: -item[1])[:_MOST_MODULES]


def report(programs: Path, rounds: int) -> str:
    """Measure everything, and write it down as Markdown."""
    packages = sizes(programs)
    lines = ["| package | MB |", "|---|---|"]
    lines += [f"| {name} | {n / 1e6:.0f} |" for name, n in list(packages.items())[:_MOST_PACKAGES]]
    rest = sum(list(packages.values())[_MOST_PACKAGES:])
    lines += [f"| {len(packages) - _MOST_PACKAGES} others | {rest / 1e6:.0f} |"]
    lines += [f"| **{len(packages)} packages together** | **{sum(packages.values()) / 1e6:.0f}** |"]
    lines += ["", "| start | seconds |", "|---|---|"]
    for name, (program, *words) in _STARTS.items():
        lines.append(f"| `{name}` | {seconds_of([programs / program, *words], rounds):.2f} |")
    lines += ["", "| imported for `--help` | ms |", "|---|---|"]
    lines += [f"| {name} | {milliseconds:.0f} |" for name, milliseconds in slowest_imports(programs)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="starts of each kind")
    parser.add_argument("--extras", default="", help="such as cluster,dandi")
    parser.add_argument("--programs", type=Path, metavar="DIR", help="of an environment that is there: measure that")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="catnip2bids-") as folder:
        programs = given.programs or installed(Path(folder) / "environment", given.extras)
        sys.stdout.write(report(programs, given.rounds))


if __name__ == "__main__":
    main()
