"""Files and folders that operating systems, network storage and other programs leave behind.

Invariant: the lists hold only names that real systems write, without regard to case, and no name of a possible result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from pathlib import Path

from catnip2bids.formatting import format_count, format_list

LEFT_BEHIND = "left behind by an operating system, network storage or another program"

_FILES = (
    # macOS, also on the file systems of others; the second Icon is as file servers show it
    *("._*", ".DS_Store", ".localized", ".apdisk", ".VolumeIcon.icns", ".com.apple.timemachine.*"),
    *("Icon\r", "Icon\uf00d", ":2eDS_Store", ":2e_*"),
    # Windows
    *("Thumbs.db", "Thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "*:Zone.Identifier"),
    # Picasa
    ".picasa.ini",
    # Linux desktops
    *(".goutputstream-*", ".directory"),
    # files that are deleted while they are open: NFS, SMB, FUSE, AFS
    *(".nfs[0-9a-f]*", ".smbdelete*", ".fuse_hidden*", ".__afs*"),
    # Synology
    *("*@SynoResource", "*@SynoEAStream"),
    # Dropbox, Nextcloud
    *(".dropbox", ".dropbox.attr", ".sync_*.db*"),
    # office programs: who has a file open
    *("~$*", ".~*", "~WR[A-Z]*.tmp"),
    # editors: swap files, locks, automatic copies
    *("*.sw[nop]", ".#*", "#?*#", "?*~"),
)
_FOLDERS = (
    # macOS, and file servers that speak with it
    *(".AppleDouble", ".AppleDB", ".AppleDesktop", ".Spotlight-V100", ".Trashes", ".fseventsd", ".TemporaryItems"),
    *(".DocumentRevisions-V100", "__MACOSX", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder"),
    # Windows
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information"),
    # Android
    "LOST.DIR",
    # Linux
    *("lost+found", ".Trash", ".Trash-*"),
    # network storage: Synology, QNAP, NetApp, ZFS, Btrfs
    *("@eaDir", "@tmp", ".SynologyWorkingDirectory", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),
    *(".@__thumb", ".@upload_cache", ".snapshot", ".snapshots", "~snapshot", ".zfs"),
    # Dropbox, Google Drive, Syncthing, Jupyter
    *(".dropbox.cache", ".tmp.drivedownload", ".tmp.driveupload", ".stfolder", ".ipynb_checkpoints"),
)


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)), re.IGNORECASE)


_ANY_FILE, _ANY_FOLDER = _any_of(_FILES), _any_of(_FOLDERS)
_EACH_FILE = {pattern: _any_of([pattern]) for pattern in _FILES}
_UNFINISHED = re.compile(
    r".+\.(?:part|partial|filepart|tmp|temp|crdownload|opdownload|download)|"  # browsers, WinSCP, curl, programs
    r"\..+\.[0-9a-z]{6}",  # rsync
    re.IGNORECASE,
)
_EXAMPLES = 3
_IMAGE = ".zarr"


def is_leftover(path: Path | os.DirEntry[str]) -> bool:
    """Tell whether a path is a leftover, by its name and by whether it is a folder."""
    as_file, as_folder = _ANY_FILE.match(path.name), _ANY_FOLDER.match(path.name)
    return bool((as_file or as_folder) and (as_folder if path.is_dir() else as_file))


def without_leftovers(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the paths that are not leftovers."""
    return (path for path in paths if not is_leftover(path))


def leave_out_leftovers(folders: list[str], files: list[str]) -> list[str]:
    """Remove leftovers from the lists of names that `os.walk` yields, and return their names."""
    found = [name for name in folders if _ANY_FOLDER.match(name)] + [name for name in files if _ANY_FILE.match(name)]
    folders[:] = [name for name in folders if not _ANY_FOLDER.match(name)]
    files[:] = [name for name in files if not _ANY_FILE.match(name)]
    return found


def leftovers_below(folder: Path, *, into_images: bool = False) -> list[Path]:
    """List the leftovers in a folder at any depth.

    A leftover folder is listed and not entered; OME-Zarr images, which may have very many files, are entered only with
    `into_images`.
    """
    found: list[Path] = []
    if not into_images and folder.name.lower().endswith(_IMAGE):
        return found
    for parent, folders, files in os.walk(folder):
        found += (Path(parent, name) for name in sorted(leave_out_leftovers(folders, files)))
        if not into_images:
            folders[:] = [name for name in folders if not name.lower().endswith(_IMAGE)]
    return found


def kind_of_file(name: str) -> str:
    """Return the pattern that matches the name of a leftover file, such as ``._*``."""
    return next(pattern for pattern, regex in _EACH_FILE.items() if regex.match(name))


def unfinished_copies(folder: Path, files: Iterable[Path]) -> tuple[str, ...]:
    """Return a warning about files below a folder whose names show that copying has not finished."""
    found = [path for path in sorted(without_leftovers(files)) if _UNFINISHED.fullmatch(path.name)]
    if not found:
        return ()
    names = format_list([path.relative_to(folder).as_posix() for path in found])
    what = "looks like an unfinished copy" if len(found) == 1 else "look like unfinished copies"
    return (f"{folder}: {names} {what}; finish copying and run again",)


def ignored(leftovers: Sequence[Path]) -> str:
    """Return a note with the number of leftovers, at least one, and a few of their names."""
    examples = list(dict.fromkeys(path.name.strip() for path in leftovers))
    shown = ", ".join(examples[:_EXAMPLES]) + (" ..." if len(examples) > _EXAMPLES else "")
    return f"ignored {format_count(len(leftovers), 'file')} left by systems or programs ({shown})"
