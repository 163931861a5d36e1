"""Open the web browser of this machine."""

from __future__ import annotations

import os
import sys
import webbrowser


def open_in_browser(url: str) -> bool:
    """Open a graphical browser, and return whether one was found. Text browsers would block the terminal.

    Other users of the machine may read the address from the command line of the browser. A private file could hide the
    address, but sandboxed browsers (snap, flatpak) cannot read such a file.
    """
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        return False
    return webbrowser.open(url)
