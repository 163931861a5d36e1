"""What to do about a warning of the BIDS validator: which key of the plan, or which file, to fill in.

Invariant: the validator's own words are replaced only where what to do is known.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from catnip2bids.validation.tree import DESCRIPTION

_LINK = re.compile(r"\[([^]]*)\]\(SPEC_ROOT[^)]*\)")
_ADDRESS = re.compile(r"SPEC_ROOT\S*")
_ABOUT_DATASET = {
    "Authors": "names no authors; add them to the plan (dataset.authors) and package again",
    "License": "has no License; add one to the plan (dataset.license) and package again",
    "HEDVersion": "has no HEDVersion; ignore this unless you added HED tags to the dataset",
}
_BY_CODE = {
    "NO_AUTHORS": _ABOUT_DATASET["Authors"],
    "TOO_FEW_AUTHORS": "names fewer than two authors; "
    "if somebody is missing, complete the plan (dataset.authors) and package again",
}


def advice(code: str, key: str, file: PurePosixPath) -> str | None:
    """Say what to do about a warning, if it is known.

    Parameters
    ----------
    code
        The validator's name of the warning.
    key
        The JSON key that it is about, "" if none.
    file
        The file, relative to the dataset.
    """
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code == "JSON_KEY_RECOMMENDED" and file.name == DESCRIPTION:
        by_hand = f"has no {key}, which BIDS recommends; add it to the file, packaging again keeps it"
        return _ABOUT_DATASET.get(key, by_hand)
    if code != "SIDECAR_KEY_RECOMMENDED":
        return None
    if file.parts[:1] == ("derivatives",):
        return f"its sidecar has no {key}, which BIDS recommends; add it to the .json file, packaging again keeps it"
    return (
        f"its sidecar has no {key}, which BIDS recommends; add it to the plan (dataset.acquisition) and package again"
    )


def without_links(text: str) -> str:
    """Write links into the BIDS specification, which the validator leaves unresolved, as their text."""
    return _ADDRESS.sub("the BIDS specification", _LINK.sub(r"\1", text))
