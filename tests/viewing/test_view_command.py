"""The command, as a user runs it."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from catnip2bids import convert
from catnip2bids.cli.app import main
from made_up import some_image, write_slices


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewed")
    write_slices(folder / "slices", some_image((4, 20, 30)))
    convert(folder / "slices", folder / "brain.ome.zarr", (1.0, 1.0, 2.0))
    return folder / "brain.ome.zarr"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_serves_and_ends_well(image: Path, ending: signal.Signals) -> None:
    arguments = [sys.executable, "-m", "catnip2bids", "view", str(image), "--no-browser", "--print-url"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with urllib.request.urlopen(url, timeout=10) as page:
            assert b"neuroglancer" in page.read()
        program.send_signal(ending)
        rest, said = program.communicate(timeout=20)
    assert (program.returncode, rest) == (0, "")
    port = url.split(":")[2].split("/")[0]
    assert f"ssh -L {port}:127.0.0.1:{port} " in said
    assert f"napari --plugin napari-ome-zarr {image}" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--no-browser"], []], ids=["unwanted", "none there"])
def test_quiet_still_prints_the_address_if_no_browser_shows_it(image: Path, words: list[str]) -> None:
    arguments = [sys.executable, "-m", "catnip2bids", "view", "-q", str(image), *words]
    without = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=without) as program:
        assert program.stdout is not None
        try:
            assert select.select([program.stdout], [], [], 30)[0]
            url = program.stdout.readline().strip()
            with urllib.request.urlopen(url, timeout=10) as page:
                assert b"neuroglancer" in page.read()
        finally:
            program.send_signal(signal.SIGINT)
        rest, said = program.communicate(timeout=20)
    assert (program.returncode, rest, said) == (0, "", "")


@pytest.mark.slow
def test_nothing_moves_on_the_terminal_while_it_waits(image: Path) -> None:
    main, side = pty.openpty()
    arguments = [sys.executable, "-m", "catnip2bids", "view", str(image), "--no-browser"]
    variables = os.environ | {"TERM": "xterm-256color"}
    with subprocess.Popen(arguments, stdin=side, stdout=side, stderr=side, env=variables) as program:
        os.close(side)
        try:
            written = b""
            while b"Ctrl-C ends it" not in written and select.select([main], [], [], 30)[0]:
                written += os.read(main, 1 << 16)
            while select.select([main], [], [], 0.2)[0] and len(written) < 10_000:  # the end of the line
                written += os.read(main, 1 << 16)
            waiting = select.select([main], [], [], 1)[0]
        finally:
            program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0
    os.close(main)
    assert (b"Ctrl-C ends it" in written, waiting) == (True, [])


@pytest.mark.slow
def test_the_address_is_printed_once_on_a_terminal(image: Path) -> None:
    main_end, side = pty.openpty()
    arguments = [sys.executable, "-m", "catnip2bids", "view", str(image), "--print-url"]
    with subprocess.Popen(
        arguments, stdin=side, stdout=side, stderr=side, env=os.environ | {"COLUMNS": "200"}
    ) as program:
        os.close(side)
        written = b""
        try:
            while b"/v/0" not in written and select.select([main_end], [], [], 30)[0]:
                written += os.read(main_end, 1 << 16)
        finally:
            program.send_signal(signal.SIGINT)
        assert program.wait(timeout=20) == 0
    os.close(main_end)
    assert written.count(b"http:") == 1
    assert b"ssh -J LOGIN_NODE -L " in written


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """View something in this process; returns the exit code, stdout and stderr in one line."""
    monkeypatch.setattr(sys, "argv", ["catnip2bids", "view", *map(str, words), "--no-browser"])
    with pytest.raises(SystemExit) as end:
        main()
    assert isinstance(end.value.code, int)
    said = capsys.readouterr()
    return end.value.code, said.out, " ".join(said.err.split())


def test_a_port_in_use_and_what_is_no_image_end_with_2(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, said = ended(monkeypatch, capsys, image, "--port", port)
    assert (code, out) == (2, "")
    assert f"port {port} is in use; give another one, or leave --port out" in said
    code, out, said = ended(monkeypatch, capsys, tmp_path)
    assert (code, out) == (2, "")
    assert "neither a dataset" in said
