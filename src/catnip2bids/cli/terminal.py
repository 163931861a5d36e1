"""Print the result of each command.

Invariant: this module only formats results; it decides nothing, and says nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from socket import gethostname
from typing import TYPE_CHECKING

from catnip2bids.cli.console import (
    BAD,
    ON_TERMINAL,
    Column,
    Row,
    print_address,
    print_blank_line,
    print_heading,
    print_line,
    print_message,
    print_pairs,
    print_result,
    print_table,
)
from catnip2bids.formatting import format_bytes, format_bytes_up, format_count, format_duration, format_shape
from catnip2bids.leftovers import LEFT_BEHIND

if TYPE_CHECKING:
    from catnip2bids.comparison import Comparison
    from catnip2bids.packaging import Estimate, PackageResult, Preflight
    from catnip2bids.packaging.tasks import RunTasks
    from catnip2bids.plan import ScanReport
    from catnip2bids.restoration import Restoration
    from catnip2bids.sharing import SharedDataset
    from catnip2bids.validation import ValidationReport
    from catnip2bids.validation.findings import Finding
    from catnip2bids.verification import Verification
    from catnip2bids.verification.result import CountsVerdict
    from catnip2bids.viewing import Viewing

_MOST_DIFFERENCES = 10  # regions of a table of counts
_MOST_FILES = 5  # listed with a finding on a terminal
_RUN_ENTITIES = ("sub-", "sample-", "stain-")


def show_scan(report: ScanReport) -> None:
    """Print a table for each run, then problems and warnings."""
    columns = (
        Column("entry"),
        Column("what", is_optional=True),
        Column("X x Y x Z", right=True),
        Column(""),
        Column(""),
    )
    actions: list[str] = []
    for run, planned in zip(report.found.runs, report.plan.runs, strict=True):
        labels = f"sub-{planned.subject or '?'} sample-{planned.sample or '?'} stain-{planned.stain}"
        print_heading(str(run.folder), f"{labels}, layout {run.layout}, atlas {planned.atlas_version or 'unknown'}")
        rows = []
        for entry, line in zip(run.entries, planned.entries, strict=True):
            content = entry.component.content.value if entry.component else "unknown"
            sizes = (format_bytes(entry.n_bytes), "")
            if entry.volume is not None:
                sizes = (format_shape(entry.volume.shape), entry.volume.dtype.name)
            action = "problem" if entry.problems else line.action.value
            actions.append(action)
            if entry.is_leftover:  # counted in a line of their own
                continue
            path = str(run.folder / entry.path)
            rows.append(Row(entry.path, path, (content, *sizes, action), bad=bool(entry.problems)))
        print_table(columns, rows)
        print_blank_line()
    _say_all(report.problems, report.warnings)
    outcome, *facts = [f"{actions.count(action)} to {action}" for action in ("convert", "copy", "exclude")]
    facts += _numbers(report.problems, report.warnings)
    what = f"{format_count(len(report.found.runs), 'run')} of {format_count(len(actions), 'entry')}"
    print_result(what, outcome, facts, ok=not report.problems)


def show_dry_run(prepared: Preflight, expected: PackageResult) -> None:
    """Print what would be written, and an estimate of its size and time."""
    for run in prepared.runs:
        _show_tasks(run)
    _say_all(expected.problems, expected.warnings)
    n_images = sum(run.n_images for run in expected.runs)
    n_tables = sum(run.n_tables for run in expected.runs)
    n_copies = sum(run.n_copies for run in expected.runs)
    numbers = f"{format_count(n_images, 'image')}, {format_count(n_tables, 'table')}"
    planned = f"{numbers} and {format_count(n_copies, 'copy')} planned"
    if expected.estimate is not None:
        _show_estimate(expected.estimate)
    facts = ["nothing is written", *_numbers(expected.problems, expected.warnings)]
    print_result(prepared.dataset, planned, facts, ok=expected.ok)


def _show_estimate(expected: Estimate) -> None:
    """Print sizes, memory and times, as estimated from a sample."""
    print_line(
        f"estimate: reading {format_bytes(expected.n_bytes_read)} of pixels, "
        f"writing about {format_bytes(expected.n_bytes_written)} in "
        f"{format_count(expected.n_files, 'file')}, {format_count(expected.n_units, 'unit')} of work"
    )
    print_line(f"estimate: a worker of one thread needs at least {format_bytes_up(expected.worker_bytes)} of memory")
    times = [f"{format_count(n, 'worker')} {format_duration(seconds)}" for n, seconds in expected.seconds.items()]
    print_line(
        f"estimate: {', '.join(times)}, if the file system keeps up "
        f"(each worker at {format_bytes(round(expected.bytes_per_second))}/s, as in a sample on this machine)"
    )


def _show_tasks(run: RunTasks) -> None:
    """Print the target of each entry of a run, grouped by the folder of the dataset."""
    used = {task.entry.path for task in run.all_tasks} | run.problems.keys()
    excluded = [
        (entry.source, entry.reason)
        for entry in run.planned.entries
        if entry.source not in used and entry.reason != LEFT_BEHIND
    ]
    if not ON_TERMINAL:
        for task in run.all_tasks:
            print_line(f"{run.run.folder / task.entry.path} -> {task.target}")
        for source, reason in excluded:
            print_line(f"{run.run.folder / source}: excluded: {reason}")
        return
    print_heading(str(run.name).replace("_", " "), f"from {run.run.folder}")
    if run.problems:
        print_line("problems (see below)", BAD)
        print_pairs([(source, "") for source in run.problems], BAD)
    made = [(task.target, task.entry.path) for task in run.images]
    made += [(task.target, task.entry.path) for task in run.counts]
    for folder, inside in groupby(sorted(made), key=lambda pair: pair[0].parent):
        print_line(f"{folder}/")
        print_pairs([(source, _what_differs(target.name)) for target, source in inside])
    if run.copies:
        print_line(f"{str(run.copies[0].target).removesuffix(run.copies[0].entry.path)}")
        print_pairs([(task.entry.path, "") for task in run.copies])
    if excluded:
        print_line("excluded")
        print_pairs(excluded, "dim")
    print_blank_line()


def show_result(result: PackageResult, outcome: str = "") -> None:
    """Print a line for each run, then the totals; `outcome` replaces the number of images made."""
    columns = (
        Column("subject, sample, stain"),
        Column("images", "image"),
        Column("tables", "table", is_optional=True),
        Column("copies", "copy", is_optional=True),
        Column("excluded", "excluded entry"),
        Column("problems", "problem"),
    )
    runs = [
        Row(
            " ".join(part.partition("-")[2] for part in run.name.split("_")),
            run.name,
            (run.n_images, run.n_tables, run.n_copies, run.n_excluded, run.n_problems),
            bad=run.n_problems > 0,
        )
        for run in result.runs
    ]
    if runs:
        print_table(columns, runs)
    if result.report is not None:
        print_line(f"look at {result.report}")
    facts = [f"{format_count(len(result.kept), 'image')} there already"] if result.kept else []
    facts += _numbers(result.problems, result.warnings)
    print_result(result.dataset, outcome or f"{format_count(len(result.made), 'image')} made", facts, ok=result.ok)


def show_outputs(outputs: Iterable[tuple[Path, str]]) -> None:
    """Print paths worth opening, and what they hold."""
    if ON_TERMINAL:
        print_blank_line()
        print_line("look at:")
        print_pairs([(str(path), what) for path, what in outputs])
        return
    for path, what in outputs:
        print_line(f"look at {path}: {what}")


def show_comparison(comparison: Comparison, folder: Path) -> None:
    """Print the result of a comparison."""
    from catnip2bids.comparison.result import headline_of, summary_of

    _say_all(comparison.problems, comparison.warnings)
    if comparison.is_folder:
        for item in comparison.items:
            if item.relation != "identical":  # those are often many, and counted in the last line
                print_line(f"{comparison.name_of(item)}: {summary_of(item)}")
        for side, only in ((1, comparison.only_in_1), (2, comparison.only_in_2)):
            for path, kind in only.items():
                print_line(f"only in {side}: {path} ({kind.value})")
    print_line(f"look at {folder / 'index.html'}")
    meaning = _numbers_of(comparison) if comparison.is_folder else headline_of(comparison)
    print_line(f"{comparison.verdict}: {meaning}")


def _numbers_of(comparison: Comparison) -> str:
    n_same = sum(item.relation == "identical" for item in comparison.items)
    facts = [f"{len(comparison.items)} in both, {n_same} of them identical"]
    facts += [f"{n} not fully compared"] if (n := comparison.n_not_compared) else []
    facts += [f"{len(paths)} only in {side}" for side, paths in ((1, comparison.only_in_1), (2, comparison.only_in_2))]
    n_skipped = len(comparison.skipped_1) + len(comparison.skipped_2)
    return ", ".join([*facts, *([f"{n_skipped} skipped"] if n_skipped else [])])


def show_verification(found: Verification) -> None:
    """Print the verdict on each image, then problems and notes."""
    columns = (Column("image"), Column("planes", "plane"), Column("levels", "level"), Column(""))
    for run, verdicts in groupby(found.images, key=lambda verdict: _run_of(verdict.image)):
        print_heading(run)
        rows = [
            Row(
                _what_differs(PurePosixPath(verdict.image).name),
                verdict.image,
                (verdict.n_planes, verdict.n_levels, "proven" if verdict.worst is None else verdict.worst.value),
                bad=not verdict.ok,
            )
            for verdict in verdicts
        ]
        print_table(columns, sorted(rows, key=lambda row: _natural_key(row.name)))
        print_blank_line()
    if found.counts:
        _show_counts(found.counts)
    _say_all(found.problems, (), found.notes)
    n_planes = sum(verdict.n_planes for verdict in found.images)
    facts = [
        format_count(len(found.images), "image"),
        format_count(n_planes, "plane"),
        format_count(found.n_files, "other file"),
    ]
    facts += ["and the originals"] if found.sources_read else []
    facts += _numbers(found.problems, ())
    not_ok = "something has changed" if found.has_changed else "not everything is proven"
    outcome = "verified: nothing has changed" if found.is_proven else not_ok
    if found.counts:
        n_not_compared = sum(len(verdict.not_compared) for verdict in found.counts)
        but = f" except {format_count(n_not_compared, 'region')} that could not be compared" if n_not_compared else ""
        outcome += f", counts confirmed{but}" if found.counts_agree else ", counts not confirmed"
    print_result(found.dataset, outcome, facts, ok=found.ok)


def _show_counts(verdicts: Sequence[CountsVerdict]) -> None:
    """Print the verdict on each table of counts, and the regions that differ."""
    print_heading("cells counted again")
    columns = (Column("table of counts"), Column("regions", "region"), Column(""))
    rows = [
        Row(
            PurePosixPath(verdict.table).name,
            verdict.table,
            (verdict.n_regions, f"{verdict.n_confirmed:,} confirmed"),
            bad=not verdict.ok,
        )
        for verdict in verdicts
    ]
    print_table(columns, rows)
    print_blank_line()
    for verdict in verdicts:
        name = PurePosixPath(verdict.table).name
        print_message("note" if verdict.ok else "problem", f"{name}: {verdict}")
        by_importance = sorted(verdict.differences, key=lambda found: found.reason is not None)
        _print_some(
            f"  region {found.index}: the table counts {found.catnip:,}, found {found.found:,}: "
            f"{found.reason or 'no known reason'}"
            for found in by_importance
        )
        _print_some(
            f"  region {found.index}: the table has a volume of {found.catnip:,} voxels, found {found.found:,}"
            for found in verdict.volumes
        )


def _print_some(lines: Iterable[str]) -> None:
    """Print the first lines, and the number of the others."""
    listed = list(lines)
    for line in listed[:_MOST_DIFFERENCES]:
        print_line(line)
    if (n_more := len(listed) - _MOST_DIFFERENCES) > 0:
        print_line(f"  and {n_more:,} more; --json lists all")


def show_restoration(restored: Restoration) -> None:
    """Print how much was restored, and what the dataset does not hold."""
    left_out = {path: reason for path, reason in restored.left_out.items() if reason != LEFT_BEHIND}
    for path, reason in left_out.items():
        print_message("left out", f"{path}: {reason}")
    facts = [f"{len(restored.kept)} there already"] if restored.kept else []
    facts += [f"{len(left_out)} not in the dataset"] if left_out else []
    facts += _numbers(restored.problems, ())
    outcome = f"{format_count(len(restored.restored), 'entry')} restored"
    print_result(restored.folder, outcome, facts, ok=restored.ok)


def show_validation(report: ValidationReport) -> None:
    """Print the findings of a validation, worst first; on a terminal, group those with the same message."""
    if not ON_TERMINAL:
        for finding in report.findings:
            what = f"{finding.code} {finding.file}".rstrip()
            print_message(finding.severity.value, f"{what}: {_words_of(finding.message)}")
    else:
        alike: dict[tuple[str, str, str], list[Finding]] = {}
        for finding in report.findings:
            alike.setdefault((finding.severity.value, finding.code, finding.message), []).append(finding)
        for findings in alike.values():
            _show_findings(findings)
    print_line(f"checked by {', '.join(report.checks)}")
    severities = [finding.severity.value for finding in report.findings]
    facts = [format_count(severities.count(severity), severity) for severity in ("error", "warning")]
    print_result(report.dataset, "valid" if report.ok else "not valid", facts, ok=report.ok)


def _show_findings(findings: Sequence[Finding]) -> None:
    """Print findings that differ only in their files."""
    one, files = findings[0], [finding.file for finding in findings if finding.file]
    if len(files) > _MOST_FILES:
        files[_MOST_FILES:] = [f"and {len(files) - _MOST_FILES} more files"]
    print_message(one.severity.value, one.code, *files, _words_of(one.message))


def _words_of(message: str) -> str:
    """Return the message of a library on one line."""
    return " ".join(message.split())


def _say_all(problems: Sequence[str], warnings: Sequence[str], notes: Sequence[str] = ()) -> None:
    for label, texts in (("problem", problems), ("warning", warnings), ("note", notes)):
        for text in texts:
            print_message(label, text)


def _numbers(problems: Sequence[str], warnings: Sequence[str]) -> list[str]:
    """Count problems and warnings; leave out zeros."""
    numbers = {"problem": len(problems), "warning": len(warnings)}
    return [format_count(n, what) for what, n in numbers.items() if n]


def _natural_key(name: str) -> list[str | int]:
    """Return a key for natural sorting: 9000 before 10000."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _run_of(path: str) -> str:
    """Return the entities of the run from the path of an image or of a label image inside of it."""
    return " ".join(dict.fromkeys(part for part in re.split("[/_]", path) if part.startswith(_RUN_ENTITIES)))


def _what_differs(name: str) -> str:
    """Return the name of an image without the entities of its run."""
    return "_".join(part for part in name.split("_") if not part.startswith(_RUN_ENTITIES))


def show_viewing(viewing: Viewing, *, with_url: bool = True) -> None:
    """Print the address of the viewer and how to use it elsewhere; `with_url=False` if the address goes to stdout."""
    if with_url:
        print_address(viewing.url)
        if viewing.url != viewing.list_url:
            print_line("list of scenes, with help:")
            print_address(viewing.list_url)
    tunnel = f"-L {viewing.port}:127.0.0.1:{viewing.port} {gethostname()}"
    print_line(f"from another machine: ssh {tunnel}")
    print_line(f"from outside of a cluster: ssh -J LOGIN_NODE {tunnel}")
    print_line(f"in napari instead: {viewing.napari_command}")
    print_line("Ctrl-C ends it")


def show_links(shared: SharedDataset) -> None:
    """Print a link for each scene."""
    for link in shared.links:
        print_line(f"{link.run}, {link.scene}:")
        print_address(link.link)
    print_line(f"publish the dataset with {shared.folder}, where links.tsv has the links, too")
