"""Find paths and names of the lab in copies of source files, which get published unchanged.

Invariant: nothing is changed or left out; the user is warned and decides.
"""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

from catnip2bids.formatting import format_list

_MOST_BYTES = 16 * 2**20
_PATHS = re.compile(
    rb"(?<![\w./:<>-])/(?:[\w.+~@%-]+/)+[\w.+~@%-]*"  # at least one folder
    rb"|\b[A-Za-z]:[\\/](?![\\/])[\w.+~@%\\/-]+"
    rb"|\\\\[\w.-]+\\[\w.+~@%\\-]+"
)
_SHORTEST_NAME = 4
"""Shorter names of users and machines occur in too many words."""


def private_words(file: Path) -> str:
    """List the absolute paths in a text file, and the names of the user and the machine, as part of a message.

    Parameters
    ----------
    file
        Any file; a binary file has none, and only the first 16 MiB are read.
    """
    with file.open("rb") as opened:
        text = opened.read(_MOST_BYTES)
    if b"\0" in text:
        return ""
    found = {match[0]: None for match in _PATHS.finditer(text)}
    names = [name.encode() for name in (_user(), socket.gethostname()) if len(name) >= _SHORTEST_NAME]
    found |= {name: None for name in names if re.search(rb"\b" + re.escape(name) + rb"\b", text)}
    words = [word.decode(errors="replace") for word in found]
    return f"names {format_list(words)}" if words else ""


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user id has no name
        return ""
    return "" if user == "root" else user  # root is also a name of a region
