"""Read and write small files of a dataset: JSON and text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catnip2bids.atomic_write import write_text
from catnip2bids.documents import read_bytes, read_object
from catnip2bids.errors import DatasetError
from catnip2bids.paths import SafePath


def write_json(path: SafePath, document: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; return an empty one if the file does not exist.

    Raises
    ------
    DatasetError
        If it is not a JSON object, or contains text that cannot be written again.
    """
    if not path.is_file():
        return {}
    try:
        document = read_object(path)
        json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        raise DatasetError(f"{path}: is not a valid JSON object ({error}); correct it and run again") from error
    return document


def read_text(path: Path) -> str:
    """Read a text file; return an empty text if it does not exist.

    Raises
    ------
    DatasetError
        If it is not UTF-8.
    """
    try:
        return read_bytes(path).decode() if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8 and run again") from error


def add_lines(path: SafePath, text: str) -> None:
    """Add lines to a text file, except those that it has already."""
    before = read_text(path)
    missing = [line for line in text.splitlines() if line not in before.splitlines()]
    if missing:
        write_text(path, before + "\n".join(missing) + "\n")
