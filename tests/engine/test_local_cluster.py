"""Dask workers of this machine: nobody without the keys of the cluster can talk to them."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from catnip2bids.engine import local_cluster
from fork_server import python
from runs import write_l0

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


def test_only_who_has_the_keys_can_have_work_done() -> None:
    with local_cluster.local_cluster(1, 2**30) as (scheduler, _):
        with distributed.Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            addresses = [client.scheduler_info()["address"], *client.scheduler_info()["workers"]]
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        for address in addresses:
            assert address.startswith("tls://127.0.0.1:")
            with pytest.raises(OSError, match=r"tcp|Timed out|closed|connect|established"):
                asyncio.run(_connected(f"tcp://{urlsplit(address).netloc}"))


async def _connected(address: str) -> None:
    """Ask what answers there, without keys."""
    async with distributed.rpc(address, timeout=5) as remote:
        await asyncio.wait_for(remote.identity(), 10)


def test_it_listens_on_this_machine_alone_and_keeps_its_keys_to_itself() -> None:
    with local_cluster.local_cluster(1, 2**30) as (scheduler, _):
        with distributed.Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        (command,) = (process.cmdline() for process in family if "--tls-key" in process.cmdline())
        for option in ("--tls-ca-file", "--tls-cert", "--tls-key"):
            key = Path(command[command.index(option) + 1])
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not key.exists()


def test_when_no_worker_is_left_it_ends(tmp_path: Path) -> None:
    source = write_l0(tmp_path / "source") / "640_N4"
    words = ["convert", source, tmp_path / "image.ome.zarr", "--voxel-size", "3.7", "3.7", "5", "--cluster", "local"]
    killer = """
import time, psutil
from catnip2bids.engine import dask_executor
submit = dask_executor.ClusterExecutor.submit
def submitting(*arguments, **options):
    for process in psutil.Process().children():
        if "dask_worker" in " ".join(process.cmdline()):
            for one in [process, *process.children(recursive=True)]:
                one.kill()
    time.sleep(2)
    return submit(*arguments, **options)
dask_executor.ClusterExecutor.submit = submitting
from catnip2bids.cli import main
main()
"""
    done = python(killer, *words, "--workers", "1", timeout=110)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "no worker is left" in done.stderr
