"""The fields of a class whose comments say what they are, as the section `Attributes` of its docstring.

Invariant: a docstring that describes its attributes itself stays as it is.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Parser

_PRIVATE = re.compile(r"\b_[A-Z]|Annotated")
"""In types that say more to pydantic than to people."""


class FieldComments(Extension):
    """Describes the fields of a class by the comments behind them, unless its docstring does."""

    def on_class_members(self, *, node: Any, cls: Class, **_: Any) -> None:
        """Add the fields to the docstring of a class when all its members are known."""
        text = cls.docstring.value if cls.docstring else ""
        if not isinstance(node, ast.ClassDef) or "\nAttributes\n---" in text:
            return
        assert isinstance(cls.filepath, Path)
        described, lines = "", cls.lines_collection[cls.filepath]
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id[0] != "_":
                comment = lines[(field.end_lineno or 1) - 1].partition("  # ")[2]
                if comment:
                    described += f"\n{field.target.id}\n    {comment[0].upper()}{comment[1:]}."
                    _hide_private_type(cls.members[field.target.id])
        if described:
            text = f"{text}\n\nAttributes\n----------{described}"
            cls.docstring = Docstring(text, parent=cls, lineno=node.lineno, parser=Parser.numpy)


def _hide_private_type(member: Any) -> None:
    if isinstance(member, Attribute) and _PRIVATE.search(str(member.annotation)):
        member.annotation = None
