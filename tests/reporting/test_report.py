"""The report: what is on its pages, and what happens where a dataset is not as it should be."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

import catnip2bids
from catnip2bids.bids.checksums import read_checksums, write_checksums
from catnip2bids.bids.provenance import read_provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.cli.app import main
from catnip2bids.enums import Format, Naming
from catnip2bids.errors import DatasetError
from catnip2bids.heatmap_scales import heatmap_scales
from catnip2bids.packaging import package
from catnip2bids.regions import DisplayedRegion
from catnip2bids.reporting import report, save_check_result, write_report
from catnip2bids.reporting import vega as vega_module
from catnip2bids.reporting.charts import region_chart
from catnip2bids.reporting.check_results import CheckResults, ImageProblem, dataset_state, read_check_result
from catnip2bids.reporting.cohort import CELLS, read_cohort
from catnip2bids.reporting.sample_status import status_of
from catnip2bids.reporting.samples import Counts, read_samples
from catnip2bids.reporting.vega import Vega
from catnip2bids.reporting.views import heat_picture, read_brain, read_heatmaps
from catnip2bids.validation.findings import Finding, Severity, ValidationReport
from catnip2bids.verification.result import CountsVerdict, Problem
from in_process import called
from runs import (
    FLOX,
    KO,
    KO_PREFIX,
    PROVENANCE,
    TODAY,
    dataset_files,
    files_of,
    level,
    read_json,
    read_tsv,
    settings,
    slices_of,
    source_planes,
    state_of,
    write_l0,
    write_l2,
)

REPORT = "docs/report"
INDEX = f"{REPORT}/index.html"
VOXEL_SIZE = ("--voxel-size", 3.7, 3.7, 5)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two animals, without a report."""
    folder = tmp_path_factory.mktemp("reported")
    write_l0(folder / "cohort", KO, thresholds=(10000, 15000))
    write_l0(folder / "cohort", FLOX, exclusion=True)
    package([folder / "cohort"], folder / "dataset", settings())
    return folder / "dataset"


class _RememberingVega(Vega):
    """Draws each plot once, for all reports."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[str, Any] = {}

    def _ask(self, function: str, argument: Any) -> Any:
        asked = json.dumps([function, argument])
        if asked not in self._answers:
            self._answers[asked] = super()._ask(function, argument)
        return self._answers[asked]


@pytest.fixture(scope="module")
def plots() -> Iterator[Vega]:
    """Start the process that draws plots, once."""
    with _RememberingVega() as vega:
        yield vega


@pytest.fixture(autouse=True)
def _reports_share_what_takes_long(plots: Vega, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_report, "Vega", lambda: nullcontext(plots))


@pytest.fixture(scope="module")
def drawn(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it with a report, only to be read."""
    dataset: Path = shutil.copytree(packaged, tmp_path_factory.mktemp("drawn") / "dataset")
    report(dataset)
    return dataset


@pytest.fixture
def dataset(packaged: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return shutil.copytree(packaged, tmp_path / "dataset")


class _Text(HTMLParser):
    """Collects what a page says, and the addresses that it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self._hidden = False
        self.feed(page.read_text(encoding="utf-8").replace("<wbr>", ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in ("script", "style")
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data-picture", "data-map")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden = self._hidden and tag not in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data.split()


def text_of(dataset: Path, page: str = "index.html") -> str:
    """Return what a page says, as one line."""
    return " ".join(_Text(dataset / REPORT / page).words).replace(" :", ":")


@pytest.mark.slow
def test_there_is_an_overview_and_a_page_for_each_sample(dataset: Path) -> None:
    before = dataset_files(dataset)
    made = report(dataset)
    assert made.path == dataset / INDEX
    assert (made.n_samples, made.problems) == (2, ())
    pages = {path.name for path in made.path.parent.iterdir()}
    assert pages == {"index.html", f"{KO_PREFIX}.html", "sub-45925floxed_sample-RightHemisphere_stain-cFos.html"}
    assert dataset_files(dataset) == before


def test_the_overview_says_what_there_is(drawn: Path) -> None:
    text = text_of(drawn)
    for words in (
        "2 animals 2 samples",
        "45670ko · LeftHemisphere · cFos left hemisphere, stain cFos animal sub-45670ko genotype ko sex female cells",
        "damaged nothing recorded: the run has no corrected counts",
        "45925floxed · RightHemisphere · cFos right hemisphere",
        "not checked yet: catnip2bids validate",
        "atlaslabel_def_origspace_masked in 2 samples: redundant: atlaslabel_def_origspace, which is packaged, times",
        f"{KO}/atlaslabel_def_origspace_masked: redundant: equals the packaged atlaslabel_def_origspace times",
        "planes compared 12",
    ):
        assert words in text


def test_the_page_of_a_sample_has_all_its_images_with_their_hashes(drawn: Path) -> None:
    text = text_of(drawn, f"{KO_PREFIX}.html")
    for words in (
        "acquired 2021-08-10 14:48 voxels 36 x 40 x 12, uint16 voxel size 3.7 x 3.7 x 5 um",
        "extent 0.13 x 0.15 x 0.06 mm images 8",
    ):
        assert words in text
    record = json.loads((drawn / "code/catnip2bids/provenance.json").read_bytes())["runs"][KO_PREFIX]
    for image in record["images"].values():
        assert image["source"] in text
    assert "Heat map, threshold 10000" in text
    of_one = "cells, {0} cells per mm3, {0} volume, mm3, {0}"
    assert f"{of_one.format(10000)} {of_one.format(15000)}" in text
    hashes = drawn / f"code/catnip2bids/pixels/{KO_PREFIX}_SPIM.ome.zarr.tsv"
    assert files_of(hashes)["."].hex()[:16] in text


def test_the_page_of_a_sample_says_in_how_many_regions_cells_and_counts_agree(dataset: Path) -> None:
    table = next(dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*FRSTseg10000_counts.tsv"))
    with gzip.open(table.with_name(table.name.replace("counts.tsv", "cells.tsv.gz")), "rt", encoding="utf-8") as file:
        found = Counter(row["index"] for row in csv.DictReader(file, delimiter="\t"))
    rows = read_tsv(table)
    assert all(int(row["cell_count"]) == found[row["index"]] for row in rows)
    report(dataset)
    page = f"{KO_PREFIX}.html"
    assert f"as many cells as CATNIP's table of counts in all {len(rows)} regions." in text_of(dataset, page)
    [empty, *_] = (row["name"] for row in rows if not found[row["index"]])
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line.replace("\t0\t", "\t7\t", 1) if empty in line else line for line in lines))
    report(dataset)
    words = f"counts in {len(rows) - 1} of {len(rows)} regions, and another number in {empty.replace('_', ' ')}."
    assert words in text_of(dataset, page)


def test_pages_hold_all_that_they_show(drawn: Path) -> None:
    for page in (drawn / REPORT).glob("*.html"):
        for address in _Text(page).addresses:
            local = not address.startswith("data:") and address
            assert not local or (page.parent / local).exists(), address


@pytest.mark.slow
def test_the_same_dataset_has_the_same_report(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(dataset)
    before = state_of(dataset / REPORT)
    monkeypatch.setattr(write_report, "Vega", Vega)  # which draws all plots again
    report(dataset)
    assert {path: content for path, (content, _) in state_of(dataset / REPORT).items()} == {
        path: content for path, (content, _) in before.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("choices", [{"image_format": Format.OME_TIFF}, {"naming": Naming.DSEG}])
def test_other_formats_and_names_are_drawn_too(tmp_path: Path, choices: dict[str, str]) -> None:
    write_l2(tmp_path / "cohort", TODAY)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(report=True, **choices))
    page = next((tmp_path / "dataset" / REPORT).glob("sub-*.html"))
    addresses = _Text(page).addresses
    assert sum(address.startswith("data:image/jpeg") for address in addresses) > 12
    assert page.read_text().count("data:image/png;base64") > 12
    assert "Cells in each region" in text_of(tmp_path / "dataset", page.name)


def test_what_was_not_packaged_comes_first(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO)
    slices_of(run / "640_FRST")[3].unlink()
    result = package([tmp_path / "cohort"], tmp_path / "dataset", settings(report=True))
    assert not result.ok
    assert result.report == tmp_path / "dataset" / INDEX
    text = text_of(tmp_path / "dataset")
    assert text.index("Problems") < text.index("Samples")
    assert f"{KO}/640_FRST: " in text
    assert "Problems" in text_of(tmp_path / "dataset", f"{KO_PREFIX}.html")


def test_an_image_that_is_damaged_spoils_its_page_alone(dataset: Path) -> None:
    image = dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
    (image / "zarr.json").write_text("{")
    made = report(dataset)
    [problem] = made.problems
    assert str(image) in problem
    text = text_of(dataset)
    assert "raw image missing or damaged" in text
    assert f"Problems sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr: cannot be read" in text
    assert str(dataset) not in text
    assert "Problems" not in text_of(dataset, "sub-45925floxed_sample-RightHemisphere_stain-cFos.html")


def remove_cell_tables(dataset: Path) -> None:
    """Make a dataset as earlier versions packaged it."""
    for table in dataset.rglob("*.tsv.gz"):
        table.unlink()
    document = read_json(dataset / PROVENANCE)
    for run in document["runs"].values():
        run["cells"] = {}
    (dataset / PROVENANCE).write_text(json.dumps(document))


def test_volumes_and_parents_that_earlier_versions_did_not_write_are_not_invented(dataset: Path) -> None:
    [table] = dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*desc-FRSTseg10000_counts.tsv")
    rows = read_tsv(table)
    columns = ("index", "name", "abbreviation", "cell_count", "label_volume")
    lines = ["\t".join(columns), *("\t".join(row[column] for column in columns) for row in rows)]
    table.write_text("\n".join(lines) + "\n")
    document = read_json(dataset / PROVENANCE)
    for run in document["runs"].values():
        run["region_table"] = None
    (dataset / PROVENANCE).write_text(json.dumps(document))
    sample = next(s for s in read_samples(dataset, read_provenance(dataset)) if s.key == KO_PREFIX)
    [counts] = [found for found in sample.counts if found.threshold == 10000]
    for row in rows:
        volume = counts.volumes_mm3[int(row["index"])]
        assert volume == pytest.approx(float(row["volume_mm3"]))
        density = counts.density_of(int(row["index"]))
        assert (density is None) == (row["density_per_mm3"] == "n/a")
        assert density is None or density == pytest.approx(float(row["density_per_mm3"]))
    report(dataset)
    assert "has no parents of regions, so there are no sums" in text_of(dataset)


def test_a_table_of_cells_that_is_damaged_is_left_out_and_named(dataset: Path) -> None:
    [table] = dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*desc-FRSTseg15000_uncounted.tsv.gz")
    table.write_bytes(b"no gzip")
    [problem] = report(dataset).problems
    assert problem.startswith(f"{table}: cannot be read")
    text = text_of(dataset, f"{KO_PREFIX}.html")
    assert re.search("threshold 10000: [0-9]+ counted", text)
    assert "threshold 15000: the cells drawn are those of the segmentation; not all of them are counted" in text


@pytest.mark.parametrize("kind", ["cells", "uncounted"])
def test_a_table_of_cells_that_is_gone_is_named(dataset: Path, kind: str) -> None:
    [table] = dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*desc-FRSTseg15000_{kind}.tsv.gz")
    table.unlink()
    [problem] = report(dataset).problems
    assert problem == f"{table}: does not exist; bring it back from a copy, or package again"
    assert "threshold 15000: the cells drawn are those of the segmentation" in text_of(dataset, f"{KO_PREFIX}.html")


def test_cells_that_are_damaged_are_left_out_of_the_picture(dataset: Path) -> None:
    [image] = dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*desc-FRSTseg15000_SPIM.ome.zarr")
    (image / "zarr.json").unlink()
    assert report(dataset).problems == ()  # tables of cells are drawn instead
    remove_cell_tables(dataset)
    assert len(report(dataset).problems) == 1
    text = text_of(dataset, f"{KO_PREFIX}.html")
    assert "threshold 15000" not in text.partition("Planes")[0]
    assert f"Problems {image.relative_to(dataset)}: cannot be read" in text


def test_cells_that_pictures_have_no_room_for_are_not_passed_over(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.reporting.views.MOST_SEGMENTATIONS", 1)
    remove_cell_tables(dataset)
    report(dataset)
    words = "The cells of 1 more segmentation are not drawn over these pictures"
    assert words in text_of(dataset, f"{KO_PREFIX}.html")
    assert "The cells of" not in text_of(dataset, "sub-45925floxed_sample-RightHemisphere_stain-cFos.html")


def test_a_sample_without_a_raw_image_has_a_page(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO)
    shutil.rmtree(run / "640_N4")
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(report=True))
    assert "no raw image" in text_of(tmp_path / "dataset")
    assert "Cells in each region" in text_of(tmp_path / "dataset", f"{KO_PREFIX}.html")


def test_samples_that_are_gone_have_no_page_any_more(dataset: Path) -> None:
    report(dataset)
    folder = dataset / REPORT
    gone = folder / "sub-gone_sample-LeftHemisphere_stain-cFos.html"
    shutil.copy(folder / f"{KO_PREFIX}.html", gone)
    (folder / "sub-notes.html").write_text("somebody's own")
    (folder / "notes.html").write_text("somebody's own")
    report(dataset)
    assert not gone.exists()
    assert {"sub-notes.html", "notes.html"} < {path.name for path in folder.iterdir()}


def test_the_folder_of_the_report_is_one_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/sub-thesis.html").write_text("mine")
    (dataset / "docs").mkdir()
    (dataset / REPORT).symlink_to(tmp_path / "web")
    with pytest.raises(DatasetError, match="is a link out of the dataset"):
        report(dataset)
    assert [path.name for path in (tmp_path / "web").iterdir()] == ["sub-thesis.html"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("key",), "../../../escaped"),
        (("key",), 'javascript:(document.title="x")'),
        (("subject",), "**/**"),
        (("subject",), "a/../../b"),
        (("atlas_table",), "../../../../dseg.tsv"),
        (("image",), "/etc/passwd"),
        (("image",), "derivatives/../../elsewhere/image.ome.zarr"),
        (("shape",), [0, 1, 1]),
    ],
)
def test_a_provenance_that_was_tampered_with_is_refused(dataset: Path, path: tuple[str], value: Any) -> None:
    document = read_json(dataset / PROVENANCE)
    run = document["runs"][KO_PREFIX]
    target = next(iter(run["images"]))
    match path[0]:
        case "key":
            document["runs"][value] = document["runs"].pop(KO_PREFIX)
        case "image":
            run["images"][value] = run["images"].pop(target)
        case "shape":
            run["images"][target]["shape"] = value
        case field:
            run[field] = value
    (dataset / PROVENANCE).write_text(json.dumps(document))
    before = files_of(dataset)
    with pytest.raises(DatasetError, match=r"provenance\.json"):
        report(dataset)
    assert files_of(dataset) == before


def test_characters_that_no_picture_can_have_do_no_harm(dataset: Path) -> None:
    characters = "\x01\x0b\x1b\x7f\ufffe"
    for table in dataset.glob("derivatives/catnip/*dseg.tsv"):
        table.write_text(table.read_text().replace("PIR", f"P{characters}IR").replace("Caudo", f"C{characters}audo"))
    assert report(dataset).problems == ()
    assert "Piriform area" in text_of(dataset, f"{KO_PREFIX}.html")


def test_regions_of_one_abbreviation_have_a_bar_each() -> None:
    regions = {n: DisplayedRegion(n, f"{side}_area", "AAA", "#123456") for n, side in ((1, "Left"), (2, "Right"))}
    regions[3] = DisplayedRegion(3, "Other", "", "#654321")
    plots = [
        region_chart(Counts(10000, False, cells), regions, CELLS)
        for cells in ({1: 10, 2: 7, 3: 9, 4: 0, 5: None}, {9: 1})
    ]
    with Vega() as vega:
        chart, unlisted = (vega.svg(plot) for plot in plots if plot is not None)
    texts = re.findall(r"<text[^>]*>([^<]+)</text>", chart)
    assert [text for text in texts if "AAA" in text or text == "Other"] == ["AAA (1)", "Other", "AAA (2)"]
    assert {"10", "9", "7"} <= set(texts)
    assert region_chart(Counts(10000, False, {4: 0, 5: None}), regions, CELLS) is None
    assert ">unlisted 9</text>" in unlisted


def test_a_plot_that_cannot_be_drawn_leaves_out_that_plot_only() -> None:
    with Vega() as vega:
        assert "Vega cannot draw them" in vega.svg({"mark": 5})
        assert "<svg" in vega.svg({"mark": "point", "data": {"values": []}})
    assert "Vega cannot draw them" in vega.failure


def test_a_process_that_says_something_else_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    talking = "for line in __import__('sys').stdin: print('a warning', flush=True)"
    start = subprocess.Popen

    def started(_: object, **options: Any) -> subprocess.Popen[bytes]:
        return start([sys.executable, "-c", talking], **options)

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(vega_module, "_SECONDS_TO_END", 0.1)
    monkeypatch.setattr(Vega, "_library", None)
    with Vega() as vega:
        assert vega.compiled({}) is None
        assert vega.library() is None
    assert "does not answer as it should" in vega.failure


def test_an_id_of_two_atlases_is_two_regions(tmp_path: Path) -> None:
    for name in (KO, FLOX):
        run = write_l0(tmp_path / "cohort", name)
        if name == FLOX:
            for table in run.rglob("*.csv"):
                table.write_text(table.read_text().replace("Piriform_area", "Another_region"))
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    provenance = read_provenance(tmp_path / "dataset")
    samples = read_samples(tmp_path / "dataset", provenance)
    cohort = read_cohort(samples)
    assert cohort is not None
    names = [row.key.name for row in cohort.rows]
    ko, flox = ~np.isnan(
        cohort.samples.values(0, CELLS)[:, [names.index("Piriform area"), names.index("Another region")]]
    )
    assert ko.tolist() == [True, False]
    assert flox.tolist() == [False, True]


def test_labels_that_nothing_names_are_no_other_region(dataset: Path) -> None:
    document = read_json(dataset / PROVENANCE)
    [atlas] = [image for image in document["runs"][KO_PREFIX]["images"].values() if image["role"] == "atlas"]
    forgotten = atlas["label_values"].pop(3)
    (dataset / PROVENANCE).write_text(json.dumps(document))
    sample = next(s for s in read_samples(dataset, read_provenance(dataset)) if s.key == KO_PREFIX)
    brain = read_brain(dataset, sample)
    assert brain is not None
    assert brain.labels is not None
    labels, numbers = brain.labels.slice(0, 6), brain._numbers(brain.labels.slice(0, 6))
    assert (labels == forgotten).any()
    for value in np.unique(labels):
        [number] = np.unique(numbers[labels == value])
        expected = "unlisted" if value == forgotten else sample.regions.get(int(value))
        name = brain.regions[number - 1].name if number else None
        assert name == (expected if expected is None or isinstance(expected, str) else expected.name)


@pytest.mark.slow
def test_what_was_found_before_a_change_is_no_problem_any_more(dataset: Path, tmp_path: Path) -> None:
    (dataset / "extra.txt").write_text("not BIDS")
    finding = Finding(Severity.ERROR, "NOT_INCLUDED", "extra.txt", "is not in BIDS", "bids")
    save_check_result(dataset, "validation", ValidationReport(dataset, (finding,), ()))
    report(dataset)
    assert "Problems" in text_of(dataset)
    (dataset / "extra.txt").unlink()
    write_l2(tmp_path / "more", TODAY)
    package([tmp_path / "more"], dataset, settings())
    report(dataset)
    assert "changed since validate ran on" in text_of(dataset)
    assert "Problems" not in text_of(dataset)


def test_nothing_is_proven_of_an_image_that_is_gone(dataset: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    shutil.rmtree(dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr")
    report(dataset)
    text = text_of(dataset)
    assert "changed since verify ran on" in text
    assert "every pixel proven" not in text


def test_an_image_whose_bytes_changed_unnoticed_is_not_called_proven(dataset: Path) -> None:
    image = dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    document = (image / "zarr.json").read_text()
    (image / "zarr.json").write_text(document.replace('"multiscales"', '"multiscaleX"'))
    report(dataset)
    assert text_of(dataset).count("verified every pixel proven") == 1
    assert "verified not any more" in text_of(dataset)


def test_findings_are_those_of_the_sample_that_they_name(dataset: Path) -> None:
    sample = next(s for s in read_samples(dataset, read_provenance(dataset)) if s.key == KO_PREFIX)
    assert sample.is_named_in(f"sub-45670ko/micr/{KO_PREFIX}_SPIM.json")
    assert not sample.is_named_in(f"sub-45670ko/micr/{KO_PREFIX}2_SPIM.json")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("participants.tsv", "subject\nsub-1\n", "participants.tsv: has no column participant_id"),
        ("samples.tsv", "sample_id\nsample-1\n", "samples.tsv: has no column participant_id"),
        ("sub-45670ko/sub-45670ko_scans.tsv", "filename\nx\n", "has no column acq_time"),
        ("derivatives/catnip/dseg.tsv", "index\tname\nx\ty\n", "dseg.tsv: 'x' is not a whole number"),
        ("derivatives/catnip/dseg.tsv", "name\nx\n", "dseg.tsv: has no column index"),
        ("COUNTS", "index\tcell_count\n1\tnan\n", "'nan' is not a whole number"),
        ("COUNTS", "index\tname\n1\tx\n", "has no column cell_count"),
    ],
)
def test_tables_that_are_damaged_are_named(dataset: Path, file: str, content: str, message: str) -> None:
    counts = next(dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*_counts.tsv"))
    (counts if file == "COUNTS" else dataset / file).write_text(content)
    with pytest.raises(DatasetError, match=re.escape(message)):
        report(dataset)


@pytest.mark.parametrize("file", ["participants.tsv", "docs"])
def test_packaging_is_no_failure_because_of_the_report(dataset: Path, tmp_path: Path, file: str) -> None:
    """What was packaged stays whole, and the result says what is wrong with the report."""
    more = write_l2(tmp_path / "more", TODAY)
    if file == "docs":
        (dataset / "docs").write_text("a file")
    else:
        counts = next(dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*_counts.tsv"))
        counts.write_text("index\tcell_count\n1\tnan\n")
        known = read_checksums(dataset)
        assert known is not None
        write_checksums(dataset, known.files, [PurePosixPath(counts.relative_to(dataset))])
    result = package([more], dataset, settings(report=True))
    assert (result.ok, result.report) == (True, None)
    assert [warning for warning in result.warnings if warning.startswith("no report is drawn: ")]


def test_with_little_memory_no_report_is_drawn(tmp_path: Path) -> None:
    write_l0(tmp_path / "cohort", KO)
    result = package([tmp_path / "cohort"], tmp_path / "dataset", settings(report=True, memory_bytes=300 * 2**20))
    assert result.report is None
    assert "draw it with catnip2bids report" in result.warnings[-1]
    assert not (tmp_path / "dataset/docs").exists()


def test_the_figures_are_those_of_the_dataset(dataset: Path) -> None:
    sample = next(s for s in read_samples(dataset, read_provenance(dataset)) if s.key == KO_PREFIX)
    brain = read_brain(dataset, sample)
    assert brain is not None
    pixels = level(dataset / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr")
    histogram = brain.histogram()
    assert histogram.n_voxels.tolist() == np.histogram(pixels, histogram.edges)[0].tolist()
    folder = dataset / "derivatives/catnip/sub-45670ko/micr"
    images = [*folder.glob("*.ome.zarr"), *(dataset / "sub-45670ko/micr").glob("*.ome.zarr")]
    files = [path for image in images for path in image.rglob("*") if path.is_file()]
    assert sample.bytes_after == sum(path.stat().st_size for path in files)
    before = [decision.n_bytes for decision in sample.decisions if decision.target in sample.record.images]
    assert sample.bytes_before == sum(n_bytes or 0 for n_bytes in before) > 0
    [counts] = [found for found in sample.counts if found.threshold == 10000]
    [table] = dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*FRSTseg10000_counts.tsv")
    assert counts.total == sum(int(row["cell_count"]) for row in read_tsv(table))


def test_heat_maps_are_those_of_their_threshold(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO, exclusion=True, shape=(12, 80, 72), thresholds=(10000, 15000))
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    [sample] = read_samples(tmp_path / "dataset", read_provenance(tmp_path / "dataset"))
    for heat in read_heatmaps(tmp_path / "dataset", sample, heatmap_scales([sample.record])):
        for folder, views in (("heatmaps_atlasspace", heat.plain), ("heatmaps_atlasspace_corrected", heat.corrected)):
            if not views:
                continue
            values = source_planes(next((run / folder).glob(f"*{heat.threshold}*.tif")))
            whole = source_planes(next((run / "heatmaps_atlasspace").glob(f"*{heat.threshold}*.tif")))
            assert heat.largest == whole.max()
            for axis, view in enumerate(views):
                shown = np.nan_to_num(values).max(axis=axis)
                lost = shown < np.nan_to_num(whole).max(axis=axis)
                if axis == 2:
                    shown, lost = shown.T, lost.T
                assert view.address == heat_picture(shown, heat.largest, lost), (heat.threshold, folder, axis)
    assert sample.bytes_before is not None


def test_heat_maps_of_all_samples_have_one_scale(drawn: Path) -> None:
    samples = read_samples(drawn, read_provenance(drawn))
    scales = heatmap_scales(sample.record for sample in samples)
    largest: dict[int, float] = {}
    for image in drawn.glob("derivatives/catnip/sub-*/micr/*desc-heatmap*_SPIM.ome.zarr"):
        threshold = int(re.findall(r"desc-heatmap(?:corrected)?(\d+)_", image.name)[0])
        largest[threshold] = max(largest.get(threshold, 0.0), float(level(image).max()))
    assert scales == largest
    assert len(scales) == 2
    for sample in samples:
        assert {heat.threshold: heat.largest for heat in read_heatmaps(drawn, sample, scales)}.items() <= scales.items()
    words = "The scale is the same for all 2 samples"
    assert words in text_of(drawn, f"{KO_PREFIX}.html")


def test_a_dataset_of_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"provenance\.json"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(dataset: Path) -> None:
    (dataset / "docs").write_text("a file")
    with pytest.raises(DatasetError, match="docs"):
        report(dataset)


# ---- what was checked


def test_the_report_says_that_all_is_well(dataset: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    report(dataset)
    text = text_of(dataset)
    assert re.search(r"every pixel proven on \d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    assert text.count("verified every pixel proven") == 2


def test_the_report_says_which_sample_is_not_as_it_was(dataset: Path) -> None:
    image = next((dataset / "sub-45670ko/micr").glob("*.ome.zarr"))
    chunk = next(path for path in (image / "0").rglob("*") if path.is_file() and path.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes()[:-8] + b"damaged!")
    (dataset / "README.md").write_text("changed")
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    report(dataset)
    text = text_of(dataset)
    assert "verify found changes on " in text
    assert "verified 1 image changed, 1 other file changed on " in text
    assert "verified every pixel proven, 1 other file changed on " in text
    assert f"{image.relative_to(dataset)}: " in text
    assert "README.md: " in text


@pytest.mark.parametrize("file", ["participants.tsv", "derivatives/catnip-counts/counts.tsv", "participants.json"])
def test_results_of_checks_expire_when_a_table_changes(dataset: Path, file: str) -> None:
    save_check_result(dataset, "validation", ValidationReport(dataset, (), ()))
    report(dataset)
    assert "validate said: valid on " in text_of(dataset)
    with (dataset / file).open("a") as changed:
        changed.write("\n")
    report(dataset)
    assert "changed since validate ran on " in text_of(dataset)
    assert "said: valid" not in text_of(dataset)


@pytest.mark.parametrize("file", ["counts", "extra", "provenance"])
def test_the_page_of_a_sample_says_which_files_have_changed(dataset: Path, file: str) -> None:
    save_check_result(dataset, "validation", ValidationReport(dataset, (), ()))
    path = dataset / PROVENANCE
    match file:
        case "counts":
            path = next(dataset.glob(f"derivatives/*/sub-45670ko/micr/{KO_PREFIX}*_counts.tsv"))
        case "extra":
            path = dataset / f"sub-45670ko/micr/{KO_PREFIX}_extra.txt"
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    if file != "extra":  # of these, the report sees that they are not those that validate read
        save_check_result(dataset, "validation", ValidationReport(dataset, (), ()))
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    report(dataset)
    name = path.relative_to(dataset).as_posix()
    pages = [f"{KO_PREFIX}.html", "sub-45925floxed_sample-RightHemisphere_stain-cFos.html"]
    for page in pages if file == "provenance" else pages[:1]:
        text = text_of(dataset, page)
        assert f"Problems {name}: " in text
        assert "verified every pixel proven, 1 other file changed on " in text
    if file != "provenance":
        assert "Problems" not in text_of(dataset, pages[1])
    overview = (dataset / INDEX).read_text()
    assert overview.count(name + "</code>") == 1
    assert re.search(r'class="state warn">validate said: valid on [-: \d]+ UTC; verify found changes since<', overview)
    assert text_of(dataset).count("said validate; verify found changes since") == 2


def test_plots_that_are_missing_are_told_once_on_each_page(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_report, "Vega", Vega)
    monkeypatch.setattr("catnip2bids.reporting.vega.sys.executable", "/nowhere")
    report(dataset)
    text = text_of(dataset, f"{KO_PREFIX}.html")
    assert text.count("Plots are missing, because") == text.lower().count("plots are missing") == 1
    assert "Cells of" not in text
    assert "Shown as black" not in text
    assert "Cells in each region" in text
    assert text_of(dataset).count("Plots are missing, because") == 1


@pytest.mark.parametrize(
    "name", ["*desc-FRSTseg10000_SPIM.ome.zarr", "*desc-FRSTseg10000_counts.tsv", "*desc-FRSTseg10000_cells.tsv.gz"]
)
def test_files_that_are_missing_are_problems(dataset: Path, name: str) -> None:
    (missing,) = (path for path in dataset.rglob(name) if KO_PREFIX in path.name)
    if missing.is_dir():
        shutil.rmtree(missing)
    else:
        missing.unlink()
    made = report(dataset)
    (problem,) = made.problems
    assert problem.startswith(f"{missing}: ")
    assert "does not exist" in problem
    for page in ("index.html", f"{KO_PREFIX}.html"):
        assert f"Problems {missing.relative_to(dataset)}: " in text_of(dataset, page)


@pytest.mark.parametrize("is_verified", [True, False])
def test_checksums_that_are_missing_are_a_problem(dataset: Path, is_verified: bool) -> None:
    checksums = dataset / "code/catnip2bids/checksums.sha256"
    checksums.unlink()
    if is_verified:
        save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    made = report(dataset)
    (problem,) = made.problems
    assert problem.startswith(f"{checksums}: does not exist")
    for page in ("index.html", f"{KO_PREFIX}.html"):
        text = text_of(dataset, page)
        assert "changed since" not in text
        assert text.count("Problems code/catnip2bids/checksums.sha256: does not exist") == 1
    assert ("verify said: not everything is proven on" in text_of(dataset)) is is_verified
    assert ("verified every pixel proven, 1 other file not proven on" in text_of(dataset)) is is_verified


@pytest.mark.parametrize(("level", "planes"), [(None, []), (1, []), (0, [3]), (0, [3, 4, 7])])
def test_the_report_says_of_a_problem_what_verify_says(level: int | None, planes: list[int]) -> None:
    kept = ImageProblem(what="is wrong", level=level, planes=planes)
    assert str(kept) == str(Problem("is wrong", level, tuple(planes)))


@pytest.mark.slow
def test_an_outcome_is_not_that_of_another_dataset(dataset: Path, tmp_path: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    write_l2(tmp_path / "more", TODAY)
    package([tmp_path / "more"], dataset, settings(report=True))
    outcome = read_check_result(dataset, "verification")
    assert outcome is not None
    assert not outcome[1]
    text = text_of(dataset)
    assert "changed since verify ran on" in text
    assert text.count("verified changed since verify ran on") == 3


def test_the_report_says_who_said_that_all_is_well(dataset: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    report(dataset)
    text = text_of(dataset)
    assert re.search(r"verify said: every pixel proven on [-\d]+ [:\d]+ UTC; not checked again since", text)
    assert "anyone with write access to the dataset can edit them" in " ".join(text.split())


@pytest.mark.parametrize(
    ("problems", "said"),
    [((), None), ((None, None), "CATNIP's counts confirmed"), ((None, "no labels"), "1 of 2 tables of counts not con")],
)
def test_the_report_says_whether_counts_were_confirmed(
    dataset: Path, problems: tuple[str | None, ...], said: str | None
) -> None:
    counts = tuple(CountsVerdict("counts.tsv", 3, (), problem) for problem in problems)
    save_check_result(dataset, "verification", replace(catnip2bids.verify(dataset), counts=counts))
    text = " ".join(state.text for state in CheckResults.of(dataset).states)
    assert "verify said: every pixel proven on " in text
    assert ("verify --counts said: " in text) == (said is not None)
    assert (said or "") in text


def test_a_forged_outcome_that_misses_an_image_or_contradicts_itself_is_not_shown(dataset: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    path = dataset / REPORT / "verification.json"
    document = json.loads(path.read_bytes())
    left_out = document["found"]["images"].pop()
    path.write_text(json.dumps(document))
    report(dataset)
    assert "every pixel proven" not in text_of(dataset)
    outcome = read_check_result(dataset, "verification")
    assert outcome is not None
    assert outcome[1] is False
    left_out["problems"] = [{"what": "is not what was read", "level": 0, "planes": [3]}]
    document["found"]["images"].append(left_out)
    path.write_text(json.dumps(document))
    assert read_check_result(dataset, "verification") is None


def test_an_outcome_that_misses_an_embedded_label_image_does_not_hold(dataset: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    provenance, outcome = dataset / "code/catnip2bids/provenance.json", dataset / REPORT / "verification.json"
    document = json.loads(provenance.read_bytes())
    run = next(iter(document["runs"].values()))
    image, labels = list(run["images"].values())[:2]
    for embedded, holds in (({"labels": "of nothing"}, True), ({"labels": labels["fingerprint"]}, False)):
        image["embedded"] = embedded
        provenance.write_text(json.dumps(document))
        outcome.write_text(json.dumps(json.loads(outcome.read_bytes()) | {"dataset": dataset_state(dataset)}))
        found = read_check_result(dataset, "verification")
        assert found is not None
        assert found[1] is holds


def test_an_outcome_is_of_one_provenance(dataset: Path) -> None:
    save_check_result(dataset, "verification", catnip2bids.verify(dataset))
    path = dataset / "code/catnip2bids/provenance.json"
    path.write_text(path.read_text() + "\n")
    outcome = read_check_result(dataset, "verification")
    assert outcome is not None
    assert outcome[1] is False


@pytest.mark.parametrize("content", ["", "[]", '{"ok": true}', '{"ok": true, "time": "x", "dataset": 1, "found": 1}'])
def test_an_outcome_that_cannot_be_read_is_none(dataset: Path, content: str) -> None:
    (dataset / REPORT).mkdir(parents=True)
    (dataset / REPORT / "verification.json").write_text(content)
    assert read_check_result(dataset, "verification") is None


def test_an_outcome_that_cannot_be_read_does_not_keep_the_report_from_being_drawn(dataset: Path) -> None:
    (dataset / REPORT).mkdir(parents=True)
    (dataset / REPORT / "verification.json").write_text("[]")
    assert report(dataset).problems == ()
    assert "not checked yet: catnip2bids verify" in text_of(dataset)


def test_a_dataset_whose_packaging_was_interrupted_is_refused(dataset: Path) -> None:
    (dataset / "dataset_description.json").unlink()
    done = called("report", dataset)
    assert done.returncode == 2
    assert "dataset_description.json: does not exist: packaging was interrupted" in done.stderr
    assert "Errno" not in done.stderr


def problems_of(dataset: Path) -> list[str]:
    """Return what is wrong with the only sample of a dataset."""
    (sample,) = read_samples(dataset, read_provenance(dataset))
    return [problem.what for problem in status_of(sample, CheckResults.of(dataset)).problems]


def test_what_a_person_left_out_is_no_problem_whatever_the_reason_is_called(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO)
    slices_of(run / "640_FRST")[1].unlink()
    plan = catnip2bids.make_plan(catnip2bids.scan(tmp_path / "cohort"))
    (line,) = (line for line in plan.runs[0].entries if line.source == "heatmaps_atlasspace/FRSTseg_00010000.tif")
    line.action, line.reason = Action.EXCLUDE, "problem: blurred"
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(), plan)
    (problem,) = problems_of(tmp_path / "dataset")
    assert problem.startswith("640_FRST: ")
    report(tmp_path / "dataset")
    assert "problem: blurred" in text_of(tmp_path / "dataset").partition("What was left out, and why")[2]


def test_what_was_packaged_earlier_and_has_a_problem_now_is_one(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    slices_of(run / "640_FRST")[1].unlink()
    package([tmp_path / "cohort"], tmp_path / "dataset", settings())
    (problem,) = problems_of(tmp_path / "dataset")
    assert problem.startswith("packaged earlier, and has a problem now: 640_FRST")


def test_nothing_is_kept_in_datasets_of_others(dataset: Path) -> None:
    shutil.rmtree(dataset / "code")
    before = state_of(dataset)
    save_check_result(dataset, "validation", ValidationReport(dataset, (), ()))
    assert state_of(dataset) == before


# ---- commands


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Run the command line in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["catnip2bids", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.slow
def test_the_commands_draw_and_keep(dataset: Path) -> None:
    assert called("verify", dataset).returncode == 0
    done = called("report", dataset)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"look at {dataset / INDEX}" in done.stderr
    assert "every pixel proven" in text_of(dataset)


def test_package_can_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_l0(tmp_path / "cohort", KO)
    words = ("package", tmp_path / "cohort", "-o", tmp_path / "out", *VOXEL_SIZE, "--no-report")
    assert run(monkeypatch, *words) == 0
    assert not (tmp_path / "out/docs").exists()
    assert "report" not in json.loads((tmp_path / "out/code/catnip2bids/provenance.json").read_bytes())["settings"]


def test_exit_codes_of_the_report(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(next((dataset / "sub-45670ko/micr").glob("*.ome.zarr")))
    assert run(monkeypatch, "report", dataset) == 1
    assert "problem" in capsys.readouterr().err
    assert run(monkeypatch, "report", dataset / "sub-45670ko") == 2


def test_more_planes_are_drawn_where_there_are_fewer_samples(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(dataset)
    many = (dataset / REPORT / f"{KO_PREFIX}.html").stat().st_size
    monkeypatch.setattr("catnip2bids.reporting.write_report._PLANES_BYTES", 1)
    report(dataset)
    assert (dataset / REPORT / f"{KO_PREFIX}.html").stat().st_size < many


def test_a_brain_without_regions_and_cells_is_drawn_alone(tmp_path: Path) -> None:
    run = write_l0(tmp_path / "cohort", KO)
    for path in run.iterdir():
        if path.name != "640_N4":
            shutil.rmtree(path)
    package([tmp_path / "cohort"], tmp_path / "dataset", settings(report=True))
    text = text_of(tmp_path / "dataset", f"{KO_PREFIX}.html")
    assert "The brain" in text
    assert "regions off" not in text
    assert "Heat map" not in text
