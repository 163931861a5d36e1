"""Parsing the names of run folders and of their parents.

Invariant: ambiguous parts are None. A wrong subject is worse than an unknown one, so only names with the structure of
a run's name give an animal.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar
from unicodedata import normalize

from catnip2bids.formatting import as_label

Sex = Literal["M", "F"]
Hemisphere = Literal["L", "R", "B"]
SAMPLES: Mapping[Hemisphere, str] = {"L": "LeftHemisphere", "R": "RightHemisphere", "B": "WholeBrain"}
"""Labels of samples by hemisphere; B is both."""

_T = TypeVar("_T")

_SEX_WORDS: Mapping[str, Sex] = {"male": "M", "female": "F"}
_SEX_LETTERS: Mapping[str, Sex] = {"m": "M", "f": "F"}
_HEMISPHERES: Mapping[str, Hemisphere] = {
    "lh": "L",
    "left": "L",
    "left-hemisphere": "L",
    "lefthemisphere": "L",
    "rh": "R",
    "right": "R",
    "right-hemisphere": "R",
    "righthemisphere": "R",
    "wb": "B",
    "whole": "B",
    "whole-brain": "B",
    "wholebrain": "B",
}
_ONLY_SAMPLES: Mapping[str, Hemisphere] = {"l": "L", "r": "R", "both": "B"}
"""More words for samples, which may mean something else in the name of a run."""
_HEMISPHERE_FILLERS = frozenset({"brain", "hemi", "hemisphere"})  # as in left_hemisphere, whole_brain
GENOTYPES = frozenset({"ko", "wt", "het", "hom", "flox", "floxed", "tg", "cre"})

_DATE = re.compile(r"((?:20)?[0-9]{2})([0-9]{2})([0-9]{2})")
_TIME = re.compile(r"([0-9]{2})-([0-9]{2})-([0-9]{2})")
_ANALYSIS_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CHANNEL = re.compile(r"[0-9]{3}")
_LONG_NUMBER = re.compile(r"[0-9]{4}")  # how ids that are no channels begin
_COPY = re.compile(
    r"^(?:copy of|kopie von) +|"
    r"(?:[ _-]+(?:copy|kopie)(?: ?\(?[0-9]{1,2}\)?)?| ?\((?:[0-9]{1,2}|[^()]{0,9}(?:copy|kopie))\))+$",
    re.IGNORECASE,
)
"""What file managers and browsers write before and after the name of a copy."""

_LONGEST_WAIT = dt.timedelta(days=6 * 366)
"""The longest time from imaging to the analysis by CATNIP.

A month that is read as a year (081021, which is August 10, 2021 in the US, as 2008) gives a year up to 2012, which is
further away. Brains of CATNIP's first years, which are analysed again today, keep their date.
"""


@dataclass(frozen=True)
class RunName:
    """The parts of a run's name; None for those that are unknown.

    Attributes
    ----------
    date, time
        When the brain was imaged (never when CATNIP ran).
    animal_id, genotype
        As they are written, with accents in NFC.
    sex
        ``"M"`` or ``"F"``.
    hemisphere
        ``"L"``, ``"R"`` or ``"B"`` (both: the whole brain).
    doubts
        What in the name is not used, since it cannot be right or has two meanings.
    """

    date: dt.date | None = None
    animal_id: str | None = None
    genotype: str | None = None
    sex: Sex | None = None
    hemisphere: Hemisphere | None = None
    time: dt.time | None = None
    doubts: tuple[str, ...] = ()

    @property
    def acquired(self) -> dt.datetime | None:
        """When the brain was imaged; None unless both the date and the time are known."""
        if self.date is None or self.time is None:
            return None
        return dt.datetime.combine(self.date, self.time)

    @property
    def source_id(self) -> str | None:
        """The animal as the lab writes it: ``45670_ko``, or ``45670`` without a genotype."""
        if self.animal_id is None or self.genotype is None:
            return self.animal_id
        return f"{self.animal_id}_{self.genotype}"

    @property
    def subject_label(self) -> str | None:
        """`source_id` as a BIDS label, letters and digits only, without their accents: ``45670ko``."""
        return as_label(self.source_id or "") or None

    def filled_from(self, other: RunName) -> RunName:
        """Return this name with unknown parts from another one."""
        return RunName(
            date=self.date or other.date,
            animal_id=self.animal_id or other.animal_id,
            genotype=self.genotype or other.genotype,
            sex=self.sex or other.sex,
            hemisphere=self.hemisphere or other.hemisphere,
            time=self.time or other.time,
            doubts=self.doubts + other.doubts,
        )


def sample_label(text: str) -> str:
    """Return the label of a sample such as LH, right or whole brain; return other texts unchanged."""
    words = [word for word in re.split(r"[\W_]+", text.lower()) if word and word not in _HEMISPHERE_FILLERS]
    known = {word.replace("-", ""): hemisphere for word, hemisphere in {**_HEMISPHERES, **_ONLY_SAMPLES}.items()}
    return SAMPLES[known["".join(words)]] if "".join(words) in known else text


def parse_run_name(name: str, parents: Sequence[str] = ()) -> RunName:
    """Read ``DATE_ID_GENOTYPE_SEX_HEMISPHERE_TIME_decon_DATE_TIME``; any part may be missing.

    Parent folders, the nearest first, add parts that the name lacks: a folder that names the same animal
    (``_45925_LH_flox_20211029``) any part, a genotype (``KO``) the genotype. All parts are None for names without the
    structure of a run's name (``data``, ``640_2026-05-02_09-12-33``).

    Examples
    --------
    >>> run = parse_run_name("210810_45670_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11")
    >>> run.subject_label, run.sex, run.hemisphere, str(run.acquired)
    ('45670ko', 'F', 'L', '2021-08-10 14:48:50')
    """
    around = [_read_parent(parent) for parent in parents]
    ids_around = [found.animal_id for found in around if found.animal_id]
    run = _read_run(name, ids_around)
    animal_id = run.animal_id or next(iter(ids_around), None)
    for parent, found in zip(parents, around, strict=True):
        if animal_id and parent.lower() in GENOTYPES:
            is_in_id = re.search(rf"(?<![a-z]){parent}$", animal_id, re.IGNORECASE)  # such as 45670-ko
            run = run if is_in_id else run.filled_from(RunName(genotype=parent))
        elif found.animal_id == animal_id:
            run = run.filled_from(found)
    return _with_possible_date(run, name)


def _with_possible_date(run: RunName, name: str) -> RunName:
    """Set a date aside if it is in the future, after the analysis in the name, or long before it."""
    today = dt.datetime.now(tz=dt.UTC).date() + dt.timedelta(days=1)  # wherever the microscope is
    dates = filter(None, map(_as_iso_date, _ANALYSIS_DATE.findall(name)))
    analysed = max((date for date in dates if date.year >= 2000), default=None)
    earliest, latest = (analysed - _LONGEST_WAIT, min(analysed, today)) if analysed else (dt.date.min, today)
    if run.date is None or earliest <= run.date <= latest:
        return run
    doubt = (
        f"the date in its name, read as year, month and day, is {run.date}: this is in the future, after the analysis "
        "or long before it, and is not used; give date and time as acquired in the plan"
    )
    return replace(run, date=None, doubts=(*run.doubts, doubt))


def _read_run(name: str, ids_around: Collection[str]) -> RunName:
    """Parse a run's own name; ids of parent folders distinguish dates from ids that look like dates."""
    found, words, has_structure = _read(name, ids_around)
    if not has_structure:
        return RunName()
    if _names_animal(words):
        # Today's CATNIP puts the channel where the date was: 640_LH_2026-05-02_09-12-33.
        if len(words) == 1 and found.date is None and _CHANNEL.fullmatch(words[0]):
            return found
        return found.filled_from(_animal(words))
    if words and words[0].lower() in GENOTYPES:
        return found.filled_from(RunName(genotype=words[0]))
    return found


def _read_parent(name: str) -> RunName:
    """Parse the name of a parent folder; return an empty name unless it clearly names an animal."""
    found, words, _ = _read(name)
    while words and (len(re.findall("[0-9]", words[0])) < 3 or _as_date(words[0])):
        words = words[1:]
    if not words or (found.sex is None and found.hemisphere is None):
        return RunName()
    return found.filled_from(_animal(words))


def _read(name: str, ids_around: Collection[str] = ()) -> tuple[RunName, list[str], bool]:
    """Recognise the parts of a name that have a form of their own.

    Returns these parts, the remaining words, of which the id and the genotype are made, and whether the name has the
    structure of a run's name.
    """
    words, has_decon = _words(name)
    sex_at, sex = _first_known(words, _SEX_WORDS, _SEX_LETTERS)
    hemispheres = {at: _HEMISPHERES[word.lower()] for at, word in enumerate(words) if word.lower() in _HEMISPHERES}
    named = set(hemispheres.values())
    hemisphere = named.pop() if len(named) == 1 else None  # nobody knows which of two
    times = [word for word in words if _TIME.fullmatch(word)]
    fillers = _HEMISPHERE_FILLERS if hemisphere else frozenset()
    others = [
        word
        for at, word in enumerate(words)
        if at != sex_at and at not in hemispheres and word not in times and word.lower() not in fillers
    ]
    others = _without_channel(others)
    first = others[0] if others else ""
    date = _as_date(first)
    if date and (_names_animal(others[1:]) or (ids_around and first not in ids_around) or len(first) == 8):
        others = _without_channel(others[1:], is_dated=True)
    else:
        date = None  # an id that looks like a date
    while len(others) > 1 and (_as_date(others[-1]) or _CHANNEL.fullmatch(others[-1])):
        others = others[:-1]
    if others and len(others[0]) == 8 and _as_date(others[0]):
        others = others[1:]
    time = _as_time(times[0]) if times else None
    found = RunName(date=date, sex=sex, hemisphere=hemisphere, time=time)
    has_structure = bool(date or sex or hemisphere or has_decon)
    return _with_possible_sex(found, words, sex_at, others), others, has_structure


def _with_possible_sex(run: RunName, words: Sequence[str], sex_at: int | None, others: Sequence[str]) -> RunName:
    """Set a sex aside that is a letter before the id or a number: M_12 may be mouse 12."""
    if sex_at is None or sex_at + 1 == len(words) or words[sex_at].lower() not in _SEX_LETTERS:
        return run
    letter, after = words[sex_at : sex_at + 2]
    if after not in others[:1] and not (after in others and after.isdigit()):
        return run
    doubt = (
        f"{letter} before {after} in its name may be the sex or a part of the id, and is used as neither; give the sex "
        "in the plan, and the subject if it is wrong"
    )
    return replace(run, sex=None, doubts=(doubt,))


def _without_channel(words: list[str], *, is_dated: bool = False) -> list[str]:
    """Leave out a channel before an id (640_45670_ko); return no words if either number could be the id (640_12_ko).

    After a date, a channel is rare: there, a number of three digits is the id of an animal with a genotype such as
    5xFAD.
    """
    if len(words) < 2 or not _CHANNEL.fullmatch(words[0]) or not re.search("[0-9]", words[1]):
        return words
    if _as_date(words[1]):
        if len(words) == 2:
            return words
        return words[1:] if _LONG_NUMBER.match(words[2]) and not _as_date(words[2]) else []
    if _LONG_NUMBER.match(words[1]):
        return words[1:]
    return words if is_dated and not words[1].isdigit() else []


def _first_known(words: Sequence[str], *tables: Mapping[str, _T]) -> tuple[int | None, _T | None]:
    """Return the place and the meaning of the first word that a table knows; the first such table decides."""
    for meanings in tables:
        for at, word in enumerate(words):
            if word.lower() in meanings:
                return at, meanings[word.lower()]
    return None, None


def _words(name: str) -> tuple[list[str], bool]:
    """Split a name without the suffixes of deconvolution and analysis; tell whether it contains decon."""
    name = normalize("NFC", name)  # macOS and Linux may encode the accents of one id in different ways
    name = _COPY.sub("", name.strip())
    words = [word.strip() for word in name.split("_") if word.strip()]
    lower = [word.lower() for word in words]
    has_decon = "decon" in lower
    if has_decon:
        words = words[: lower.index("decon")]
    for at in range(len(words) - 1):
        if _ANALYSIS_DATE.fullmatch(words[at]) and _TIME.fullmatch(words[at + 1]):
            words = words[:at]
            break
    return [word for word in words if not _ANALYSIS_DATE.fullmatch(word)], has_decon


def _names_animal(words: Sequence[str]) -> bool:
    """Whether the first of these words can be an id: it has a digit, or a genotype follows."""
    if not words or words[0].lower() in GENOTYPES:
        return False
    return len(words) > 1 or re.search("[0-9]", words[0]) is not None


def _animal(words: Sequence[str]) -> RunName:
    return RunName(animal_id=words[0], genotype="_".join(words[1:]) or None)


def _as_date(word: str) -> dt.date | None:
    match = _DATE.fullmatch(word)
    if match is None:
        return None
    year, month, day = (int(part) for part in match.groups())
    try:
        return dt.date(year if year >= 2000 else 2000 + year, month, day)
    except ValueError:
        return None


def _as_iso_date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def _as_time(word: str) -> dt.time | None:
    try:
        return dt.time.fromisoformat(word.replace("-", ":"))
    except ValueError:
        return None
