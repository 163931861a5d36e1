"""Write the HTML report of a dataset: an overview page and a page for each sample.

Invariant: only the dataset is read, only ``docs/report`` is written, and the same dataset gives the same pages.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catnip2bids._version import __version__
from catnip2bids.atomic_write import raising_write_errors, refuse_unwritable, remove, write_text
from catnip2bids.bids.checksums import CHECKSUMS
from catnip2bids.bids.dataset_paths import REPORT
from catnip2bids.bids.provenance import PROVENANCE, Provenance, provenance_of
from catnip2bids.documents import read_bytes, read_object, refuse_foreign
from catnip2bids.engine import give_back_free_memory, keep_free_memory_together
from catnip2bids.enums import check_resources
from catnip2bids.errors import DatasetError, reason_of
from catnip2bids.formatting import format_bytes, format_count, format_number
from catnip2bids.heatmap_scales import heatmap_scales
from catnip2bids.html_pages import page_templates
from catnip2bids.locks import refuse_packaging
from catnip2bids.paths import beside, safe_path
from catnip2bids.progress import Progress
from catnip2bids.reporting.charts import group_chart, ranking_chart
from catnip2bids.reporting.check_results import CheckResults, Problem, dataset_state, save_check_result
from catnip2bids.reporting.cohort import FEWEST_CELLS, MEASURES, Cohort, read_cohort
from catnip2bids.reporting.overview import animal_rows, cards_by_group, comparison_of, grouped, left_out, pairs_of
from catnip2bids.reporting.preview import DamagedImageError
from catnip2bids.reporting.sample_page import Drawn, draw_brain, make_tables, page_of_brain
from catnip2bids.reporting.sample_status import SampleStatus, status_of, with_unreadable_images
from catnip2bids.reporting.samples import Sample, read_samples, sum_of
from catnip2bids.reporting.vega import Vega
from catnip2bids.reporting.views import Heatmaps, read_heatmaps
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.validation import ValidationReport
from catnip2bids.verification import Verification

_PLANES_BYTES = 40 * 10**6
"""Limits of the bytes of plane images in the whole report and in one page."""
_PAGE_BYTES = 6 * 10**6
_THREADS = 2
MEMORY_BYTES = 512 * 2**20
"""Memory that drawing needs (measured: 485 MiB for 24 samples with 600 regions and planes of 640 x 544 pixels)."""
_LIBRARY = "vega"
_GENERATOR = '<meta name="generator" content="catnip2bids">'
_STATE = re.compile(r'<meta name="catnip2bids-state" content="(\w*)">')
_HEAD_BYTES = 4096
_MISSING = "does not exist; bring it back from a copy, or package again"


@dataclass(frozen=True, repr=False)
class Report(ShortRepr):
    """A report that was written.

    Attributes
    ----------
    path
        The page to open.
    n_samples
        Number of samples.
    problems
        Images and plots that could not be drawn, and why.
    """

    path: Path
    n_samples: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all samples could be drawn."""
        return not self.problems

    def _summary(self) -> ReprSummary:
        facts = (format_count(self.n_samples, "sample"), format_count(len(self.problems), "problem"))
        return ReprSummary(str(self.path), facts, problems=self.problems)


def report(
    dataset: Path | str,
    progress: Progress | None = None,
    *,
    validation: ValidationReport | None = None,
    verification: Verification | None = None,
    jobs: int | None = None,
) -> Report:
    """Write an HTML report into a dataset: ``docs/report/index.html`` and a page for each sample.

    Parameters
    ----------
    dataset
        A dataset that `package` made.
    progress
        Listens to which sample is drawn.
    validation, verification
        Results of `validate` and `verify`, which are also saved for later reports. By default, the last saved
        results.
    jobs
        Number of samples to draw at the same time; at most two.

    Raises
    ------
    UsageError
        If the number of jobs is not positive.
    DatasetError
        If the folder is not a dataset made by `package`, is being packaged, or has an unreadable table.
    WriteError
        If the pages cannot be written.

    Examples
    --------
    >>> report("dataset", verification=verify("dataset")).path
    PosixPath('dataset/docs/report/index.html')
    """
    dataset, progress = Path(dataset), progress or Progress()
    refuse_packaging(dataset, "report")
    refuse_foreign(dataset)
    provenance, folder = provenance_of(dataset), dataset / REPORT
    if (folder / "index.html").is_dir():
        raise DatasetError(f"{folder}: is not a folder inside the dataset; move it elsewhere and draw the report again")
    check_resources(jobs)
    refuse_unwritable(folder)
    pages = _Pages(dataset, provenance, progress)
    for name, check in (("validation", validation), ("verification", verification)):
        if check is not None:
            save_check_result(dataset, name, check)
    keep_free_memory_together()
    with raising_write_errors(folder):
        return pages.write(CheckResults.of(dataset), min(jobs or _THREADS, _THREADS))


def current_report(dataset: Path) -> Path | None:
    """Return the first page of the report if it is up to date; None if the report has to be drawn."""
    path = dataset / REPORT / "index.html"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        found = _STATE.search(file.read(_HEAD_BYTES).decode(errors="replace"))
    pages = [path.with_name(f"{key}.html") for key in provenance_of(dataset).runs]
    is_current = found is not None and found[1] == _state(dataset) and all(page.is_file() for page in pages)
    return path if is_current else None


def _state(dataset: Path) -> str:
    """Hash everything that the report shows."""
    saved = [path for name in ("validation", "verification") if (path := dataset / REPORT / f"{name}.json").is_file()]
    parts = [__version__, dataset_state(dataset), *(hashlib.sha256(read_bytes(path)).hexdigest() for path in saved)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


class _Pages:
    """The pages of one report."""

    def __init__(self, dataset: Path, provenance: Provenance, progress: Progress) -> None:
        self._dataset, self._provenance, self._progress = dataset, provenance, progress
        self._samples, self._about = read_samples(dataset, provenance), _about(dataset)
        self._templates = page_templates("catnip2bids.reporting")
        self._templates.filters |= {"size": format_bytes, "number": format_number}
        self._heat_scales = heatmap_scales(provenance.runs.values())
        self._failures: list[str] = []

    def write(self, results: CheckResults, n_threads: int) -> Report:
        """Write all pages, the overview last."""
        self._results = results
        self._cards = [status_of(sample, results) for sample in self._samples]
        path = safe_path(self._dataset, REPORT / "index.html")
        self._dataset_problems = list(self._missing_files())
        self._failures += [f"{self._dataset / found.where}: {found.what}" for found in self._dataset_problems]
        cohort = read_cohort(self._samples)
        with ThreadPoolExecutor(1) as plotting, Vega() as self._vega:  # after an error Vega ends, and thus the plots
            plots = plotting.submit(self._plots) if cohort else None
            with ThreadPoolExecutor(n_threads) as threads:
                self._cards = list(threads.map(self._write_sample, range(len(self._samples))))
            overview = self._overview(cohort, plots.result() if plots else None)
            state = "" if self._failures or self._vega.failure else _state(self._dataset)
            write_text(path, self._render("index.html", {**overview, "state": state}))
        if self._vega.failure:
            self._failures.append(
                f"{path.parent}: {self._vega.failure}; draw the report again, with more memory if that does not help"
            )
        known = {path.name, *(card.page for card in self._cards)}
        for old in path.parent.glob("sub-*.html"):  # pages of removed samples
            if old.name not in known and old.is_file() and _GENERATOR in read_bytes(old).decode(errors="replace"):
                remove(beside(path, old.name))
        return Report(path, len(self._samples), tuple(self._failures))

    def _missing_files(self) -> Iterator[Problem]:
        """Yield a problem if the checksums are missing, in the words of verify if it ran, or runs are unfinished."""
        for key in self._provenance.unfinished_runs:
            yield Problem(PROVENANCE.as_posix(), f"packaging {key} was interrupted; package its run again")
        if not (self._dataset / CHECKSUMS).is_file():
            missing = Problem(CHECKSUMS.as_posix(), _MISSING)
            reported = (found for found in self._results.file_problems() if found.where == missing.where)
            yield next(reported, missing)

    def _render(self, name: str, content: dict[str, Any]) -> str:
        """Fill a template; the page lets browsers run only the scripts listed in `content`."""
        scripts = [
            self._vega.library() or "" if script == _LIBRARY else self._templates.get_template(script).render()
            for script in content.pop("scripts")
        ]
        hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        policy = " ".join(f"'sha256-{digest}'" for digest in hashes)
        template = self._templates.get_template(name)
        text = template.render(version=__version__, generator=_GENERATOR, scripts=scripts, policy=policy, **content)
        # names of files may hold bytes that are not UTF-8
        return text.encode(errors="backslashreplace").decode()

    def _write_sample(self, index: int) -> SampleStatus:
        """Write the page of a sample; return its card with pictures."""
        sample = self._samples[index]
        self._progress.looking_at(f"{sample.key} ({index + 1} of {len(self._samples)})")
        drawn, heatmaps, problems = self._draw_images(sample)
        cards = dict(enumerate(self._cards))
        card = with_unreadable_images(cards[index], problems)
        content = {
            **page_of_brain(drawn, sample, self._vega),
            **make_tables(self._dataset, sample, self._vega),
            "heatmaps": heatmaps,
            "n_samples": len(self._samples),
            "sample": sample,
            "card": card,
            "problems": grouped((*card.problems, *self._dataset_problems)),
            "no_plots": self._vega.failure,
            "times": self._times(),
            "scripts": ["page.js", "tables.js", "plots.js", "pictures.js"],
            "before": cards.get(index - 1),
            "after": cards.get(index + 1),
        }
        write_text(safe_path(self._dataset, REPORT / card.page), self._render("sample.html", content))
        del content
        give_back_free_memory()
        card = replace(card, slices=drawn.orthogonal if drawn else ())
        if not heatmaps:
            return card
        first = heatmaps[0]
        return replace(card, heat=first.plain or first.corrected, heat_scale=(first.threshold, first.largest))

    def _draw_images(self, sample: Sample) -> tuple[Drawn | None, list[Heatmaps], list[Problem]]:
        """Draw the images of a sample; leave out and report what is missing or cannot be read."""
        n_bytes = min(_PLANES_BYTES // len(self._samples), _PAGE_BYTES)
        problems: list[Problem] = []
        for path in sample.missing_files(self._dataset):
            problems.append(Problem(path, _MISSING))
            self._failures.append(f"{self._dataset / path}: {_MISSING}")
            sample = sample.without(path)
        while True:
            try:
                heatmaps = read_heatmaps(self._dataset, sample, self._heat_scales)
                return draw_brain(self._dataset, sample, n_bytes), heatmaps, problems
            except DamagedImageError as error:
                self._failures.append(str(error))
                image = error.image.relative_to(self._dataset).as_posix()
                problems.append(Problem(image, str(error).replace(f"{self._dataset}/", "").removeprefix(f"{image}: ")))
                sample = sample.without(image)

    def _times(self) -> str:
        times = [invocation.time.replace("T", " ")[:16] for invocation in self._provenance.history]
        return f"dataset begun {times[0]} UTC, packaged last {times[-1]} UTC" if times else ""

    def _plots(self) -> dict[str, list[dict[str, Any] | None]] | None:
        """Return the plots of the comparison; None if Vega cannot draw. It takes seconds, of a process of its own."""
        plots = {
            measure: [self._vega.compiled(chart(measure)) for chart in (group_chart, ranking_chart)]
            for measure in MEASURES
        }
        return plots if self._vega.library() is not None and all(map(all, plots.values())) else None

    def _overview(self, cohort: Cohort | None, plots: dict[str, Any] | None) -> dict[str, Any]:
        samples, first, comparison = self._samples, None, None
        if cohort is not None:
            first = comparison_of(cohort)
            chosen = {name: first[name] for name in ("series", "column", "measure")}
            comparison = {**cohort.to_json(), "first": chosen, "plots": plots}
        errors = self._results.findings("error")
        of_dataset = [found for found in errors if not any(sample.is_named_in(found.where) for sample in samples)]
        of_samples = [found for card in self._cards for found in card.problems]
        of_files = [*self._dataset_problems, *self._results.file_problems()]
        of_report = [Problem(REPORT.as_posix(), self._vega.failure)] if self._vega.failure else []
        return {
            "cohort": cohort,
            "cohort_data": comparison,
            "first": first,
            "groups": cards_by_group(self._cards, samples, cohort),
            **animal_rows(self._cards, samples, cohort),
            "measures": MEASURES,
            "fewest_cells": FEWEST_CELLS,
            **self._about,
            "n_animals": len({sample.record.subject for sample in samples}),
            "n_images": sum(len(sample.images) for sample in samples),
            "bytes_before": sum_of([sample.bytes_before for sample in samples]),
            "bytes_after": sum_of([sample.bytes_after for sample in samples]),
            "states": self._results.states,
            "problems": grouped((*of_samples, *of_files, *of_dataset, *of_report)),  # samples share some
            "warnings": grouped(self._results.findings("warning")),
            "cards": self._cards,
            "pairs": pairs_of(self._cards),
            "no_plots": self._vega.failure,
            "scripts": [
                *([_LIBRARY] if plots else []),
                *("page.js", "tables.js", "plots.js"),
                *(["cohort.js"] if cohort else []),
            ],
            "has_plots": plots is not None,
            "left_out": left_out(samples),
        }


def _about(dataset: Path) -> dict[str, Any]:
    """Return title, authors and licence of a dataset, by their names in the template."""
    path = dataset / "dataset_description.json"
    try:
        found = read_object(path)
        authors, license_ = found.get("Authors"), found.get("License")
        names = authors if isinstance(authors, list) else []
        return {
            "title": str(found["Name"]),
            "authors": [author for author in names if isinstance(author, str) and author.strip()],
            "license": license_.strip() if isinstance(license_, str) else "",
        }
    except FileNotFoundError as error:
        why = "packaging was interrupted, or somebody removed it"
        raise DatasetError(f"{path}: does not exist: {why}; package again") from error
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read ({reason_of(error)}); package again, or bring it back") from error
