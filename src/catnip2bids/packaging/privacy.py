"""What copies of source files tell of the lab: they are published as they are.

Invariant: nothing is changed or left out here, it is only said, so that somebody can decide.
"""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

from catnip2bids.formatting import format_list

_MOST_BYTES = 16 * 2**20
_PATHS = re.compile(
    rb"(?<![\w./:<>-])/(?:[\w.+~@%-]+/)+[\w.+~@%-]*"  # of one folder at least
    rb"|\b[A-Za-z]:[\\/](?![\\/])[\w.+~@%\\/-]+"
    rb"|\\\\[\w.-]+\\[\w.+~@%\\-]+"
)
_SHORTEST_NAME = 4
"""Shorter names of users and machines are found in too many words."""


def private_words(file: Path) -> str:
    """Say which absolute paths, and whether the user's and the machine's names, stand in a text file.

    Parameters
    ----------
    file
        Any file; one that is not text holds none, and of a long one only the first 16 MiB are looked at.
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
    except (KeyError, OSError):  # a number without a name
        return ""
    return "" if user == "root" else user  # which names a region, too
