"""Sources, plans and files of the dataset change between two commands, of which one may be interrupted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from catnip2bids import Format, make_plan, package, report, restore, scan, verify
from catnip2bids.atomic_write import unfinished_outputs
from catnip2bids.bids.provenance import read_provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.packaging.run_packager import RunPackager
from catnip2bids.validation.sidecars import check_pixel_sizes, check_provenance, check_sources
from catnip2bids.validation.tree import read_tree
from edited_plans import edited
from runs import (
    FLOX,
    KO,
    KO_PREFIX,
    TODAY_PREFIX,
    images_of,
    level,
    mentions,
    read_json,
    rewrite_slice,
    settings,
    slices_of,
    source_planes,
    write_l0,
    write_l2,
)

MASKED = "atlaslabel_def_origspace_masked"


def move_labels(run: Path) -> None:
    """Change the labels as if they were registered again."""
    labels = source_planes(run / "atlaslabel_def_origspace")
    for file, plane in zip(slices_of(run / "atlaslabel_def_origspace"), labels, strict=True):
        rewrite_slice(file, np.roll(plane, 3, axis=0))


def interrupt(monkeypatch: pytest.MonkeyPatch, method: str, source: Path, out: Path, **choices: Any) -> None:
    """Package, and press Ctrl-C at the end of a step."""
    done = getattr(RunPackager, method)

    def do_and_stop(self: RunPackager, *arguments: Any) -> None:
        done(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(RunPackager, method, do_and_stop)
        with pytest.raises(KeyboardInterrupt):
            package([source], out, settings(**choices))


# ---- what is restored


def test_what_can_no_longer_be_restored_is_a_problem_and_not_restored_wrongly(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    shutil.rmtree(run / MASKED)
    move_labels(run)
    (problem,) = package([tmp_path / "source"], out, settings()).problems
    assert problem.startswith(f"{run / MASKED}: no longer exists, and cannot be restored from ")
    restored = restore(out, tmp_path / "restored")
    assert mentions(restored.problems, MASKED)
    assert not list((tmp_path / "restored").rglob(MASKED))
    assert package([tmp_path / "source"], out, settings()).ok  # it is told once


def test_restoring_refuses_an_image_that_is_not_the_one_that_was_compared(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    provenance = read_provenance(out)
    for decision in provenance.decisions:
        if decision.evidence is not None and "pixels_sha256" in decision.evidence:
            decision.evidence["pixels_sha256"] = "0" * 64
    provenance.save(out)
    (out / "code/catnip2bids/checksums.sha256").unlink()
    restored = restore(out, tmp_path / "restored")
    assert mentions(restored.problems, MASKED, "other pixels than when")
    assert not list((tmp_path / "restored").rglob(MASKED))
    assert not verify(out, tmp_path / "source").ok
    assert run.exists()


@pytest.mark.parametrize("image_format", [Format.OME_ZARR, Format.OME_TIFF])
def test_a_recovered_mask_does_not_replace_the_one_that_catnip_wrote(tmp_path: Path, image_format: Format) -> None:
    run, out = write_l2(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    mask = source_planes(run / "hemispheremask_origspace")
    shutil.rmtree(run / "hemispheremask_origspace")
    result = package([tmp_path / "source"], out, settings(image_format=image_format))
    assert result.ok
    assert mentions(result.warnings, MASKED, "is packaged too, because its mask")
    (image,) = (image for image in images_of(out) if "hemispheremask" in image)
    np.testing.assert_array_equal(level(out / image), mask)
    assert verify(out).ok
    assert restore(out, tmp_path / "restored").ok
    (restored,) = (tmp_path / "restored").rglob("hemispheremask_origspace")
    np.testing.assert_array_equal(source_planes(restored), mask)


@pytest.mark.parametrize("renamed", ["N4", "stack"])
def test_an_entry_in_another_form_takes_the_place_of_the_one_that_is_gone(tmp_path: Path, renamed: str) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    if renamed == "N4":
        (run / "640_N4").rename(run / "N4")
    else:
        (stack,) = (run / "640_FRST_seg").glob("*.tif")
        planes = tifffile.imread(stack)
        stack.unlink()
        stack.with_suffix("").mkdir()
        for number, plane in enumerate(planes, 1):
            tifffile.imwrite(stack.with_suffix("") / f"Z{number:06}_FRST_T010000.tif", plane, metadata=None)
    assert package([tmp_path / "source"], out, settings()).ok
    assert verify(out, tmp_path / "source").ok
    assert restore(out, tmp_path / "restored").ok


def test_a_folder_that_was_empty_is_not_left_out_any_more(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    (run / "640_FRST_seg").mkdir()
    package([tmp_path / "source"], out, settings())
    (run / "640_FRST_seg/notes.txt").write_text("new")
    package([tmp_path / "source"], out, settings())
    assert {found.source.partition("/640_")[2] for found in read_provenance(out).decisions} == {
        "N4",
        "FRST_seg/notes.txt",
    }


# ---- commands that are interrupted


def test_an_unfinished_run_stays_a_problem_while_others_are_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = write_l0(tmp_path / "one"), tmp_path / "out"
    package([tmp_path / "one"], out, settings())
    move_labels(run)
    interrupt(monkeypatch, "remove_unplanned", tmp_path / "one", out)
    write_l0(tmp_path / "two", FLOX)
    assert mentions(package([tmp_path / "two"], out, settings()).warnings, KO_PREFIX, "was interrupted")
    assert mentions([found.what for found in verify(out).file_problems], KO_PREFIX, "package its run again")
    assert mentions(report(out).problems, KO_PREFIX, "was interrupted")
    assert [found.code for found in check_provenance(read_tree(out))] == ["RUN_UNFINISHED"]
    assert package([tmp_path / "one"], out, settings()).ok
    assert verify(out).ok
    assert not report(out).problems
    assert not list(check_provenance(read_tree(out)))


def test_what_an_interrupted_command_copied_can_be_excluded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a person excludes would be published."""
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST_seg")), tmp_path / "out"
    (run / "notes.txt").write_text("secret")
    interrupt(monkeypatch, "write_tables_and_copies", tmp_path / "source", out)
    assert list(out.rglob("notes.txt"))
    plan = edited(tmp_path / "source", "notes.txt", Action.EXCLUDE, "not to be published")
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert not list(out.rglob("notes.txt"))


def test_an_interruption_does_not_mix_paths_below_two_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([run], out, settings())
    interrupt(monkeypatch, "write_tables_and_copies", tmp_path / "source", out)
    assert package([tmp_path / "source"], out, settings()).ok
    assert all(found.source.startswith(f"{KO}/") for found in read_provenance(out).decisions)
    assert verify(out, tmp_path / "source").ok
    assert restore(out, tmp_path / "restored").ok


def test_images_of_an_interrupted_command_get_sidecars_when_their_source_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    interrupt(monkeypatch, "remove_unplanned", tmp_path / "source", out)
    shutil.rmtree(run / "640_N4")
    assert package([tmp_path / "source"], out, settings()).ok
    assert not [*check_sources(read_tree(out)), *check_pixel_sizes(read_tree(out))]
    assert KO_PREFIX in (out / "sub-45670ko/sub-45670ko_scans.tsv").read_text()


# ---- what a person chose


def test_choices_of_the_plan_hold_for_a_command_without_one(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    (run / "notes.txt").write_text("secret")
    plan = edited(tmp_path / "source", "notes.txt", Action.EXCLUDE, "not to be published")
    plan.runs[0].atlas_version, plan.runs[0].acquired = "v2", "2020-01-02T03:04:05"
    package([tmp_path / "source"], out, settings(), plan)
    package([tmp_path / "source"], out, settings())
    assert not list(out.rglob("notes.txt"))
    (decision,) = (found for found in read_provenance(out).decisions if found.source.endswith("notes.txt"))
    assert (decision.action, decision.reason) == ("exclude", "not to be published")
    assert read_provenance(out).runs[KO_PREFIX].atlas_version == "v2"
    assert "2020-01-02T03:04:05" in (out / "sub-45670ko/sub-45670ko_scans.tsv").read_text()
    package([tmp_path / "source"], out, settings(), make_plan(scan(tmp_path / "source")))
    assert list(out.rglob("notes.txt"))


def test_a_time_of_acquisition_that_a_person_wrote_stays(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=("640_N4",))
    out = tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    table = out / "sub-45670ko/sub-45670ko_scans.tsv"
    header, row = table.read_text().splitlines()
    table.write_text(f"{header}\n{row.split()[0]}\t1999-01-02T03:04:05\n")
    package([tmp_path / "source"], out, settings())
    assert table.read_text().split()[-1] == "1999-01-02T03:04:05"


def test_licence_authors_and_title_are_the_same_everywhere(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=("640_N4", "640_FRST"))
    out = tmp_path / "out"
    plan = make_plan(scan(tmp_path / "source"))
    plan.dataset.license, plan.dataset.authors = "CC0", ["A. One"]
    package([tmp_path / "source"], out, settings(), plan)
    for license_, authors in (("CC-BY-4.0", ["B. Two"]), ("CC0", ["C. Three"])):
        described = out / "dataset_description.json"
        text = described.read_text().replace(read_json(described)["License"], license_)
        described.write_text(text.replace(read_json(described)["Authors"][0], authors[0]))
        package([tmp_path / "source"], out, settings())
        derived = read_json(out / "derivatives/catnip/dataset_description.json")
        assert (derived["License"], derived["Authors"]) == (license_, authors)
        assert (out / "LICENSE").read_text().splitlines()[0] == license_


def test_edits_of_the_descriptions_stay_and_what_the_plan_brings_back_is_named(tmp_path: Path) -> None:
    write_l0(tmp_path / "source", only=("640_N4", "640_FRST"))
    out = tmp_path / "out"
    plan = make_plan(scan(tmp_path / "source"))
    plan.dataset.license, plan.dataset.acquisition = "CC0", {"Manufacturer": "A", "Immersion": "oil"}
    assert not package([tmp_path / "source"], out, settings(), plan).warnings
    described, acquisition = out / "dataset_description.json", out / "SPIM.json"
    without_license = {key: value for key, value in read_json(described).items() if key != "License"}
    described.write_text(json.dumps(without_license))
    edited_fields = {**read_json(acquisition), "Manufacturer": "B"}
    del edited_fields["Immersion"]
    acquisition.write_text(json.dumps(edited_fields))
    warnings = package([tmp_path / "source"], out, settings()).warnings
    assert [text.partition("; ")[0] for text in warnings] == [
        f"{described}: has License as in code/catnip2bids/plan.toml",
        f"{acquisition}: has Immersion as in code/catnip2bids/plan.toml",
    ]
    assert read_json(described)["License"] == "CC0"
    assert (read_json(acquisition)["Manufacturer"], read_json(acquisition)["Immersion"]) == ("B", "oil")
    package([tmp_path / "source"], out, settings(), plan)
    assert read_json(acquisition)["Manufacturer"] == "A"


def test_a_report_of_what_is_no_longer_there_is_removed(tmp_path: Path) -> None:
    write_l2(tmp_path / "source")
    out = tmp_path / "out"
    package([tmp_path / "source"], out, settings(report=True))
    page = out / f"docs/report/{TODAY_PREFIX}.html"
    package([tmp_path / "source"], out, settings())
    assert page.exists()
    plan = edited(tmp_path / "source", "N4_masked", Action.EXCLUDE, "not to be published")
    package([tmp_path / "source"], out, settings(), plan)
    assert not page.exists()
    assert not (out / "docs/report/index.html").exists()


# ---- what other commands left


def test_descriptions_do_not_depend_on_the_order_of_animals(tmp_path: Path) -> None:
    """The first one has counts, but not the segmentation in which they were counted."""
    only = ("640_N4", "640_FRST_seg", "atlaslabel_def_origspace")
    one, two = write_l0(tmp_path / "one", only=only), write_l0(tmp_path / "two", FLOX, only=only)
    next((one / "640_FRST_seg").glob("*.tif")).unlink()
    written = []
    for order in ((one, two), (two, one)):
        out = tmp_path / order[0].name
        for run in order:
            package([run], out, settings())
        written.append((out / "derivatives/catnip/descriptions.tsv").read_text())
    assert written[0] == written[1]
    assert "binary cell segmentation" in written[0]


def test_unfinished_images_of_another_format_are_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_l0(tmp_path / "source", only=("640_N4",))
    out = tmp_path / "out"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr("catnip2bids.build_image.convert_volume", stop)
        with pytest.raises(KeyboardInterrupt):
            package([tmp_path / "source"], out, settings(image_format=Format.OME_TIFF))
    assert unfinished_outputs(out)
    assert not mentions(package([tmp_path / "source"], out, settings()).warnings, "unfinished")
    assert not unfinished_outputs(out)
    assert verify(out).ok
