"""Every command and every piece of Python in the README and the docs is run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from catnip2bids.demo import write_atlas_table, write_cohort

REPO = Path(__file__).resolve().parents[1]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_page_run(page: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", shape=(12, 40, 36))
    write_atlas_table(tmp_path / "atlas_info.txt")
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        for command in commands(block["language"], block["text"]):
            finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
            expected = {0, 1} if "compare" in command else {0}  # as diff, it ends with 1 where it finds a difference
            assert finished.returncode in expected, f"{command}: {finished.stdout}{finished.stderr}"


def commands(language: str, text: str) -> list[list[str]]:
    """Turn a block into commands: this program's, Python, or make (which CI runs itself)."""
    if language == "python":
        return [[sys.executable, "-c", text]]
    if language == "text":
        return []
    assert language == "sh", f"what is a block of {language}?"
    found = []
    for line in text.splitlines():
        program, *arguments = line.partition("#")[0].removeprefix("python -m ").split()
        if program == "make":
            assert f"make {arguments[0]}" in (REPO / ".ci/run").read_text(encoding="utf-8")
        else:
            assert program == "catnip2bids", f"no test knows how to run {line!r}"
            found.append([sys.executable, "-m", "catnip2bids", *arguments])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
