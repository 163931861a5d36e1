"""The result of a verification.

Invariant: each problem names the image or file, and the planes wherever the file could still be decoded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from catnip2bids.bids.provenance import CountDifference
from catnip2bids.formatting import format_count, format_list, format_planes
from catnip2bids.short_repr import ReprSummary, ShortRepr


class ProblemKind(StrEnum):
    """Whether an image or file changed, is missing, or could not be read."""

    CHANGED = "changed"
    MISSING = "missing"
    NOT_READ = "not read"


@dataclass(frozen=True)
class Problem:
    """A change, or something that is not proven."""

    what: str  # in words
    level: int | None = None  # None for a problem that is not about pixels
    planes: tuple[int, ...] = ()  # of that level, counted from 0
    kind: ProblemKind = ProblemKind.CHANGED  # changed, missing, or not read

    def __str__(self) -> str:
        """Return one line, with planes counted from 1."""
        if self.level is None:
            return self.what
        where = f"level {self.level}"
        if self.planes:
            where += f", {format_planes(self.planes)}"
        return f"{where}: {self.what}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, with planes counted from 0."""
        return {"what": self.what, "level": self.level, "planes": list(self.planes), "kind": self.kind.value}


@dataclass(frozen=True)
class ImageVerdict:
    """The result of verifying one image.

    Attributes
    ----------
    image
        POSIX path below the dataset.
    n_planes, n_levels
        Planes and resolution levels that were read.
    problems
        What is wrong with it.
    """

    image: str
    n_planes: int
    n_levels: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether all pixels are those that were read."""
        return not self.problems

    @property
    def worst(self) -> ProblemKind | None:
        """The worst kind of its problems; None if it has none."""
        kinds = {problem.kind for problem in self.problems}
        return next((kind for kind in ProblemKind if kind in kinds), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "image": self.image,
            "ok": self.ok,
            "planes": self.n_planes,
            "levels": self.n_levels,
            "problems": [problem.to_json() for problem in self.problems],
        }


@dataclass(frozen=True)
class FileProblem:
    """A file that has changed, as a POSIX path below the dataset, and the reason."""

    file: str  # POSIX path below the dataset
    what: str  # in words
    kind: ProblemKind = ProblemKind.CHANGED  # changed, missing, or not read


@dataclass(frozen=True)
class VolumeDifference:
    """A region with another number of voxels than CATNIP's table says."""

    index: int  # label value
    catnip: int  # by the table
    found: int  # voxels with that label; CATNIP may have added those of labels that its atlas table lacks


@dataclass(frozen=True)
class CountsVerdict:
    """The result of counting the cells of one table of counts again.

    Attributes
    ----------
    table
        POSIX path below the dataset.
    n_regions
        Regions of which CATNIP counted the cells.
    differences
        The regions in which a different number was found.
    problem
        Why the cells could not be counted; None if they were.
    not_compared
        Label values of the regions with cells for which the table has no count.
    volumes
        The regions of which the table has another volume than the masked labels.
    """

    table: str
    n_regions: int
    differences: tuple[CountDifference, ...]
    problem: str | None = None
    not_compared: tuple[int, ...] = ()
    volumes: tuple[VolumeDifference, ...] = ()

    @property
    def n_confirmed(self) -> int:
        """Regions with the same number of cells, and the same volume."""
        return self.n_regions - len({one.index for one in self.differences} | {one.index for one in self.volumes})

    @property
    def unexplained(self) -> tuple[CountDifference, ...]:
        """The differences that neither a watershed nor a box explains."""
        return tuple(found for found in self.differences if found.reason is None)

    @property
    def ok(self) -> bool:
        """Whether the cells were counted, and nothing speaks against CATNIP's counts and volumes."""
        return self.problem is None and not self.unexplained and not self.volumes

    def __str__(self) -> str:
        """Return the verdict in words."""
        if self.problem is not None:
            return f"not counted: {self.problem}"
        if not self.not_compared:
            return self._compared()
        n, regions = len(self.not_compared), format_list(list(map(str, self.not_compared)))
        return f"{self._compared()}; not compared: {format_count(n, 'region')} with cells but no count ({regions})"

    def _compared(self) -> str:
        """Say how far counts and volumes agree."""
        wrong = []
        if self.unexplained:
            others = (
                f"{format_count(len(self.differences), 'region')} of {self.n_regions:,} with other numbers of cells"
            )
            wrong.append(f"{others}, {len(self.unexplained):,} of them for no known reason")
        if self.volumes:
            wrong.append(f"{format_count(len(self.volumes), 'region')} with another volume than the masked labels")
        if wrong:
            return f"not confirmed: {'; '.join(wrong)}"
        regions = format_count(self.n_regions, "region")
        if not self.differences:
            return f"confirmed: {regions}"
        explained = format_count(len(self.differences), "other")
        return f"confirmed: {self.n_confirmed:,} of {regions}; {explained} cannot be, for a known reason"

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "table": self.table,
            "ok": self.ok,
            "regions": self.n_regions,
            "confirmed": self.n_confirmed,
            "differences": [found.model_dump() for found in self.differences],
            "problem": self.problem,
            "not_compared": list(self.not_compared),
            "volumes": [asdict(found) for found in self.volumes],
        }


@dataclass(frozen=True, repr=False)
class Verification(ShortRepr):
    """The result of verifying a dataset.

    Attributes
    ----------
    dataset
        The dataset.
    images
        A verdict on each image.
    n_files
        Other files that were compared with their checksums.
    file_problems
        Which of them have changed.
    notes
        Files that were added later, and what could not be compared.
    sources_read
        Whether the originals were read again, too.
    counts
        A verdict on each table of counts, if cells were counted again.
    """

    dataset: Path
    images: tuple[ImageVerdict, ...]
    n_files: int
    file_problems: tuple[FileProblem, ...]
    notes: tuple[str, ...] = ()
    sources_read: bool = False
    counts: tuple[CountsVerdict, ...] = ()

    @property
    def counts_agree(self) -> bool:
        """Whether nothing speaks against CATNIP's counts, as far as cells were counted again."""
        return all(verdict.ok for verdict in self.counts)

    @property
    def is_proven(self) -> bool:
        """Whether everything is as it was when it was packaged."""
        return not self.file_problems and all(image.ok for image in self.images)

    @property
    def ok(self) -> bool:
        """Whether everything is proven, and the counts agree, as far as cells were counted again."""
        return self.is_proven and self.counts_agree

    @property
    def has_changed(self) -> bool:
        """Whether something is known to have changed, or to be missing."""
        kinds = {*(image.worst for image in self.images), *(problem.kind for problem in self.file_problems)}
        return not kinds.isdisjoint({ProblemKind.CHANGED, ProblemKind.MISSING})

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems, a line each."""
        of_images = [f"{verdict.image}: {problem}" for verdict in self.images for problem in verdict.problems]
        return (*of_images, *(f"{problem.file}: {problem.what}" for problem in self.file_problems))

    def _summary(self) -> ReprSummary:
        problems = self.problems
        facts = (
            format_count(len(self.images), "image"),
            format_count(sum(image.n_planes for image in self.images), "plane"),
            format_count(self.n_files, "other file"),
            "originals read too" if self.sources_read else "originals not read",
            format_count(len(problems), "problem"),
        )
        return ReprSummary(str(self.dataset), facts, problems=problems)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object; it does not tell where the dataset is on this machine."""
        return {
            "ok": self.ok,
            "sources_read": self.sources_read,
            "images": [verdict.to_json() for verdict in self.images],
            "files": self.n_files,
            "file_problems": [asdict(problem) for problem in self.file_problems],
            "notes": list(self.notes),
            "counts": [verdict.to_json() for verdict in self.counts],
        }
