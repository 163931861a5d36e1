"""Everything in a dataset but pixels, compared with its checksums."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from catnip2bids.bids.checksums import CHECKSUMS, Checksums, checked_files, file_sha256
from catnip2bids.engine import Resources, Team
from catnip2bids.errors import DatasetError
from catnip2bids.verification.result import FileProblem

_READ_BYTES = 2**20


def verify_files(dataset: Path, checksums: Checksums, resources: Resources) -> Iterator[FileProblem]:
    """Yield the files that have changed; `later_files` lists those that are new."""
    if not checksums.is_intact:
        yield FileProblem(CHECKSUMS.as_posix(), "was changed: its own checksum is not right")

    with Team(resources, _READ_BYTES, about=dataset) as team:
        found = team.do(partial(_compared, dataset), sorted(checksums.files.items()))
        yield from (problem for problem in found if problem is not None)


def _compared(dataset: Path, file_and_sha256: tuple[str, str]) -> FileProblem | None:
    """Compare a file with its checksum."""
    file, sha256 = file_and_sha256
    try:
        same = file_sha256(dataset / file) == sha256
    except FileNotFoundError:
        return FileProblem(file, "does not exist any more")
    except OSError as error:
        return FileProblem(file, f"cannot be read: {error.strerror}")
    return None if same else FileProblem(file, "was changed since it was packaged")


def later_files(dataset: Path, checksums: Checksums) -> list[str]:
    """List the files that came after the dataset was packaged.

    Raises
    ------
    DatasetError
        If a folder cannot be listed.
    """
    try:
        return sorted(set(checked_files(dataset)) - checksums.files.keys())
    except OSError as error:
        raise DatasetError(
            f"{error.filename}: cannot be listed: {error.strerror}; make it readable and verify again"
        ) from error
