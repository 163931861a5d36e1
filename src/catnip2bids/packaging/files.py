"""Small files of a dataset that are read, grown and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catnip2bids.errors import DatasetError
from catnip2bids.publish import write_text


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a file that is not there is an empty one."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path}: is no JSON ({error}); mend it, or remove it to have it made anew") from error
    if not isinstance(document, dict):
        raise DatasetError(f"{path}: is no JSON object; mend it, or remove it to have it made anew")
    return document


def add_lines(path: Path, text: str) -> None:
    """Add the lines of a text to a file, those that it has not yet."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    missing = [line for line in text.splitlines() if line not in before.splitlines()]
    if missing:
        write_text(path, before + "\n".join(missing) + "\n")
