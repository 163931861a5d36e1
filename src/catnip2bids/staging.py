"""Outputs that are written in steps, so that an interrupted one is resumed.

Such an output has its temporary name (see `catnip2bids.atomic_write`) and, beside it, a folder of markers: a
fingerprint of everything that decides its content, and a file for each finished step.

Invariant: a step is resumed only if the fingerprint is the same. Other temporary files of killed programs are removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.atomic_write import MARKERS, PARTIAL, markers_path, partial_path, publish, remove, write_text
from catnip2bids.errors import DatasetError, ReadError, SourceError, UsageError
from catnip2bids.locks import LOCK, wait_for_workers
from catnip2bids.paths import SafePath, safe_path

_FINGERPRINT = "fingerprint"
_COMPLETE = "complete"


@dataclass(frozen=True)
class StagedOutput:
    """A file or folder that is written in steps, over several attempts if need be."""

    path: SafePath  # its temporary path; a folder exists from the beginning, a file does not
    markers: SafePath


@contextmanager
def staged_output(final: SafePath, fingerprint: str, *, is_folder: bool = True) -> Iterator[StagedOutput]:
    """Begin or resume a folder or file that is written in steps, and give it its final name at the end.

    Steps of an earlier attempt are kept if it had the same fingerprint. They are also kept if this attempt is
    interrupted, and removed if the source is bad or the request is impossible. The markers stay after the end until
    `discard_staging` is called; until then the output can be resumed again at no cost. Callers must hold a lock on the
    dataset or on the name.

    Parameters
    ----------
    final
        The folder or file to write.
    fingerprint
        Stands for everything that decides its content.
    is_folder
        Whether it is a folder.
    """
    staged = StagedOutput(partial_path(final), markers_path(final))
    if staged.markers.is_symlink():
        raise DatasetError(f"{staged.markers}: is a link that catnip2bids did not create; remove it and run again")
    staged.markers.mkdir(parents=True, exist_ok=True)
    wait_for_workers(staged.markers, final)
    if not _resume(staged, final, fingerprint) and is_folder:
        staged.path.mkdir()
    try:
        yield staged
        write_text(safe_path(staged.markers, _COMPLETE), "")
        wait_for_workers(staged.markers, final)  # a worker that was believed lost may repeat a finished step
        publish(staged.path, final, final)
    except ReadError:
        raise  # the system's fault, not the source's
    except (SourceError, UsageError):  # it can never be finished
        discard_staging(final)
        raise


def _resume(staged: StagedOutput, final: SafePath, fingerprint: str) -> bool:
    """Keep the steps of an earlier attempt with the same fingerprint; return whether there are any."""
    marker = safe_path(staged.markers, _FINGERPRINT)
    if _has_content(marker, fingerprint) and not _has_links(staged.path) and not _has_links(final):
        if not staged.path.exists() and final.exists() and (staged.markers / _COMPLETE).is_file():
            final.replace(staged.path)  # the program was killed after it had renamed the output
        return staged.path.exists()
    for old in staged.markers.iterdir():
        remove(safe_path(staged.markers, old.name))
    remove(staged.path)
    write_text(marker, fingerprint)
    return False


def _has_content(marker: Path, fingerprint: str) -> bool:
    is_ours = marker.is_file() and not marker.is_symlink() and marker.stat().st_size == len(fingerprint.encode())
    return is_ours and marker.read_text(errors="replace") == fingerprint


def _has_links(path: Path) -> bool:
    """Tell whether a path is a link or contains one, through which pixels would be written."""
    return path.is_symlink() or any(
        Path(parent, name).is_symlink() for parent, folders, files in os.walk(path) for name in (*folders, *files)
    )


def discard_staging(final: SafePath) -> None:
    """Remove the markers of an output, and its unfinished files if there are any."""
    markers = markers_path(final)
    if not markers.is_symlink():
        wait_for_workers(markers, final)
    remove(markers)
    remove(partial_path(final))


def is_unfinished(final: SafePath, fingerprint: str | None = None) -> bool:
    """Tell whether an output, or the one with this fingerprint, was begun in steps and not finished."""
    markers = markers_path(final)
    if fingerprint is None:
        return markers.is_dir()
    return _has_content(markers / _FINGERPRINT, fingerprint)


def unfinished_outputs(folder: Path) -> list[SafePath]:
    """List the final paths of all outputs below a folder that were begun in steps and not finished."""
    return [
        safe_path(parent, name.removeprefix(".").removesuffix(MARKERS))
        for parent, folders, _ in _walk_outside_images(folder)
        for name in sorted(folders)
        if name.startswith(".") and name.endswith(MARKERS)
    ]


def is_temporary(path: Path) -> bool:
    """Tell by its name whether a path is a temporary file or folder of this program."""
    return path.name.startswith(".") and path.name.endswith((PARTIAL, MARKERS, LOCK))


def temporary_below(folder: Path) -> Iterator[Path]:
    """Yield the temporary files and folders below a folder; images never contain any."""
    for parent, folders, files in _walk_outside_images(folder):
        yield from (parent / name for name in sorted([*folders, *files]) if is_temporary(Path(name)))
        folders[:] = [name for name in folders if not is_temporary(Path(name))]


def remove_partials(folder: Path) -> None:
    """Remove partial files and folders that killed programs left below a folder, except those that can be resumed."""
    kept = {partial_path(final) for final in unfinished_outputs(folder)}
    for parent, folders, files in _walk_outside_images(folder):
        for name in [*folders, *files]:
            if name.startswith(".") and name.endswith(PARTIAL) and parent / name not in kept:
                remove(safe_path(parent, name))


def _walk_outside_images(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk through folders, but not into images, which may have very many files."""
    for parent, folders, files in os.walk(folder):
        yield Path(parent), folders, files
        folders[:] = [name for name in folders if not name.endswith((".zarr", PARTIAL))]
