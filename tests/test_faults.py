"""Things that go wrong for real; `faulting.py` does the same as a script, as often as wanted, on any cohort."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from catnip2bids.volume import inspect_volume
from faulting import Bench, build_failing_io
from runs import write_l0

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None and "CI" not in os.environ, reason="needs a compiler that is called cc"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What lets calls fail."""
    return build_failing_io(tmp_path_factory.mktemp("failing-io"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--format", "ome-zarr"), {"SIGINT while writing", "slice changed", "a worker dies"}),
        (("--format", "ome-tiff"), {"write: ENOSPC", "read: EIO"}),
    ],
    ids=["ome-zarr", "ome-tiff"],
)
def test_whatever_goes_wrong_the_dataset_is_the_same_in_the_end(
    tmp_path: Path, library: Path, options: tuple[str, ...], names: set[str]
) -> None:
    bench = Bench(write_l0(tmp_path / "cohort").parents[1], tmp_path / "work", options, library)
    outcomes = [bench.try_out(fault) for fault in bench.faults(random.Random(7)) if fault.name in names]
    assert {outcome.fault.name for outcome in outcomes} == names
    assert [outcome.fault for outcome in outcomes if not outcome.struck] == []


_CENSUS = """
import os, sys
from pathlib import Path
from catnip2bids.volume import inspect_volume
for n_reads in sys.argv[2:]:
    if (process := os.fork()) == 0:
        os.environ["FAULT_AFTER"] = n_reads
        print(n_reads, *inspect_volume(Path(sys.argv[1])).problems, flush=True)
        os._exit(0)
    os.waitpid(process, 0)
"""


@pytest.mark.slow
def test_a_disk_that_cannot_be_read_is_not_taken_for_a_damaged_stack(tmp_path: Path, library: Path) -> None:
    stack = tmp_path / "FRSTseg_00010000.tif"
    for plane in range(20):
        tifffile.imwrite(stack, np.full((200, 100), plane, np.uint16), append=True, metadata=None)
    assert not inspect_volume(stack).problems
    variables = {"FAULT_CALLS": "read", "FAULT_PATH": str(stack), "FAULT_ERRNO": "5"}
    environment = {**os.environ, "LD_PRELOAD": str(library), **variables}
    command = [sys.executable, "-c", _CENSUS, str(stack), "0", "5", "10"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in said] == ["0", "5", "10"]  # reads that went well before
    for line in said:
        assert f"{stack.name}: cannot be read" in line
        assert "Input/output error" in line
        assert "original" not in line


_INTERRUPTED_TWICE = """
import os, signal
from catnip2bids.interruption import ending_when_interrupted

with ending_when_interrupted():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        print("being closed", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("never", flush=True)
"""


_INTERRUPTED_ELSEWHERE = """
import signal, threading, time
from catnip2bids.interruption import ending_when_interrupted

never = threading.Event()

def be_interrupted():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    never.wait()

with ending_when_interrupted():
    threading.Thread(target=be_interrupted, daemon=True).start()
    never.wait()
"""


_INTERRUPTED_WHERE_EXCEPTIONS_ARE_DROPPED = """
import os, signal, sys, time
from catnip2bids.interruption import ending_when_interrupted

class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

with ending_when_interrupted():
    try:
        Interrupting()
        time.sleep(50)
    finally:
        time.sleep(2.5)  # longer than it takes to be woken again
        print("closed", flush=True)
"""


def test_an_interruption_that_a_library_drops_is_raised_again() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_WHERE_EXCEPTIONS_ARE_DROPPED]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=40)
    assert (ended.returncode, ended.stdout) == (130, "closed\n")
    assert ended.stderr == "error: interrupted; run the same command again to go on\n"


def test_a_signal_to_another_thread_interrupts_the_main_thread_that_waits() -> None:
    command = [sys.executable, "-c", _INTERRUPTED_ELSEWHERE]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 128 + signal.SIGTERM
    assert ended.stderr == "error: interrupted; run the same command again to go on\n"


def test_a_second_interruption_ends_at_once() -> None:
    ended = subprocess.run([sys.executable, "-c", _INTERRUPTED_TWICE], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "being closed\n")
    assert ended.stderr.startswith("error: interrupted again")
    assert "Traceback" not in ended.stderr
