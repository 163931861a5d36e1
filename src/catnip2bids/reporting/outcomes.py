"""What validate and verify found last, kept beside the report: ``docs/report/validation.json``, ``verification.json``.

Invariant: an outcome is shown only with the answer to whether the dataset is still the one that was checked. It has
checksums of all its files but pixels, so the checksum of these stands for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from catnip2bids.bids.checksums import CHECKSUMS, file_sha256
from catnip2bids.bids.provenance import PROVENANCE
from catnip2bids.publish import naming_what_cannot_be_written, write_text

REPORT = Path("docs/report")
"""Where the report is, below the dataset."""


class Check(Protocol):
    """What came of a validation or a verification."""

    @property
    def ok(self) -> bool:
        """Whether all is well."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes
    ----------
    ok
        Whether all was well.
    time
        When, in UTC, to the minute.
    is_current
        Whether the dataset is still the one that was checked.
    found
        The whole outcome, as `Check.to_json` writes it.
    """

    ok: bool
    time: str
    is_current: bool
    found: dict[str, Any]


def keep_outcome(dataset: Path, name: str, check: Check) -> None:
    """Keep what a check found, for the next report; datasets of others are left alone.

    Parameters
    ----------
    dataset
        The dataset that was checked.
    name
        ``validation`` or ``verification``.
    check
        What came of it.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    if not (dataset / PROVENANCE).is_file():
        return
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    document = {"time": now, "dataset": _state(dataset), "ok": check.ok, "found": check.to_json()}
    path = _path(dataset, name)
    with naming_what_cannot_be_written(path):
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read_outcome(dataset: Path, name: str) -> Outcome | None:
    """Read what a check found last; None if it never ran, or what was kept cannot be read any more."""
    try:
        document = json.loads(_path(dataset, name).read_bytes())
        is_current = document["dataset"] == _state(dataset)
        return Outcome(bool(document["ok"]), str(document["time"]), is_current, dict(document["found"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(dataset: Path, name: str) -> Path:
    return dataset / REPORT / f"{name}.json"


def _state(dataset: Path) -> str | None:
    checksums = dataset / CHECKSUMS
    return file_sha256(checksums) if checksums.is_file() else None
