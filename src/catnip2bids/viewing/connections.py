"""Limit the open connections of the server.

Invariant: connections never exhaust the file descriptors of the process, and a new connection replaces an idle one.
"""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_MOST = 64
"""Browsers open six connections to one server."""
_FILES_EACH = 4
"""Descriptors per connection: the socket, a file it reads, and as many for everything else."""
_SECONDS_TO_CLOSE = 1.0


def most_connections() -> int:
    """Return the limit of open connections that follows from the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(min(_MOST, soft // _FILES_EACH), 1)


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
