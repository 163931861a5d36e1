"""The relations of two volumes, tables or files, as ``comparison.json`` names them."""

from __future__ import annotations

from enum import StrEnum


class Relation(StrEnum):
    """The relation of 2 to 1."""

    IDENTICAL = "identical"
    MASKED_2 = "2-is-1-masked"
    """Wherever they differ, 2 is 0."""
    MASKED_1 = "1-is-2-masked"
    SHIFTED = "shifted"
    """The same planes under other slice numbers."""
    CAST = "cast"
    """The same values, stored as another type."""
    DIFFERENT = "different"

    @property
    def is_masked(self) -> bool:
        """Whether one is the other with some voxels set to 0."""
        return self in (Relation.MASKED_1, Relation.MASKED_2)
