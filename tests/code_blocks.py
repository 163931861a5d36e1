"""Blocks of code in Markdown, and whether a program prints what the block of `output` after it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from os import environ
from pathlib import Path

import pytest

from fork_server import start

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

needs_r = pytest.mark.skipif(shutil.which("Rscript") is None and "CI" not in environ, reason="needs R")


def pattern_of(output: str) -> str:
    """Turn an output with `...` for anything into a regular expression."""
    lines = r"\n".join(".*?".join(map(re.escape, line.split("..."))) for line in output.splitlines())
    # a line of nothing but dots stands for any lines, or none
    return re.sub(r"(^|\\n)\.\*\?\\n", r"\1(?:.*?\\n)?", lines) + r"\n?"


def printed_by(language: str, text: str, folder: Path) -> str:
    """Run a program in Python or R in a folder; return what it wrote to stdout."""
    if language == "r":
        words = ["Rscript", "--vanilla", "-"]  # reads the program from stdin
        done = subprocess.run(words, input=text, cwd=folder, capture_output=True, text=True, check=False)
    else:
        done = start(text, cwd=folder).finished()
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout
