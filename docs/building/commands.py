"""The reference of the commands, written from the functions that are the commands."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from html import escape
from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperGroup
from typer.models import ArgumentInfo, OptionInfo

from catnip2bids.cli.app import app

_EXAMPLE = re.compile(r"\n*Examples?: (?P<text>.*)", re.DOTALL)
_BOLD = re.compile(r"\[bold\](.*?)\[/(?:bold)?\]", re.DOTALL)


@dataclass(frozen=True)
class _Parameter:
    """An argument or option of a command, as its function declares it."""

    name: str
    words: tuple[str, ...]
    of_type: Any
    info: ArgumentInfo | OptionInfo
    default: object

    @property
    def value(self) -> str:
        """What is given, in a word: `DIR`, `N`, or the choices."""
        if self.info.metavar:
            return self.info.metavar
        if issubclass(self.of_type, Enum):
            return "|".join(choice.value for choice in self.of_type)
        return "PATH" if issubclass(self.of_type, Path) else "TEXT"

    @property
    def names(self) -> str:
        """What is typed."""
        values = " or ".join(f"`{value}`" for value in self.value.split("|"))  # a bar would end the cell of a table
        if isinstance(self.info, ArgumentInfo):
            return values
        names = ", ".join(f"`{word}`" for word in self.words)
        return names if self.of_type is bool else f"{names} {values}"

    @property
    def default_text(self) -> str:
        """What it is if it is not given."""
        if self.default is inspect.Parameter.empty:
            return "must be given"
        if self.default is None or isinstance(self.default, bool):
            return "on" if self.default is True else ""
        return f"`{self.default.value if isinstance(self.default, Enum) else self.default}`"


def describe_commands() -> str:
    """Describe all commands as Markdown: a section for each, with its usage, arguments, options and examples."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    lines = ["## Options of all commands", "", *_table(_parameters(group)), ""]
    for command in group.commands.values():
        lines += _describe(command)
    return "\n".join(lines)


def _describe(command: Any) -> Iterator[str]:
    text = inspect.getdoc(command.callback) or ""
    example = _EXAMPLE.search(text)
    parameters = _parameters(command)
    arguments = [parameter for parameter in parameters if isinstance(parameter.info, ArgumentInfo)]
    yield from (f"## {command.name}", "", _plain(_EXAMPLE.sub("", text)), "")
    yield from ("```text", " ".join(("catnip2bids", command.name, *map(_usage, arguments), "[OPTIONS]")), "```", "")
    yield from (*_table(parameters), "")
    if example:
        shown = [" ".join(words.split()) for words in _BOLD.findall(example["text"])]
        yield from ("Example:" if len(shown) == 1 else "Examples:", "", "```text", *shown, "```", "")


def _usage(argument: _Parameter) -> str:
    word = argument.value + ("..." if argument.name == "sources" else "")
    return word if argument.default is inspect.Parameter.empty else f"[{word}]"


def _parameters(command: Any) -> list[_Parameter]:
    words = {param.name: (*param.opts, *param.secondary_opts) for param in command.params}
    found = []
    for name, parameter in inspect.signature(inspect.unwrap(command.callback), eval_str=True).parameters.items():
        if parameter.annotation is typer.Context:
            continue
        annotated, info = get_args(parameter.annotation)
        if not info.hidden:
            found.append(_Parameter(name, words[name], _bare(annotated), info, parameter.default))
    return found


def _bare(annotated: Any) -> Any:
    """Return the type of one value: of `Path | None` and `list[Path]` that is `Path`."""
    if isinstance(annotated, types.UnionType):
        annotated = next(kind for kind in get_args(annotated) if kind is not type(None))
    return get_args(annotated)[0] if get_args(annotated) else annotated


def _table(parameters: list[_Parameter]) -> Iterator[str]:
    """Describe arguments and options, one a row."""
    yield from ("| argument or option | what it says | default |", "| --- | --- | --- |")
    for parameter in parameters:
        cells = (parameter.names, _plain(parameter.info.help or ""), parameter.default_text)
        yield f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Take markup and line ends out; what looks like HTML is text."""
    return escape(" ".join(_BOLD.sub(r"\1", text).split()), quote=False)
