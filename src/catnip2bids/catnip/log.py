"""The head of a CATNIP log: settings, atlas and image size of a run.

Invariant: only the first "Image Info" block is read, in bounded memory. The output of all tools follows it, and can be
huge.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from catnip2bids.documents import refuse_special_file
from catnip2bids.errors import SourceError

_MAX_LINES = 5000
_MAX_LINE_LENGTH = 4096
_FIRST_WHOLE_BRAIN_ATLAS = 4
_RAT_ATLAS = "v9"

_HEADING = re.compile(r"=+ *Image Info *=+")
_RULE = "====="

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_FACTORS = re.compile(rf"{_NUMBER}x{_NUMBER}x{_NUMBER}\b", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,9})x([0-9]{1,9})x([0-9]{1,9})\b", re.IGNORECASE)
_VERSION = re.compile(r"v?([0-9]{1,3})", re.IGNORECASE)
_ATLAS_FOLDER = re.compile(r"atlas_v([0-9]{1,3})")
_RATIO = re.compile(r"[0-9. ]+/[0-9. ]+")  # Background noise init/slope: 50/1.05
_HOMES = frozenset({"home", "users"})

_REPOSITORY = "https://github.com/SNIR-NIMH/CATNIP"
_COMMIT = "c377c38739e802f9c3d56268ba6ebcd44d5d05f8"


@dataclass(frozen=True)
class RunLog:
    """The settings of a run in its log; properties are None where the log lacks them."""

    # the "Image Info" block: ``{"Atlas version": "v2", ...}``; it holds paths of the lab, so publish `public_fields`
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def atlas_version(self) -> str | None:
        """Such as ``"v2"``; from its own line, or from the folder of the atlas files."""
        stated = _VERSION.fullmatch(self.fields.get("Atlas version", ""))
        if stated:
            return f"v{int(stated[1])}"
        for key in ("Atlas label", "Atlas image"):
            folders = [_ATLAS_FOLDER.fullmatch(part) for part in _parts(self.fields.get(key, ""))]
            for folder in filter(None, reversed(folders)):
                return f"v{int(folder[1])}"
        return None

    @property
    def has_facts(self) -> bool:
        """Whether it says anything that packaging and its checks use."""
        return any((self.atlas_version, self.downsampling, self.image_shape))

    @property
    def downsampling(self) -> tuple[float, float, float] | None:
        """Downsampling factors (z, y, x)."""
        return self._zyx("Downsampling factor", _FACTORS)

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Shape (z, y, x) of the image that CATNIP was given."""
        sizes = self._zyx("Image size", _SIZE)
        return None if sizes is None else (int(sizes[0]), int(sizes[1]), int(sizes[2]))

    def _zyx(self, key: str, pattern: re.Pattern[str]) -> tuple[float, float, float] | None:
        """Return the numbers of a field along (z, y, x); CATNIP writes them HxWxD, which is y, x, z."""
        match = pattern.match(self.fields.get(key, ""))
        if match is None:
            return None
        y, x, z = (float(number) for number in match.groups())
        return (z, y, x) if x * y * z > 0 else None

    @property
    def is_whole_brain(self) -> bool | None:
        """Whether the atlas is one of a whole brain (v4 and later) or of a hemisphere (v1 to v3)."""
        version = self.atlas_version
        return None if version is None else int(version[1:]) >= _FIRST_WHOLE_BRAIN_ATLAS

    @property
    def species(self) -> str:
        """Species of the atlas: v9 is the Waxholm rat, the others (and no atlas) mean a mouse."""
        return "rattus norvegicus" if self.atlas_version == _RAT_ATLAS else "mus musculus"

    @property
    def public_fields(self) -> dict[str, str]:
        """`fields` without the directories, users and hosts of the lab, for publication.

        Of a path only the last component stays, behind CATNIP's own ``atlas_vN/`` if it is an atlas file.
        """
        return {key: _public(value) for key, value in self.fields.items()}


def template_uri(log: RunLog, atlas_version: str | None) -> str:
    """Return the URI of the atlas of a run: the image, its folder, or the repository."""
    if atlas_version is None:
        return _REPOSITORY
    image = log.public_fields.get("Atlas image", "")
    known = image.startswith(f"atlas_{atlas_version}/")
    return f"{_REPOSITORY}/{'blob' if known else 'tree'}/{_COMMIT}/{image if known else f'atlas_{atlas_version}'}"


def read_log(path: Path) -> RunLog:
    """Read the "Image Info" block of a CATNIP log; a log without one has no fields."""
    refuse_special_file(path)
    fields: dict[str, str] = {}
    try:
        for line in _block(path):
            key, colon, value = line.partition(":")
            if colon and _is_key(key):
                fields.setdefault(key.strip(), value.strip())
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read: {error.strerror}; check that it is a file that you may read"
        ) from error
    return RunLog(fields)


def _block(path: Path) -> Iterator[str]:
    """Yield the lines between the first "Image Info" heading and the next rule."""
    is_inside = False
    with path.open("rb") as file:
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # as Windows' Notepad and PowerShell save
    with path.open(encoding="utf-16" if is_utf16 else "utf-8-sig", errors="replace") as file:
        for _ in range(_MAX_LINES):
            line = file.readline(_MAX_LINE_LENGTH)
            if not line or (is_inside and line.startswith(_RULE)):
                return
            if is_inside:
                yield line.strip()
            is_inside = is_inside or _HEADING.match(line) is not None


def _is_key(text: str) -> bool:
    """Whether this names a setting ("Atlas version", "640 Channel") and not a complaint ("bash")."""
    return (text[:1].isupper() or text[:1].isdigit()) and " /" not in text and "\\" not in text


def _parts(path: str) -> list[str]:
    """Components of a POSIX or Windows path."""
    return [part for part in re.split(r"[/\\]", path) if part]


def _public(value: str) -> str:
    if not re.search(r"[/\\]", value) or _RATIO.fullmatch(value):
        return value
    # Everything before the last separator goes: blanks and commas are legal in folder names, so
    # it is unknown where a path begins within a value.
    *folders, last = _parts(value) or [""]
    if folders and folders[-1].lower() in _HOMES:
        return "~"
    atlas = [folder for folder in folders if _ATLAS_FOLDER.fullmatch(folder)]
    return f"{atlas[-1]}/{last}" if atlas else last
