"""Lets things go wrong for real while a cohort is packaged, and looks at what came of it.

Whatever goes wrong: the program says so in a sentence and with the right exit code, no image or copy stands under its
final name unless it is whole, nothing in the source is touched, and the same command run again when all is well gives,
byte for byte, the dataset of an undisturbed run. As a script, on any cohort, of which a copy is made:

    python tests/faulting.py SOURCE WORK --rounds 4
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tifffile

from fork_server import Program
from interrupting import SMALL, Interrupted, said_by
from runs import files_of, images_of, rewrite_slice, state_of

_FAILING_IO = Path(__file__).with_name("failing_io.c")
_CALLS = ("write", "sync", "rename", "create")
INTERRUPTED = "interrupted; run the same command again to go on"

IN_ITS_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount", "sh", "-c")
_ON_A_SMALL_DISK = """
mount -t tmpfs -o size="$1" disk "$2" || exit 77
disk="$2"; elsewhere="$3"; shift 3
"$@"
code=$?
cp -a "$disk/." "$elsewhere/"
exit $code
"""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes
    ----------
    name
        What, for people.
    codes
        Exit codes that it may end with; 0 where it does no harm.
    says
        What the program has to say, unless it ends well.
    variables
        What `failing_io.c` is told.
    signal, after
        A signal that is sent after so many seconds.
    victim, other
        A source file that something happens to, and what it then holds, if that is readable.
    by_processes
        Whether the work is done by other processes.
    disk_bytes
        Size of the disk that the dataset is on; 0 for the usual one.
    """

    name: str
    codes: frozenset[int]
    says: str = ""
    variables: Mapping[str, object] = field(default_factory=dict)
    signal: int = 0
    after: float = 0.0
    victim: Path | None = None
    other: Path | None = None
    by_processes: bool = False
    disk_bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: whether it struck, the exit code, what was said, and how many images were whole then."""

    fault: Fault
    struck: bool
    code: int
    said: str
    n_whole: int


def build_failing_io(folder: Path) -> Path:
    """Compile the library that lets calls fail."""
    library = folder / "failing_io.so"
    compiler = shutil.which("cc") or "cc"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, _FAILING_IO, "-ldl"], check=True)
    return library


def may_mount() -> bool:
    """Tell whether disks can be made, of which only one program knows."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run([*IN_ITS_OWN_MOUNTS, "mount -t tmpfs disk /mnt"], capture_output=True, check=False).returncode
        == 0
    )


class Bench:
    """A cohort, its dataset, and the means to disturb how one becomes the other.

    Parameters
    ----------
    source
        A cohort; a copy of it is used.
    work
        An empty folder.
    options
        More words of the command.
    library
        What `build_failing_io` made, which many can share; programs are forked then, to be quick.
    """

    def __init__(self, source: Path, work: Path, options: Sequence[str] = (), library: Path | None = None) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.work, self.source, self._log = work, work / "source", work / "log"
        self._library = library or build_failing_io(work)
        shutil.copytree(source, self.source)
        self.state = state_of(self.source)
        self.job = Interrupted([self.source], work / "dataset", work / "reference", SMALL, options, library is not None)
        self.seconds = self.job.package(self.job.reference)
        self.images = images_of(self.job.reference)
        self.n_calls = self._count_calls(self.work) | {"read": self._count_calls(self.source)["read"]}

    def _count_calls(self, folder: Path) -> dict[str, int]:
        """Count the calls of an undisturbed run for files below a folder."""
        self._reset()
        said_by(self._begin(Fault("nothing", frozenset({0}), variables={"FAULT_PATH": folder})))
        calls = [line.split("\t")[1].split("=") for line in self._log.read_text().splitlines()]
        return {call: max(int(number) for name, number in calls if name == call) for call, _ in calls}

    def _reset(self) -> None:
        shutil.rmtree(self.job.dataset, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    def _begin(self, fault: Fault) -> Program | subprocess.Popen[str]:
        main = "faulting_processes" if fault.by_processes else "catnip2bids.__main__"
        told = {"LD_PRELOAD": self._library, "FAULT_LOG": self._log, **fault.variables} if fault.variables else {}
        environment = {**os.environ, **{name: str(value) for name, value in told.items()}} if told else None
        if not fault.disk_bytes:
            return self.job.begin(main=main, environment=environment)
        disk = self.work / "disk"
        disk.mkdir(exist_ok=True)
        small_disk = (_ON_A_SMALL_DISK, "sh", str(fault.disk_bytes), disk, self.work)
        return self.job.begin(disk / self.job.dataset.name, main, environment, [*IN_ITS_OWN_MOUNTS, *small_disk])

    def try_out(self, fault: Fault) -> Outcome:
        """Let something go wrong once, look at everything, mend it, and package to the end.

        Raises
        ------
        AssertionError
            If anything is not as it should be.
        """
        self._reset()
        process = self._begin(fault)
        try:
            messages = said_by(process, fault.after if fault.signal else 60)
        except subprocess.TimeoutExpired:
            process.send_signal(fault.signal or signal.SIGKILL)
            messages = said_by(process)
        assert process.returncode is not None
        try:
            outcome = self._outcome(fault, process.returncode, messages)
        finally:
            self._restore()
        self.job.package()
        if found := self.job.differences():
            raise AssertionError(f"{fault.name}: finished, and not the same: {found}")
        if state_of(self.source) != self.state:
            raise AssertionError(f"{fault.name}: the source was changed")
        return outcome

    def _outcome(self, fault: Fault, code: int, messages: str) -> Outcome:
        log = self._log.read_text() if self._log.exists() else ""
        struck = any(not line.startswith("calls\t") for line in log.splitlines())
        struck |= bool(fault.signal or fault.disk_bytes) and code != 0
        said = " ".join(messages.split())
        where = f"{fault.name} ({dict(fault.variables)}): ended with {code}, said: {messages}"
        if "Traceback" in messages or "Exception ignored" in messages:
            raise AssertionError(f"traceback: {where}")
        if code == -fault.signal and "images made" in said:  # the work was done, and Python was about to end
            code = 0
        if code not in (fault.codes if struck else {0}):
            raise AssertionError(f"exit code: {where}")
        if code > 0 and fault.says not in said:
            raise AssertionError(f"message: {where}")
        if code == 0 and fault.victim is None and (found := self.job.differences()):
            raise AssertionError(f"ended well, and is not the same: {found}; {where}")
        if broken := self._broken(fault):
            raise AssertionError(f"incomplete under their final names: {broken}; {where}")
        n_whole = len(images_of(self.job.dataset)) if self.job.dataset.exists() else 0
        return Outcome(fault, struck, code, _sentence(messages), n_whole)

    def _broken(self, fault: Fault) -> list[str]:
        """List images and copies that are neither what they should be, nor what they should be of a changed source."""
        references = [self.job.reference]
        if fault.victim is not None and fault.other is not None:
            references.append(self._reference_of_changed(fault.victim, fault.other))
        checked = [*images_of(self.job.dataset)] if self.job.dataset.exists() else []
        copies = self.job.dataset / "sourcedata"
        checked += [
            path.relative_to(self.job.dataset).as_posix()
            for path in copies.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        ]
        return [
            path
            for path in checked
            if all(files_of(self.job.dataset / path) != files_of(reference / path) for reference in references)
        ]

    def _reference_of_changed(self, victim: Path, other: Path) -> Path:
        """Package a cohort in which one file is another one."""
        source, dataset = self.work / "changed", self.work / "reference_of_changed"
        for folder in (source, dataset):
            shutil.rmtree(folder, ignore_errors=True)
        self._restore()
        shutil.copytree(self.source, source / self.source.name)
        shutil.copyfile(other, source / self.source.name / victim.relative_to(self.source))
        replace(self.job, sources=[source / self.source.name], dataset=dataset).package()
        return dataset

    def _restore(self) -> None:
        """Bring back what a victim was, with its times and those of its folder."""
        for backup in (self.work / "backups").glob("*"):
            victim = self.source / backup.name.replace("|", "/")
            times = self.state[victim.parent.relative_to(self.source).as_posix()][1]
            victim.unlink(missing_ok=True)
            shutil.copy2(backup, victim)
            os.utime(victim.parent, ns=(times, times))

    def back_up(self, victim: Path) -> None:
        """Keep a file of the source."""
        (self.work / "backups").mkdir(exist_ok=True)
        shutil.copy2(victim, self.work / "backups" / victim.relative_to(self.source).as_posix().replace("/", "|"))

    # ---- what may go wrong

    def faults(self, chance: random.Random) -> Iterator[Fault]:
        """Yield one fault of each kind, at random moments."""
        yield from self._signals(chance)
        yield from self._writing(chance)
        yield from self._reading(chance)
        yield from self._changes(chance)
        yield self._dying_worker(chance)
        if may_mount():
            n_bytes = sum(path.stat().st_size for path in self.job.reference.rglob("*") if path.is_file())
            says = f"cannot be written: {os.strerror(errno.ENOSPC)}"
            yield Fault("full disk", frozenset({1}), says, disk_bytes=chance.randrange(2**16, n_bytes))

    def _signals(self, chance: random.Random) -> Iterator[Fault]:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            codes = frozenset({-number, 0} if number == signal.SIGKILL else {128 + number, 0})
            moment = chance.uniform(0.2 * self.seconds, self.seconds)
            yield Fault(f"{number.name} at any moment", codes, INTERRUPTED, signal=number, after=moment)
            call = chance.choice(_CALLS)
            told = self._told(chance, call, FAULT_SIGNAL=int(number), FAULT_TIMES=1)
            yield Fault(f"{number.name} while writing", codes, INTERRUPTED, told)

    def _writing(self, chance: random.Random) -> Iterator[Fault]:
        kinds = [("write", errno.ENOSPC), ("write", errno.EIO), ("write", errno.EDQUOT), ("sync", errno.EIO)]
        kinds += [("sync", errno.ENOSPC), ("rename", errno.EIO), ("rename", errno.ENOSPC), ("create", errno.ENOSPC)]
        for call, number in kinds:
            name = f"{call}: {errno.errorcode[number]}"
            says = f"cannot be written: {os.strerror(number)}"
            yield Fault(name, frozenset({1}), says, self._told(chance, call, FAULT_ERRNO=number))
            once = self._told(chance, call, FAULT_ERRNO=number, FAULT_TIMES=1)
            # no harm is done where a folder is there already, or where the system could not copy and we can
            harmless = call == "create" or (call, number) == ("write", errno.EIO)
            yield Fault(f"{name}, once", frozenset({0, 1} if harmless else {1}), says, once)
        told = {"FAULT_CALLS": "create", "FAULT_PATH": self.job.dataset, "FAULT_ERRNO": errno.EROFS}
        says = f"cannot be written: {os.strerror(errno.EROFS)}"
        yield Fault("read-only output", frozenset({1, 2}), says, told)
        yield Fault(
            "output turns read-only", frozenset({1}), says, self._told(chance, "create", FAULT_ERRNO=errno.EROFS)
        )

    def _reading(self, chance: random.Random) -> Iterator[Fault]:
        says = os.strerror(errno.EIO)
        yield Fault("read: EIO", frozenset({1, 2}), says, self._told(chance, "read", FAULT_ERRNO=errno.EIO))
        once = self._told(chance, "read", FAULT_ERRNO=errno.EIO, FAULT_TIMES=1)
        yield Fault("read: EIO, once", frozenset({1, 2}), says, once)

    def _changes(self, chance: random.Random) -> Iterator[Fault]:
        """Yield what may happen to a source file, at any time from the first look at a file to the last."""
        slices = [path for path in sorted(self.source.rglob("*.tif")) if len(list(path.parent.glob("*.tif"))) > 10]
        others = [path for path in sorted(self.source.rglob("*")) if path.is_file() and path not in slices]
        for kind, files in (("slice", slices), ("other file", others)):
            for what in ("changed", "cut off", "gone"):
                victim = chance.choice(files)
                self.back_up(victim)
                other = self._changed(victim) if what == "changed" else None
                command = {
                    "changed": f"cat '{other}' > '{victim}'",
                    "cut off": f"truncate -s {chance.randrange(victim.stat().st_size)} '{victim}'",
                    "gone": f"rm '{victim}'",
                }[what]
                told = self._told(chance, "read", FAULT_TIMES=1, FAULT_COMMAND=f"unset LD_PRELOAD; {command}")
                yield Fault(f"{kind} {what}", frozenset({0, 1, 2}), "", told, victim=victim, other=other)

    def _changed(self, victim: Path) -> Path:
        """Make another file that can be read just as well."""
        other = self.work / "other"
        shutil.copyfile(victim, other)
        if victim.suffix == ".tif" and (plane := tifffile.imread(victim)).ndim == 2:
            rewrite_slice(other, plane[::-1])
        elif victim.suffix in {".csv", ".txt"}:
            other.write_bytes(victim.read_bytes() + b"\n")
        return other

    def _dying_worker(self, chance: random.Random) -> Fault:
        n_reads = chance.randrange(1, self.n_calls["read"] // 16)  # workers share those reads that are not of the scan
        told = {"FAULT_CALLS": "read", "FAULT_PATH": self.source, "FAULT_AFTER": n_reads, "FAULT_TIMES": 1}
        says = "a worker died"
        codes = frozenset({1, 2})  # 2 if it dies before anything is written
        return Fault("a worker dies", codes, says, {**told, "FAULT_SIGNAL": int(signal.SIGKILL)}, by_processes=True)

    def _told(self, chance: random.Random, call: str, **what: object) -> dict[str, object]:
        path = self.source if call == "read" else self.job.dataset
        after = chance.randrange(self.n_calls[call])
        return {"FAULT_CALLS": call, "FAULT_PATH": path, "FAULT_AFTER": after, **what}


def _sentence(messages: str) -> str:
    """Return the first thing that was said to be wrong."""
    return next((line for line in messages.splitlines() if line.startswith(("error", "problem"))), "")


# ---- the script


def table(outcomes: Sequence[tuple[str, Outcome]]) -> str:
    """Sum up outcomes, each with the name of its format, as a table in Markdown."""
    rows = [
        "| fault | injected, struck | exit codes | whole images then | finished, the same |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(outcome.fault.name for _, outcome in outcomes):
        same = [outcome for _, outcome in outcomes if outcome.fault.name == name]
        codes = ", ".join(f"{code} ({n} x)" for code, n in sorted(Counter(outcome.code for outcome in same).items()))
        whole = sorted(outcome.n_whole for outcome in same)
        struck = sum(outcome.struck for outcome in same)
        rows.append(f"| {name} | {len(same)}, {struck} | {codes} | {whole[0]} to {whole[-1]} | {len(same)} |")
    return "\n".join(rows)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="a cohort, of which a copy is made")
    parser.add_argument("work", type=Path, help="a folder to work in, new or empty")
    parser.add_argument("--rounds", type=int, default=2, help="how often each fault is injected, with each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="faults with this in their names")
    given = parser.parse_args()
    outcomes: list[tuple[str, Outcome]] = []
    found = 0
    for options in (("--format", "ome-zarr"), ("--format", "ome-tiff", "--pyramid")):
        bench, chance = Bench(given.source, given.work / options[1], options), random.Random(given.seed)
        for fault in (fault for _ in range(given.rounds) for fault in bench.faults(chance)):
            if given.only not in fault.name:
                continue
            try:
                outcome = bench.try_out(fault)
            except AssertionError as error:
                found += 1
                sys.stdout.write(f"FOUND: {options[1]}, {error}\n")
                continue
            outcomes.append((options[1], outcome))
            sys.stdout.write(f"{options[1]}, {fault.name}: {outcome.code}, {outcome.n_whole} whole; {outcome.said}\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{table(outcomes)}\n\n{len(outcomes) + found} faults, {found} with something wrong\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
