"""The open connections of a viewing.

Invariant: there are never more than the system has files for, and one that is only kept open gives way to a new one.
"""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_MOST = 64
"""A browser opens six to one server."""
_FILES_EACH = 4
"""Of those that the system lets a program open: the connection, what it reads, and as many for everything else."""
_SECONDS_TO_CLOSE = 1.0


def most_connections() -> int:
    """Return how many connections may be open, by the number of files that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(min(_MOST, soft // _FILES_EACH), 1)


class Connections:
    """Open connections.

    Parameters
    ----------
    most
        How many may be open at a time.
    """

    def __init__(self, most: int) -> None:
        self._most, self._changed = most, threading.Condition()
        self._open: set[socket.socket] = set()
        self._idle: dict[socket.socket, None] = {}  # the one that has been idle the longest comes first

    def admit(self, connection: socket.socket) -> bool:
        """Add a connection; tells whether there is room for it, for which an idle one may be ended."""
        with self._changed:
            if len(self._open) >= self._most and self._idle:
                longest = next(iter(self._idle))
                del self._idle[longest]
                with suppress(OSError):  # the browser was faster
                    longest.shutdown(socket.SHUT_RDWR)  # wakes its thread, which closes it
                self._changed.wait_for(lambda: len(self._open) < self._most, _SECONDS_TO_CLOSE)
            if len(self._open) >= self._most:
                return False
            self._open.add(connection)
            self._idle[connection] = None
            return True

    @contextmanager
    def answering(self, connection: socket.socket) -> Iterator[None]:
        """Keep a connection from being ended while a request is answered."""
        with self._changed:
            self._idle.pop(connection, None)
        try:
            yield
        finally:
            with self._changed:
                self._idle[connection] = None

    def remove(self, connection: socket.socket) -> None:
        """Forget a connection that was closed."""
        with self._changed:
            self._open.discard(connection)
            self._idle.pop(connection, None)
            self._changed.notify()
