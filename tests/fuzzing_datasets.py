"""Changes documents and links of a dataset at random, and does everything with it: only errors of ours may come.

Invariant: no command writes outside of the dataset and its own output, hangs, or takes more memory than it may. As a
script, for as long as wanted:

    python tests/fuzzing_datasets.py --seconds 1200
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from catnip2bids import package, report, restore, validate, verify
from catnip2bids.errors import Catnip2bidsError
from fork_server import LEAVE_OUT_DANDI, LEAVE_OUT_PLOTS
from runs import settings as choices
from runs import state_of, write_l0

MIB = 2**20
MOST_BYTES = 768 * MIB
_MOST_SECONDS = 120
_EXAMPLES_AT_ONCE = 5
_VALIDATED = 8
"""One of so many datasets is validated, since that starts programs."""
_ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, -1, 0, 1, 2**31, 10**12, 10**30, 0.5, 1e308, float("nan"), float("inf")),
        *("", ".", "..", "/", "a" * 300, "../../thesis", "/etc/passwd", "\0", "\ud800", "ü\n\t", "0", "x/../../y"),
        *([], {}, [[]], [None], {"": ""}, [1] * 1000, {"a": {"b": {}}}),
    ]
).map(deepcopy)  # they are changed in their places


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place in a JSON document: what holds it, and the key or index."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _nodes(value[key])


def _change_json(draw: st.DrawFn, file: Path) -> str:
    document = json.loads(file.read_bytes())
    said = []
    for _ in range(draw(st.integers(1, 3))):
        places = list(_nodes(document))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "remove", "add", "copy"])):
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["x", "../x", "", "version", "path"]))] = draw(_ODD)
            case "copy":
                other, other_key = places[draw(st.integers(0, len(places) - 1))]
                holder[key] = json.loads(json.dumps(other.get(other_key) if isinstance(other, dict) else other))
            case _:
                holder[key] = draw(_ODD)
        said.append(str(key))
    file.write_bytes(json.dumps(document).encode(errors="surrogatepass"))
    return f"at {', '.join(said)}"


def _change_lines(draw: st.DrawFn, file: Path) -> str:
    lines = file.read_bytes().split(b"\n")
    at = draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(["remove", "double", "tabs", "field", "other"])):
        case "remove":
            del lines[at]
        case "double":
            lines.insert(at, lines[at])
        case "tabs":
            lines[at] += b"\t" * draw(st.integers(1, 1000))
        case "field":
            fields = lines[at].split(b"\t")
            fields[draw(st.integers(0, len(fields) - 1))] = str(draw(_ODD)).encode(errors="replace")
            lines[at] = b"\t".join(fields)
        case _:
            lines[at] = draw(st.binary(max_size=60))
    file.write_bytes(b"\n".join(lines))
    return f"line {at + 1}"


def _change_bytes(draw: st.DrawFn, file: Path) -> str:
    content = bytearray(file.read_bytes())
    at = draw(st.integers(0, len(content)))
    match draw(st.sampled_from(["cut", "put", "flip", "empty", "sparse"])):
        case "cut":
            del content[at:]
        case "put":
            content[at:at] = draw(st.binary(min_size=1, max_size=40))
        case "flip" if at < len(content):
            content[at] ^= draw(st.integers(1, 255))
        case "sparse":
            os.truncate(file, draw(st.sampled_from([2**20, 2**27, 2**32])))
            return "made large"
        case _:
            content.clear()
    file.write_bytes(content)
    return f"byte {at}"


def _change_kind(draw: st.DrawFn, file: Path, outside: Path) -> str:
    """Put something else where a file or folder is."""
    what = draw(st.sampled_from(["link out", "link in", "loop", "pipe", "folder", "nothing", "parent link", "copy"]))
    if what == "parent link" and file.parent.name:
        shutil.rmtree(file.parent)
        file.parent.symlink_to(outside / "thesis")
        return what
    if what == "copy":
        shutil.copy(file, file.with_name(draw(st.sampled_from(["x.json", "sub-x_SPIM.ome.zarr", ".x.partial", "ü"]))))
        return what
    file.unlink()
    match what:
        case "link out":
            file.symlink_to(outside / "thesis/thesis.tsv")
        case "link in":
            file.symlink_to("../README.md")
        case "loop":
            file.symlink_to(file.name)
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
    return what


@st.composite
def changed(draw: st.DrawFn, made: Path, lab: Path) -> str:
    """Copy a dataset and change it in one to three places; returns what was done."""
    shutil.rmtree(lab, ignore_errors=True)
    shutil.copytree(made, lab, symlinks=True)
    dataset, done = lab / "dataset", []
    for _ in range(draw(st.integers(1, 3))):
        if dataset.is_symlink():
            break  # its files are nobody's business now
        files = sorted(path for path in dataset.rglob("*") if path.is_file() and not path.is_symlink())
        documents = [path for path in files if path.suffix in (".json", ".tsv", ".sha256", ".toml", ".md")]
        file = draw(st.sampled_from(documents * 3 + files))
        name = file.relative_to(dataset).as_posix()
        match draw(st.sampled_from(["content", "content", "content", "bytes", "kind"])):
            case "content" if file.suffix == ".json":
                try:
                    how = _change_json(draw, file)
                except ValueError:
                    how = _change_bytes(draw, file)
            case "content" if file in documents and file.stat().st_size < MIB:
                how = _change_lines(draw, file)
            case "kind":
                how = _change_kind(draw, file, lab)
            case _ if file.stat().st_size < MIB:
                how = _change_bytes(draw, file)
            case _:
                how = "nothing"
        done.append(f"{name}: {how}")
    return "; ".join(done)


def check(lab: Path, how: str, told: Counter[str], *, with_validate: bool) -> None:
    """Do everything with a dataset.

    Raises
    ------
    AssertionError
        If something outside of it was changed, or too much memory was taken.
    Exception
        If a command raises anything but an error of ours.
    """
    dataset, restored = lab / "dataset", lab / "restored"
    before = state_of(lab / "source") | state_of(lab / "thesis")
    work: dict[str, Callable[[], Any]] = {
        "verify": lambda: verify(dataset, memory_bytes=512 * MIB),
        "report": lambda: report(dataset),
        "restore": lambda: restore(dataset, restored, memory_bytes=512 * MIB),
        "package": lambda: package([lab / "source"], dataset, choices(memory_bytes=512 * MIB)),
    }
    if with_validate:
        work["validate"] = lambda: validate(dataset)
    for name, do in work.items():
        faulthandler.dump_traceback_later(_MOST_SECONDS, exit=True)
        try:
            found = do()
        except Catnip2bidsError:
            told[f"{name}: refused"] += 1
        except Exception as error:
            raise RuntimeError(f"{name} fails with {type(error).__name__}: {error}; {how}") from error
        else:
            told[f"{name}: {'fine' if found.ok else 'problems'}"] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()
    assert state_of(lab / "source") | state_of(lab / "thesis") == before, how
    assert {path.name for path in lab.iterdir()} <= {"source", "thesis", "dataset", "restored"}, how
    assert peak_bytes() <= MOST_BYTES, f"{how}: {peak_bytes() // MIB} MiB"


def peak_bytes() -> int:
    """Return the most memory that this program held; getrusage counts that of the program that started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def make(folder: Path) -> Path:
    """Make a source, a dataset of it, and something that is nobody's business."""
    write_l0(folder / "source")
    package([folder / "source"], folder / "dataset", choices())
    (folder / "thesis").mkdir()
    (folder / "thesis/thesis.tsv").write_text("years of work")
    return folder


def fuzz(folder: Path, seconds: float, most: int, first_seed: int) -> Counter[str]:
    """Change a dataset and do everything with it, for so long or so often; returns how often commands ended how.

    Raises
    ------
    AssertionError
        If anything failed, with the seed and what was done to the dataset.
    """
    made, ends, told, number = make(folder / "made"), time.monotonic() + seconds, Counter[str](), first_seed
    failures: list[str] = []
    while time.monotonic() < ends and told["datasets"] < most:

        @seed(number)
        @settings(
            max_examples=_EXAMPLES_AT_ONCE,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # making a case smaller would take an hour
            suppress_health_check=list(HealthCheck),
        )
        @given(changed(made, folder / "lab"), st.integers(1, _VALIDATED))
        def one(how: str, turn: int) -> None:
            told["datasets"] += 1
            check(folder / "lab", how, told, with_validate=turn == 1)

        try:
            one()
        except Exception as error:
            failures.append(f"seed {number}: {error}")
        number += 1
    assert not failures, "\n".join(failures)
    return told


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--datasets", type=int, default=sys.maxsize, help="the most datasets, whatever the time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="leave out dandi and plots, which take longest")
    given_arguments = parser.parse_args()
    if given_arguments.quick:
        exec(LEAVE_OUT_DANDI + LEAVE_OUT_PLOTS)
    sys.stdout.write(f"first seed: {given_arguments.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        told = fuzz(Path(folder), given_arguments.seconds, given_arguments.datasets, given_arguments.seed)
    for what, n in sorted(told.items()):
        sys.stdout.write(f"{what}: {n}\n")
    peak = peak_bytes() // MIB
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 // MIB
    sys.stdout.write(f"peak memory: {peak} MiB, of a program that was started {children} MiB\n")


if __name__ == "__main__":
    main()
