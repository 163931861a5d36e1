"""The HTTP server of the viewer.

Invariant: the server listens on the loopback interface only, and answers only requests with its secret and a loopback
host name. So neither other web pages nor other users of the machine get an answer, unless they read the secret
somewhere (see `browser`).
"""

from __future__ import annotations

import errno
import re
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from catnip2bids.errors import Catnip2bidsError, UsageError
from catnip2bids.viewing.connections import Connections, most_connections
from catnip2bids.viewing.routes import Routes

LOOPBACK = "127.0.0.1"
_NAMES = frozenset({LOOPBACK, "localhost", "::1"})
_RANGE = re.compile("bytes=([0-9]{1,18})-([0-9]{0,18})|bytes=-([0-9]{1,18})")
_BLOCK_BYTES = 2**20
_SECONDS_BETWEEN_KEEPALIVES = 10.0
_SECONDS_WITHOUT_FILES = 0.2
_HEADERS = {
    # the browser blocks all requests of the client to other servers
    "Content-Security-Policy": (
        "default-src 'self' blob: data:; script-src 'self' blob: 'unsafe-eval' 'wasm-unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class ViewServer(ThreadingHTTPServer):
    """Serves routes until it is closed.

    Parameters
    ----------
    routes
        Content to serve.
    port
        0 for any free port.
    warn
        Called with a message for each image that cannot be read.

    Raises
    ------
    UsageError
        If the port is not available.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, routes: Routes, port: int, warn: Callable[[str], None]) -> None:
        self.routes, self.warn = routes, warn
        self.secret, self.closing = secrets.token_urlsafe(16), threading.Event()
        self.connections = Connections(most_connections())
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            what = "is in use" if in_use else f"cannot be opened ({error.strerror})"
            raise UsageError(
                f"port {port} {what}; give another one, or leave --port out to have any free one"
            ) from error
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def root(self) -> str:
        """URL of the page that lists all scenes."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/{self.secret}/"

    def server_bind(self) -> None:
        """Bind without a DNS request for the name of this machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; without free file descriptors, leave it in the queue and wait a little."""
        try:
            return super().get_request()
        except OSError:
            self.closing.wait(_SECONDS_WITHOUT_FILES)
            raise

    def verify_request(self, request: Any, *_: object) -> bool:
        """Tell whether another connection is allowed."""
        return self.connections.admit(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        super().shutdown_request(request)
        self.connections.remove(request)

    def handle_error(self, *_: object) -> None:
        """Warn about an error, but not about a browser that closes a connection."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.warn(f"a request could not be answered: {error!r}")

    def wait(self) -> None:
        """Wait until the server is closed."""
        self._thread.join()

    def close(self) -> None:
        """Stop the server."""
        self.closing.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    server: ViewServer

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._answer()

    def log_message(self, *_: object) -> None:
        """Do not log requests."""

    def version_string(self) -> str:
        """Return the name of the server without versions."""
        return "catnip2bids"

    def _answer(self) -> None:
        with self.server.connections.answering(self.connection):
            self._answer_by_path()

    def _answer_by_path(self) -> None:
        host = self.headers.get("Host", "")
        if not _is_loopback(host):
            self._refuse(HTTPStatus.FORBIDDEN, "the host name is not this machine's")
            return
        _, secret, path = [*unquote(urlsplit(self.path).path).split("/", 2), "", ""][:3]
        if not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "not found; take the whole address that was printed")
            return
        root = f"http://{host}/{self.server.secret}/"
        match path.split("/"):
            case ["v", number] if self.server.routes.is_scene(number):
                self._redirect(f"{root}v/{number}/#!{root}v/{number}/state.json")
            case ["events", number] if self.server.routes.is_scene(number):
                self._stay_connected()
            case _:
                self._send_content(path, root)

    def _send_content(self, path: str, root: str) -> None:
        try:
            content = self.server.routes.find(path, root)
            body = None if content is None else content.open()
        except FileNotFoundError:
            content = body = None
        # decoders raise all kinds of exceptions, and the browser must get an answer
        except Exception as error:
            why = str(error) if isinstance(error, Catnip2bidsError | OSError) else repr(error)
            self.server.warn(f"{path} could not be sent: {why}")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, why)
            return
        if content is None or body is None:
            self._refuse(HTTPStatus.NOT_FOUND, "not found")
            return
        with body:
            self._send(content.type, body)

    def _send(self, kind: str, body: BinaryIO) -> None:
        """Send a body, or the requested range of it."""
        size = body.seek(0, 2)
        asked = _RANGE.fullmatch(self.headers.get("Range", "")) if self.command == "GET" else None
        start, stop = _span(asked, size) if asked else (0, size)
        if asked and start >= stop:
            self._finish(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, kind, 0, {"Content-Range": f"bytes */{size}"})
            return
        described = {"Accept-Ranges": "bytes"} | (
            {"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if asked else {}
        )
        self._finish(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, kind, stop - start, described)
        if self.command == "GET":
            self._copy(body, start, stop - start)

    def _copy(self, file: BinaryIO, start: int, n_bytes: int) -> None:
        file.seek(start)
        while n_bytes > 0:
            block = file.read(min(n_bytes, _BLOCK_BYTES))
            if not block:
                self.close_connection = True  # the file became shorter; the browser notices the missing bytes
                return
            self.wfile.write(block)
            n_bytes -= len(block)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        body = why.encode()
        self._finish(status, "text/plain; charset=utf-8", len(body), {})
        if self.command == "GET":
            self.wfile.write(body)

    def _redirect(self, target: str) -> None:
        self._finish(HTTPStatus.FOUND, "text/plain", 0, {"Location": target})

    def _finish(self, status: HTTPStatus, kind: str, n_bytes: int, more: dict[str, str]) -> None:
        """Send the status line and the headers."""
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(n_bytes), **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stay_connected(self) -> None:
        """Keep an event stream open, by which the client knows that the server runs; send no events."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        for name, value in {**_HEADERS, "Content-Type": "text/event-stream", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        while self.command == "GET":
            self.wfile.write(b":\n\n")
            if self.server.closing.wait(_SECONDS_BETWEEN_KEEPALIVES):
                return


def _is_loopback(host: str) -> bool:
    """Tell whether a Host header names this machine; DNS may resolve the names of other pages to it."""
    try:
        return urlsplit(f"//{host}").hostname in _NAMES
    except ValueError:
        return False


def _span(asked: re.Match[str], size: int) -> tuple[int, int]:
    """Return start and stop of a byte range (RFC 9110, section 14.1.2)."""
    first, last, n_last = asked.groups()
    if n_last is not None:
        return max(size - int(n_last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
