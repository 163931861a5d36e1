"""Limits on memory and processors that containers, schedulers and the shell set for this process.

Invariant: every limit that can be read counts; limits that cannot be read are ignored.
"""

from __future__ import annotations

import math
import os
import re
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

_UNITS = {"K": 2**10, "": 2**20, "M": 2**20, "G": 2**30, "T": 2**40}
"""Units of sizes in Slurm's variables; without a unit they are mebibytes."""


def memory_limits(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Iterator[int]:
    """Yield all limits on the memory of this process in bytes.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are mounted.
    environment
        Environment variables.
    """
    for folder in _control_groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):  # versions 2, 2 and 1
            yield from (number for number in _numbers(folder / name) if number > 0)
    # https://slurm.schedmd.com/sbatch.html: MEM_PER_NODE and MEM_PER_CPU exclude each other, and 0 means all of a node
    per_node, per_cpu = (_slurm_bytes(environment.get(f"SLURM_MEM_PER_{what}", "")) for what in ("NODE", "CPU"))
    n_cpus = next(_slurm_cpus(environment, "SLURM_CPUS_ON_NODE", "SLURM_JOB_CPUS_PER_NODE"), None)
    n_bytes = per_node or per_cpu * (n_cpus or n_processors(root, environment))
    if n_bytes:
        yield n_bytes
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):  # ulimit -v, ulimit -d
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft


def n_processors(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processors that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min([usable, *_processor_limits(root, environment)]), 1)


def _processor_limits(root: Path, environment: Mapping[str, str]) -> Iterator[int]:
    for folder in _control_groups(root, "cpu"):
        quota = _numbers(folder / "cpu.max") or [
            *_numbers(folder / "cpu.cfs_quota_us"),  # -1 without a limit
            *_numbers(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and min(quota) > 0:
            yield math.ceil(quota[0] / quota[1])
    yield from _slurm_cpus(environment, "SLURM_CPUS_PER_TASK")


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of all its parents.

    In a container the path may be that of the host, where only the last folder yielded, the root, exists.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "" or controller in controllers.split(","):  # version 2, or 1
            mounts = {root / "sys/fs/cgroup" / name for name in ({controllers, controller} if controllers else {""})}
            parts = [part for part in path.split("/") if part not in ("", "..")]
            yield from (mount.joinpath(*parts[:n]) for mount in mounts for n in range(len(parts), -1, -1))


def _numbers(file: Path) -> list[int]:
    """Read the numbers of a file; none if it does not exist or has another word, such as ``max``."""
    try:
        words = file.read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [int(word) for word in words] if all(re.fullmatch(r"-?\d+", word) for word in words) else []


def _slurm_bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", text.strip().upper())
    return int(match[1]) * _UNITS[match[2]] if match else 0


def _slurm_cpus(environment: Mapping[str, str], *names: str) -> Iterator[int]:
    """Yield numbers of processors; of a list of nodes, such as ``4(x2),8``, the number of the first."""
    for name in names:
        if (match := re.match(r"\d+", environment.get(name, ""))) and int(match[0]) > 0:
            yield int(match[0])
