"""The result of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catnip2bids.comparison.files import FileComparison
from catnip2bids.comparison.path_kind import PathKind
from catnip2bids.comparison.relation import Relation
from catnip2bids.comparison.tables import TableComparison
from catnip2bids.comparison.volumes import VolumeComparison
from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr

ItemComparison = VolumeComparison | TableComparison | FileComparison


def verdict_of(item: ItemComparison) -> str:
    """Return the relation of a pair in words, without claiming a difference that was not found."""
    if item.differs or not item.problems:
        return item.relation.value
    return "nothing differs in what could be compared" if item.is_compared else "not compared"


@dataclass(frozen=True, repr=False)
class Comparison(ShortRepr):
    """How two components differ.

    Attributes
    ----------
    path_1, path_2
        The compared paths.
    items
        The comparison; of two folders, one for each pair of paths in them.
    only_in_1, only_in_2
        What only one of two folders has, by its path below the folder.
    skipped_1, skipped_2
        What is never compared (hidden files, leftovers of systems, links to a parent folder), likewise.
    is_folder
        Whether two folders were compared path by path.
    notes
        Notes about paths that were not compared.
    """

    path_1: Path
    path_2: Path
    items: tuple[ItemComparison, ...]
    only_in_1: Mapping[str, PathKind]
    only_in_2: Mapping[str, PathKind]
    skipped_1: Mapping[str, PathKind]
    skipped_2: Mapping[str, PathKind]
    is_folder: bool
    notes: tuple[str, ...] = ()

    @property
    def relation(self) -> Relation:
        """Relation of 2 to 1: that of all pairs that are not identical, or `different` if theirs vary.

        It is `different` too if nothing was compared.
        """
        if self.only_in_1 or self.only_in_2 or not self.is_compared:
            return Relation.DIFFERENT
        found = {item.relation for item in self.items} - {Relation.IDENTICAL}
        if not found:
            return Relation.IDENTICAL
        return found.pop() if len(found) == 1 else Relation.DIFFERENT

    def name_of(self, item: ItemComparison) -> str:
        """Return the path of an item below folder 1, or its name if no folders are compared."""
        return item.path_1.relative_to(self.path_1).as_posix() if self.is_folder else item.path_1.name

    @property
    def problems(self) -> tuple[str, ...]:
        """Messages about everything that could not be read or compared."""
        found = [problem for item in self.items for problem in item.problems]
        for folder, only in ((self.path_1, self.only_in_1), (self.path_2, self.only_in_2)):
            found += [
                f"{folder / path}: cannot be read; make it readable, or compare without it"
                for path, kind in only.items()
                if kind == PathKind.UNREADABLE
            ]
        if all(isinstance(item, FileComparison) and item.are_empty for item in self.items):
            why = "nothing in one of them has the path and the kind of anything in the other one"
            if not (self.only_in_1 or self.only_in_2):
                why = "both hold nothing that is compared" if self.skipped_1 or self.skipped_2 else "both are empty"
            found.append(f"{self.path_1} and {self.path_2}: nothing was compared, because {why}")
        return tuple(dict.fromkeys(found))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes and warnings of all items, without repetition."""
        volumes = [item for item in self.items if isinstance(item, VolumeComparison)]
        return tuple(dict.fromkeys((*self.notes, *(text for item in volumes for text in item.warnings))))

    @property
    def n_not_compared(self) -> int:
        """Number of pairs without a difference that could not be read completely."""
        return sum(bool(item.problems) and not item.differs for item in self.items)

    @property
    def verdict(self) -> str:
        """The relation in words, without claiming a difference that was not found."""
        if not self.is_compared:
            return "nothing was compared"
        n, is_one_sided = self.n_not_compared, bool(self.only_in_1 or self.only_in_2)
        if not n or is_one_sided or any(item.differs for item in self.items):
            return self.relation.value
        if not self.is_folder:
            return verdict_of(self.items[0])
        return f"nothing differs, but {n} {'was' if n == 1 else 'were'} not fully compared"

    @property
    def is_compared(self) -> bool:
        """Whether anything was compared."""
        return any(item.is_compared for item in self.items)

    @property
    def exit_code(self) -> int:
        """Exit code as of ``diff``: 0 identical, 1 different, 2 trouble."""
        if self.problems:
            return 2
        return 0 if self.relation == Relation.IDENTICAL else 1

    def _summary(self) -> ReprSummary:
        facts = [self.verdict]
        if self.is_compared:
            facts.append(format_count(len(self.items) - self.n_not_compared, "path") + " compared")
        if self.is_folder:
            facts += [f"{len(self.only_in_1)} only in 1", f"{len(self.only_in_2)} only in 2"]
        n_skipped = len(self.skipped_1) + len(self.skipped_2)
        facts += [f"{n_skipped} skipped"] if n_skipped else []
        facts.append(format_count(len(self.problems), "problem"))
        rows = [{"compared": self.name_of(item), "relation": verdict_of(item)} for item in self.items]
        return ReprSummary(f"{self.path_1} and {self.path_2}", tuple(facts), rows, self.problems)
