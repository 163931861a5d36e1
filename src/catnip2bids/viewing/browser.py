"""The browser of this machine."""

from __future__ import annotations

import os
import sys
import webbrowser


def open_in_browser(url: str) -> bool:
    """Open a browser with a window; tells whether there is one. Those for terminals would block this one.

    The address is on its command line, where other users of the machine may read it: files that only the user can read
    would hide it, but browsers in sandboxes (snap, flatpak) cannot read those either.
    """
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        return False
    return webbrowser.open(url)
