"""Licences of datasets: full names and addresses of those that archives accept, and the text of the file LICENSE.

Invariant: a licence that is not known keeps the name that a person gave it.
"""

from __future__ import annotations

_CC0 = ("Creative Commons Zero 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/")
_PDDL = (
    "Open Data Commons Public Domain Dedication and License 1.0",
    "https://opendatacommons.org/licenses/pddl/1-0/",
)
_KNOWN = {
    "cc0": _CC0,
    "cc0-1.0": _CC0,
    "pddl": _PDDL,
    "pddl-1.0": _PDDL,
    "cc-by-4.0": ("Creative Commons Attribution 4.0 International", "https://creativecommons.org/licenses/by/4.0/"),
    "cc-by-sa-4.0": (
        "Creative Commons Attribution-ShareAlike 4.0 International",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    "cc-by-nc-4.0": (
        "Creative Commons Attribution-NonCommercial 4.0 International",
        "https://creativecommons.org/licenses/by-nc/4.0/",
    ),
}
"""Full name and address by the short name, as in the BIDS appendix on licences and on https://spdx.org/licenses."""


def license_line(name: str) -> str:
    """Return the short name of a licence with its full name and address, if they are known."""
    known = _known(name)
    return f"{name} ({known[0]}, {known[1]})" if known else name


def license_text(name: str) -> str:
    """Return the content of the file LICENSE."""
    known = _known(name)
    return f"{name}\n\nThis dataset is available under {known[0]}:\n{known[1]}\n" if known else f"{name}\n"


def _known(name: str) -> tuple[str, str] | None:
    return _KNOWN.get("-".join(name.lower().split()))
