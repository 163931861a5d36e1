"""Web servers on loopback: nginx as the page of the docs sets it up, and one that serves Neuroglancer's client."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from repo import REPO

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None and "CI" not in os.environ, reason="needs nginx")
_CLIENT = "/v/0"
"""The client is the one for Neuroglancer's Python server, and starts only at such an address."""


@contextmanager
def nginx(dataset: Path, folder: Path) -> Iterator[str]:
    """Serve a dataset as docs/how-to/share.md says, without encryption; yields its address."""
    assert NGINX is not None
    port = free_port()
    text = (REPO / "docs/how-to/share.md").read_text(encoding="utf-8")
    described = re.search(r"```text\n(server \{\n.*?\n\})\n```", text, re.DOTALL)
    assert described is not None
    server = described[1].replace("443 ssl", f"127.0.0.1:{port}").replace("/srv/dataset/", f"{dataset}/")
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    log = f"access_log {folder}/access.log;\n"
    http = f"http {{\n{log}{places}types {{ application/json json; }}\n{server}\n}}\n"
    single = f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(single + http)
    with subprocess.Popen([NGINX, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]) as program:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}/dataset"
        finally:
            program.terminate()


@contextmanager
def neuroglancer_client() -> Iterator[str]:
    """Serve the built client from the package neuroglancer, as any other web server would; yields its address."""
    spec = find_spec("neuroglancer")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "static/client"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{_CLIENT}"
        finally:
            server.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        """Return the file of an address."""
        return super().translate_path(path.removeprefix(_CLIENT))

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
