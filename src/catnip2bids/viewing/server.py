"""The HTTP server of the viewer.

Invariant: the server listens on the loopback interface only, and answers only requests with its secret and a loopback
host name. So neither other web pages nor other users of the machine get an answer, unless they read the secret
somewhere (see `open_in_browser`). Connections never exhaust the file descriptors of the process: a new one replaces an
idle one.
"""

from __future__ import annotations

import errno
import re
import resource
import secrets
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from catnip2bids.errors import Catnip2bidsError, UsageError
from catnip2bids.viewing.routes import CLIENT_POLICY, Content, Routes

LOOPBACK = "127.0.0.1"
_NAMES = frozenset({LOOPBACK, "localhost", "::1"})
_RANGE = re.compile("bytes=([0-9]{1,18})-([0-9]{0,18})|bytes=-([0-9]{1,18})")
_BLOCK_BYTES = 2**20
_SECONDS_BETWEEN_KEEPALIVES = 10.0
_SECONDS_WITHOUT_FILES = 0.2
_MOST_CONNECTIONS = 64
"""Browsers open six connections to one server."""
_FILES_EACH = 4
"""Descriptors per connection: the socket, a file it reads, and as many for everything else."""
_SECONDS_TO_CLOSE = 1.0
_HEADERS = {
    "Content-Security-Policy": CLIENT_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def most_connections() -> int:
    """Return the limit of open connections that follows from the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(min(_MOST_CONNECTIONS, soft // _FILES_EACH), 1)


class Connections:
    """The open connections, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most, self._changed = most, threading.Condition()
        self._open: set[socket.socket] = set()
        self._idle: dict[socket.socket, None] = {}  # ordered; the longest idle comes first

    def admit(self, connection: socket.socket) -> bool:
        """Add a connection, closing an idle one if necessary; return False if there are too many."""
        with self._changed:
            if len(self._open) >= self._most and self._idle:
                longest = next(iter(self._idle))
                del self._idle[longest]
                with suppress(OSError):  # the browser has closed it
                    longest.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
                self._changed.wait_for(lambda: len(self._open) < self._most, _SECONDS_TO_CLOSE)
            if len(self._open) >= self._most:
                return False
            self._open.add(connection)
            self._idle[connection] = None
            return True

    @contextmanager
    def answering(self, connection: socket.socket) -> Iterator[None]:
        """Protect a connection from being closed while a request is answered."""
        with self._changed:
            self._idle.pop(connection, None)
        try:
            yield
        finally:
            with self._changed:
                self._idle[connection] = None

    def remove(self, connection: socket.socket) -> None:
        """Remove a closed connection."""
        with self._changed:
            self._open.discard(connection)
            self._idle.pop(connection, None)
            self._changed.notify()


class ViewServer(ThreadingHTTPServer):
    """Serves routes until it is closed; `warn` gets a message for each image that cannot be read.

    Raises UsageError if the port is not available; port 0 is any free one.
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
            advice = "give another one, or leave --port out to have any free one"
            raise UsageError(f"port {port} {what}; {advice}") from error
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
        with self.server.connections.answering(self.connection):
            self._answer()

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Do not log requests."""

    def version_string(self) -> str:
        """Return the name of the server without versions."""
        return "catnip2bids"

    def _answer(self) -> None:
        host = self.headers.get("Host", "")
        if not _is_loopback(host):
            self._refuse(HTTPStatus.FORBIDDEN, "the host name is not this machine's")
            return
        _, secret, path = [*unquote(urlsplit(self.path).path).split("/", 2), "", ""][:3]
        if not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "not found; take the whole address that was printed")
            return
        root = f"http://{host}/{self.server.secret}/"
        if (target := self.server.routes.target(path, root)) is not None:
            self._begin(HTTPStatus.FOUND, "text/plain", 0, {"Location": target})
            return
        match path.split("/"):
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
            self._send(content, body)

    def _send(self, content: Content, body: BinaryIO) -> None:
        """Send a body, or the requested range of it."""
        size = body.seek(0, 2)
        asked = _RANGE.fullmatch(self.headers.get("Range", "")) if self.command == "GET" else None
        start, stop = _span(asked, size) if asked else (0, size)
        if asked and start >= stop:
            described = {"Content-Range": f"bytes */{size}"}
            self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content.type, 0, described)
            return
        described = {"Accept-Ranges": "bytes", "Content-Security-Policy": content.policy}
        if asked:
            described["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._begin(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, content.type, stop - start, described)
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
        self._begin(status, "text/plain; charset=utf-8", len(body), {})
        if self.command == "GET":
            self.wfile.write(body)

    def _begin(self, status: HTTPStatus, kind: str, n_bytes: int | None, more: dict[str, str]) -> None:
        """Send the status line and the headers; without a number of bytes, the body ends with the connection."""
        length = {} if n_bytes is None else {"Content-Length": str(n_bytes)}
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, **length, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def _stay_connected(self) -> None:
        """Keep an event stream open, by which the client knows that the server runs; send no events."""
        self.close_connection = True
        self._begin(HTTPStatus.OK, "text/event-stream", None, {"Connection": "close"})
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
