"""Memory: how a budget is read, divided, and refused.

Limits of control groups, Slurm and the shell are read from made-up files and variables.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catnip2bids.engine import Resources, divide_memory, parse_bytes
from catnip2bids.engine.memory import MOST_BLOCKS, OVERHEAD_BYTES, default_memory_bytes, memory_limits, n_processors
from catnip2bids.errors import UsageError
from catnip2bids.ome import OmeZarrImage
from catnip2bids.volume import Kind
from in_memory import VolumeInMemory

MIB, GIB = 2**20, 2**30
NONE_OF_V1 = 9223372036854771712


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GiB", 2 * 2**30),
        ("512 MiB", 512 * MIB),
        (" 1.5G ", 1_500_000_000),
        ("800000000", 800_000_000),
        ("64Ki", 65_536),
        ("3 kB".upper(), 3_000),
        ("1TiB", 2**40),
    ],
)
def test_sizes_are_read(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "2 XiB", "1,5G", "i", "0x10", "2GiB!", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a valid size"):
        parse_bytes(text)


def test_the_default_is_a_quarter_of_the_machine_at_most() -> None:
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < default_memory_bytes() <= min(machine_bytes // 4, 8 * 2**30)


AXES = st.tuples(st.integers(1, 3_000), st.integers(1, 15_000), st.integers(1, 15_000))


def volume_of(shape: tuple[int, int, int], dtype: str, reads_rows: bool) -> VolumeInMemory:
    """Make a volume of any size that takes no memory."""
    return VolumeInMemory(np.broadcast_to(np.zeros((), dtype), shape), reads_rows=reads_rows)


def image_of(volume: VolumeInMemory) -> OmeZarrImage:
    return OmeZarrImage(Path("image.ome.zarr"), volume.shape, volume.dtype.name, (5.0, 1.0, 1.0), Kind.IMAGE)


@settings(deadline=None)
@given(
    AXES,
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.booleans(),
    st.integers(1, 16),
    st.integers(1 * MIB, 8192 * MIB),
)
def test_a_unit_keeps_within_its_memory_or_is_refused(
    shape: tuple[int, int, int], dtype: str, reads_rows: bool, n_threads: int, memory_bytes: int
) -> None:
    volume = volume_of(shape, dtype, reads_rows)
    image = image_of(volume)
    try:
        portions = divide_memory(volume, image, Resources(n_threads, memory_bytes))
    except UsageError:
        with pytest.raises(UsageError, match=rf"planes of {shape[2]} x {shape[1]} pixels .* give more with --memory"):
            divide_memory(volume, image, Resources(n_threads, memory_bytes))
        return
    assert portions.total_bytes <= memory_bytes
    assert 1 <= portions.n_blocks <= MOST_BLOCKS
    assert 1 <= portions.n_decoders <= n_threads
    depth, rows, _ = image.block_shape
    assert portions.block_bytes == min(depth, shape[0]) * min(rows, shape[1]) * shape[2] * volume.dtype.itemsize
    assert (portions.reading.decoding_bytes == 0) == reads_rows


@settings(deadline=None)
@given(AXES, st.sampled_from(["uint8", "uint16"]), st.integers(10 * MIB, 4096 * MIB))
def test_with_more_memory_it_is_never_refused_nor_slower(
    shape: tuple[int, int, int], dtype: str, memory_bytes: int
) -> None:
    volume = volume_of(shape, dtype, reads_rows=False)
    image = image_of(volume)
    try:
        before = divide_memory(volume, image, Resources(2, memory_bytes))
    except UsageError:
        assume(False)
    after = divide_memory(volume, image, Resources(2, memory_bytes + 256 * MIB))
    assert (after.slab_bytes > 0, after.n_decoders, after.n_blocks) >= (
        before.slab_bytes > 0,
        before.n_decoders,
        before.n_blocks,
    )


@pytest.mark.parametrize(
    ("shape", "reads_rows", "memory_bytes"),
    [
        ((1786, 13_413, 10_130), True, 512 * MIB),
        ((4, 13_413, 10_130), True, 512 * MIB),
        ((1786, 13_413, 10_130), False, 1024 * MIB),
        ((10_000, 2048, 2560), True, 512 * MIB),
    ],
)
def test_real_sizes_fit(shape: tuple[int, int, int], reads_rows: bool, memory_bytes: int) -> None:
    volume = volume_of(shape, "uint16", reads_rows)
    portions = divide_memory(volume, image_of(volume), Resources(2, memory_bytes - OVERHEAD_BYTES))
    assert portions.total_bytes <= memory_bytes - OVERHEAD_BYTES


def test_the_message_names_a_size_that_is_enough() -> None:
    volume = volume_of((100, 13_413, 10_130), "uint16", reads_rows=False)
    with pytest.raises(UsageError) as refused:
        divide_memory(volume, image_of(volume), Resources(2, 100 * MIB))
    enough = parse_bytes(str(refused.value).split("at least ")[1].split(" of memory")[0])
    assert divide_memory(volume, image_of(volume), Resources(2, enough - OVERHEAD_BYTES)).n_blocks == 1


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def limits(root: Path, **environment: str) -> list[int]:
    """Return the limits but for those of the shell in which the tests run."""
    shell = {resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)}
    return [limit for limit in memory_limits(root, environment) if limit not in shell]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{3 * GIB}\n"}, [3 * GIB]),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, []),
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.high": f"{2 * GIB}\n",
                "sys/fs/cgroup/job/memory.max": f"{4 * GIB}\n",
            },
            [2 * GIB, 4 * GIB],
        ),
        (
            {
                "proc/self/cgroup": "5:cpuset:/\n4:memory:/slurm/uid_1/job_2\n1:name=systemd:/x\n0::/\n",
                "sys/fs/cgroup/memory/slurm/uid_1/job_2/memory.limit_in_bytes": f"{4 * GIB}\n",
                "sys/fs/cgroup/memory/slurm/memory.limit_in_bytes": f"{NONE_OF_V1}\n",
            },
            [4 * GIB, NONE_OF_V1],
        ),
        # in a container, which does not see the path of the host
        (
            {
                "proc/self/cgroup": "4:memory:/docker/1234\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
            },
            [GIB],
        ),
        ({"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/memory.max": f"{GIB}\n"}, [GIB]),
        ({"proc/self/cgroup": "nonsense\n\n", "sys/fs/cgroup/memory.max": "many\n"}, []),
    ],
)
def test_memory_of_control_groups(tmp_path: Path, files: dict[str, str], expected: list[int]) -> None:
    assert limits(write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, [4 * GIB]),
        ({"SLURM_MEM_PER_NODE": "4G"}, [4 * GIB]),
        ({"SLURM_MEM_PER_NODE": "0"}, []),
        ({"SLURM_MEM_PER_NODE": "all"}, []),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "3"}, [6 * GIB]),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_JOB_CPUS_PER_NODE": "4(x2),8"}, [8 * GIB]),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_PER_TASK": "1"}, [GIB]),
        ({"SLURM_MEM_PER_CPU": "0", "SLURM_CPUS_ON_NODE": "3"}, []),
    ],
)
def test_memory_of_slurm(tmp_path: Path, environment: dict[str, str], expected: list[int]) -> None:
    assert limits(tmp_path, **environment) == expected


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_memory_of_the_shell(tmp_path: Path, limit: str) -> None:
    script = f"import resource; resource.setrlimit(resource.{limit}, (3 * 2**30, resource.RLIM_INFINITY))\n"
    script += "from pathlib import Path; from catnip2bids.engine.memory import memory_limits\n"
    script += f"print(*memory_limits(Path({str(tmp_path)!r}), {{}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert str(3 * GIB) in done.stdout.split()


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"},
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/a\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
        },
        {
            "proc/self/cgroup": "2:cpu,cpuacct:/a\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
)
def test_a_quota_of_one_processor(tmp_path: Path, files: dict[str, str]) -> None:
    assert n_processors(write(tmp_path, files), {}) == 1


def test_a_part_of_a_processor_counts_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    files = {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}
    assert n_processors(write(tmp_path, files), {}) == 3


def test_processors_without_a_limit(tmp_path: Path) -> None:
    all_of_them = n_processors(tmp_path, {})
    files = {
        "proc/self/cgroup": "2:cpu:/\n0::/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
    }
    assert n_processors(write(tmp_path, files), {}) == all_of_them
    assert n_processors(tmp_path, {"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert n_processors(tmp_path, {"SLURM_CPUS_PER_TASK": "100000"}) == all_of_them
