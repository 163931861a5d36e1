"""Limits of control groups, Slurm and the shell, read from made-up files and variables."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from catnip2bids.engine.system_limits import memory_limits, n_processors

GIB = 2**30
NONE_OF_V1 = 9223372036854771712


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
    script += "from pathlib import Path; from catnip2bids.engine.system_limits import memory_limits\n"
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
