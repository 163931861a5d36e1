"""Results show themselves shortly, however much is in them, and whatever names there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import pytest

import catnip2bids
from catnip2bids.packaging.result import RunSummary
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.validation.findings import Finding, Severity
from catnip2bids.verification.result import ImageVerdict, Problem
from demo_cohort import demo_cohort, demo_dataset

__all__ = ["demo_cohort", "demo_dataset"]


@dataclass(frozen=True)
class Desk:
    """What results can be made of, and where."""

    cohort: Path
    dataset: Path
    folder: Path

    def compare(self) -> catnip2bids.Comparison:
        first, second = sorted(self.cohort.rglob("atlaslabel_def_origspace"))
        return catnip2bids.compare(first, second)

    def convert(self) -> catnip2bids.ConvertedImage:
        source = next(self.cohort.rglob("*_N4"))
        return catnip2bids.convert(source, self.folder / "image.ome.zarr", (3.7, 3.7, 5.0))


FINDINGS = (
    Finding(Severity.ERROR, "EMPTY_FILE", "sub-1/image.json", "is empty", "bids"),
    Finding(Severity.WARNING, "NO_AUTHORS", "", "names no authors", "bids"),
)

RESULTS: dict[str, Callable[[Desk], object]] = {
    "Scan": lambda desk: catnip2bids.scan(desk.cohort),
    "Run": lambda desk: catnip2bids.scan(desk.cohort).runs[0],
    "Plan": lambda desk: catnip2bids.make_plan(catnip2bids.scan(desk.cohort)),
    "PackageResult": lambda desk: catnip2bids.PackageResult(desk.dataset),
    "ValidationReport": lambda desk: catnip2bids.ValidationReport(desk.dataset, FINDINGS, ("bids 1.10", "dandi 0.69")),
    "Verification": lambda desk: catnip2bids.verify(desk.dataset),
    "Restoration": lambda desk: catnip2bids.restore(desk.dataset, desk.folder / "restored"),
    "Report": lambda desk: catnip2bids.Report(desk.dataset / "docs/report/index.html", 3, ("a: cannot be drawn",)),
    "Comparison": lambda desk: desk.compare(),
    "VolumeComparison": lambda desk: desk.compare().items[0],
    "ConvertedImage": lambda desk: desk.convert(),
}


class Balanced(HTMLParser):
    """Checks that all elements end that begin, and collects their text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(shown: ShortRepr) -> str:
    parser = Balanced()
    parser.feed(shown._repr_html_())
    parser.close()
    assert not parser.open
    return parser.text


@pytest.mark.parametrize("name", RESULTS)
def test_results_show_themselves_in_a_line_and_as_html(
    name: str, demo_cohort: Path, demo_dataset: Path, tmp_path: Path
) -> None:
    shown = RESULTS[name](Desk(demo_cohort, demo_dataset, tmp_path))
    assert isinstance(shown, ShortRepr)
    line = repr(shown)
    assert str(shown) == line
    assert line.startswith(f"<{name} ")
    assert "\n" not in line
    assert len(line) < 600
    assert line.partition(": ")[2].removesuffix(">") in text_of(shown)


def test_the_address_of_a_viewing_is_kept_to_oneself(demo_dataset: Path) -> None:
    """It has a secret in it, and notebooks are passed on."""
    with catnip2bids.view(demo_dataset) as viewing:
        secret = viewing.list_url.strip("/").rpartition("/")[2]
        assert len(secret) > 8
        assert secret not in repr(viewing) + viewing._repr_html_()


def test_thousands_of_things_are_counted_and_not_dumped() -> None:
    result = catnip2bids.PackageResult(
        Path("dataset"),
        made=tuple(PurePosixPath(f"image-{n}") for n in range(5000)),
        problems=tuple(f"problem {n}" for n in range(3000)),
        runs=tuple(RunSummary(f"sub-{n}", 1, 2, 3, 4, 5) for n in range(2000)),
    )
    assert repr(result) == (
        "<PackageResult dataset: 5,000 images made, 0 kept, 0 other files, 3,000 problems, 0 warnings>"
    )
    assert len(result._repr_html_()) < 4000
    assert "… and 2,990 more" in text_of(result)
    assert "… and 1,990 more" in text_of(result)


def test_names_do_not_become_html_and_may_hold_any_bytes() -> None:
    name = "<script>alert(1)</script>\udcff & " + "x" * 1000
    problem = Problem(name)
    verification = catnip2bids.Verification(Path(name), (ImageVerdict(name, 1, 1, (problem,)),), 0, ())
    for text in (repr(verification), verification._repr_html_()):
        text.encode()
        assert len(text) < 2000
    assert "<script>" not in verification._repr_html_()


def test_what_is_unknown_is_an_empty_cell() -> None:
    class Thing(ShortRepr):
        def _summary(self) -> ReprSummary:
            return ReprSummary("it", ("fact",), [{"subject": None}])

    assert "<td></td>" in Thing()._repr_html_()
