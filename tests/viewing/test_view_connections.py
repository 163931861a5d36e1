"""Many connections, and connections on which nothing is said."""

from __future__ import annotations

import http.client
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from catnip2bids import convert, view
from catnip2bids.viewing.server import most_connections
from made_up import some_image, write_slices

MOST_FILES = 256
MOST_CPU_SECONDS = 0.2
"""Of a second in which nothing is asked for; a loop that turns without end takes all of it."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewed")
    write_slices(folder / "slices", some_image((4, 20, 30)))
    convert(folder / "slices", folder / "brain.ome.zarr", (1.0, 1.0, 2.0))
    return folder / "brain.ome.zarr"


@contextmanager
def viewed(image: Path, before: str) -> Iterator[tuple[psutil.Process, str]]:
    """View an image in a process of its own; yields it and the address, and ends it."""
    words = ["exec", sys.executable, "-m", "catnip2bids", "view", str(image), "--no-browser", "--print-url"]
    arguments = ["sh", "-c", f'{before}; exec "$@"', *words]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            yield psutil.Process(program.pid), program.stdout.readline().strip()
        finally:
            program.terminate()
            program.communicate(timeout=20)


def cpu_seconds_of_one(process: psutil.Process) -> float:
    """Measure how much of a processor a process uses in one second."""
    before = process.cpu_times()
    time.sleep(1)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system)


def connected(url: str) -> socket.socket:
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port), timeout=10)


@pytest.mark.slow
def test_300_idle_connections_keep_nobody_out_and_the_processor_idle(image: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * MOST_FILES:
        pytest.skip("needs more open files than the system allows")
    with viewed(image, f"ulimit -n {MOST_FILES}") as (process, url), ExitStack() as open_ones:
        idle = [open_ones.enter_context(connected(url)) for _ in range(300)]
        assert cpu_seconds_of_one(process) < MOST_CPU_SECONDS
        assert process.num_fds() < MOST_FILES
        for _ in range(3):
            with urllib.request.urlopen(url, timeout=10) as page:
                assert b"neuroglancer" in page.read()
        # those that were idle the longest had to go, the others are still there
        idle[0].settimeout(5)
        assert idle[0].recv(1) == b""
        idle[-1].sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle[-1].recv(12) == b"HTTP/1.1 404"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets limits of another process")
def test_without_files_to_open_it_waits_and_then_answers(image: Path) -> None:
    with viewed(image, "true") as (process, url):
        limit = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), limit[1]))
        with connected(url) as waiting:
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert cpu_seconds_of_one(process) < MOST_CPU_SECONDS
            process.rlimit(psutil.RLIMIT_NOFILE, limit)
            assert waiting.recv(12) == b"HTTP/1.1 404"


def test_a_connection_that_says_nothing_is_closed(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catnip2bids.viewing.server._Handler.timeout", 0.3)
    with view(image) as viewing:
        for said in (b"", b"GET / HTTP/1.1\r\nHost:"):
            with socket.create_connection(("127.0.0.1", viewing.port), timeout=5) as connection:
                connection.sendall(said)
                assert connection.recv(1) == b""


def test_only_idle_connections_give_way(image: Path) -> None:
    with view(image) as viewing, ExitStack() as open_ones:
        address = urlsplit(viewing.list_url)
        events = []
        for _ in range(most_connections()):  # never idle: the client knows by them that the server is there
            connection = http.client.HTTPConnection("127.0.0.1", viewing.port, timeout=10)
            open_ones.callback(connection.close)
            connection.request("GET", f"{address.path}events/0")
            events.append(connection.getresponse())
            assert events[-1].read(3) == b":\n\n"
        with socket.create_connection(("127.0.0.1", viewing.port), timeout=5) as refused:
            assert refused.recv(1) == b""
        open_ones.close()
        assert all(event.status == 200 for event in events)


def test_connections_are_as_many_as_files_allow() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for n_files, expected in ((256, 64), (100, 25), (limits[0], min(64, limits[0] // 4))):
            resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, limits[1]))
            assert most_connections() == expected
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
