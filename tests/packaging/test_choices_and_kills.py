"""What a person chose is kept for the right entry, and a killed command leaves nothing behind that stays wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from catnip2bids import make_plan, package, remove_animal, restore, scan, share, verify
from catnip2bids.bids.provenance import Choice, read_provenance
from catnip2bids.catnip.component_type import Action
from catnip2bids.packaging import package_runs, removal
from catnip2bids.packaging.run_packager import RunPackager
from catnip2bids.plan import Plan
from edited_plans import edited
from runs import (
    FLOX,
    KO,
    KO_PREFIX,
    images_of,
    level,
    mentions,
    rewrite_slice,
    settings,
    slices_of,
    source_planes,
    write_l0,
    write_l2,
)

MASKED = "atlaslabel_def_origspace_masked"
FRST = "640_FRST"


def kill(monkeypatch: pytest.MonkeyPatch, method: str, source: Path, out: Path, plan: Plan | None = None) -> None:
    """Package, and end at the beginning of a step; at the end of it for `finish`."""
    done = getattr(RunPackager, method)

    def stop(self: RunPackager, *arguments: Any) -> None:
        if method == "finish":
            done(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(RunPackager, method, stop)
        with pytest.raises(KeyboardInterrupt):
            package([source], out, settings(), plan)


def chosen(dataset: Path, entry: str) -> Choice | None:
    (decision,) = (found for found in read_provenance(dataset).decisions if found.source.endswith(f"/{entry}"))
    return decision.chosen


# ---- choices


def test_a_choice_is_not_that_of_another_animal_whose_folder_has_the_same_name(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    run = write_l2(source)
    other = source / "WT/_46002_LH_wt_20260502" / run.name
    shutil.copytree(run, other)
    for file in slices_of(other / "N4_masked"):
        rewrite_slice(file, np.full(source_planes(run / "N4_masked").shape[1:], 7, np.uint16))
    runs = [planned.subject for planned in make_plan(scan(source)).runs]
    plan = edited(source, "FRST", Action.EXCLUDE, "broken", run=runs.index("46001wt"))
    package([source], out, settings(), plan)
    for _ in range(2):
        with_frst = {image.split("/")[2] for image in images_of(out) if "desc-FRST_" in image}
        assert with_frst == {"sub-46002wt"}
        assert package([source], out, settings()).ok


def test_a_default_of_another_time_is_no_choice(tmp_path: Path) -> None:
    """When the labels were broken, the plan had to convert the masked ones; an empty folder was left out."""
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    file = slices_of(run / "atlaslabel_def_origspace")[3]
    content = file.read_bytes()
    file.write_bytes(content[:100])
    plan = make_plan(scan(tmp_path / "source"))
    file.write_bytes(content)
    package([tmp_path / "source"], out, settings(), plan)
    assert chosen(out, MASKED) is None
    package([tmp_path / "source"], out, settings())
    assert not [image for image in images_of(out) if "atlasmasked" in image]


def test_a_choice_outlasts_a_problem(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", FRST)), tmp_path / "out"
    plan = edited(tmp_path / "source", FRST, Action.COPY, "as it is")
    package([tmp_path / "source"], out, settings(), plan)
    away = (run / FRST).rename(tmp_path / FRST)
    (run / FRST).symlink_to("nowhere")
    package([tmp_path / "source"], out, settings())
    (run / FRST).unlink()
    away.rename(run / FRST)
    assert package([tmp_path / "source"], out, settings()).ok
    assert chosen(out, FRST) == Choice(action="copy", reason="as it is")
    assert list(out.glob(f"sourcedata/**/{FRST}"))


def test_an_exclusion_of_an_earlier_version_is_a_choice(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    (run / "notes.txt").write_text("secret")
    package([run], out, settings(), edited(run, "notes.txt", Action.EXCLUDE, "private"))
    provenance = read_provenance(out)
    for decision in provenance.decisions:
        decision.chosen = None
    provenance.save(out)
    (out / "code/catnip2bids/checksums.sha256").unlink()
    package([run], out, settings(overwrite=True))
    assert not list(out.rglob("notes.txt"))


def test_a_source_that_became_shorter_may_be_excluded(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", FRST)), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    slices_of(run / FRST)[-1].unlink()
    plan = edited(tmp_path / "source", FRST, Action.EXCLUDE, "must not be published")
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert images_of(out) == {f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"}


def test_masked_labels_that_became_shorter_do_not_replace_what_restores_them(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    before, masked = images_of(out), source_planes(run / MASKED)
    slices_of(run / MASKED)[-1].unlink()
    (problem,) = package([tmp_path / "source"], out, settings()).problems
    assert problem.startswith(f"{run / MASKED}: has {len(masked) - 1} planes and was packaged with {len(masked)}; ")
    assert images_of(out) == before
    assert verify(out).ok
    restore(out, tmp_path / "restored")
    (restored,) = (tmp_path / "restored").rglob(MASKED)
    np.testing.assert_array_equal(source_planes(restored), masked)


def test_a_mask_that_a_person_excludes_is_no_mask_that_is_gone(tmp_path: Path) -> None:
    write_l2(tmp_path / "source")
    out = tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    plan = edited(tmp_path / "source", "hemispheremask_origspace", Action.EXCLUDE, "not wanted")
    result = package([tmp_path / "source"], out, settings(), plan)
    assert not mentions(result.warnings, MASKED)
    assert not [image for image in images_of(out) if "atlasmasked" in image]
    assert restore(out, tmp_path / "restored").ok


def test_what_cannot_be_restored_any_more_is_said_each_time(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    shutil.rmtree(run / MASKED)
    labels = slices_of(run / "atlaslabel_def_origspace")
    rewrite_slice(labels[3], np.roll(source_planes(run / "atlaslabel_def_origspace")[3], 2, axis=0))
    assert not package([tmp_path / "source"], out, settings()).ok
    assert mentions(package([tmp_path / "source"], out, settings()).warnings, MASKED, "cannot be restored")


# ---- killed commands


def test_what_a_killed_command_removed_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", FRST)), tmp_path / "out"
    (run / "notes.txt").write_text("text")
    package([tmp_path / "source"], out, settings())
    plan = edited(tmp_path / "source", FRST, Action.EXCLUDE, "broken")
    next(line for line in plan.runs[0].entries if line.source == "notes.txt").action = Action.EXCLUDE
    kill(monkeypatch, "finish", tmp_path / "source", out, plan)
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert verify(out).ok


def test_tables_of_a_plan_before_a_killed_command_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    (table,) = run.rglob("*.csv")
    package([tmp_path / "source"], out, settings())
    plan = edited(tmp_path / "source", table.relative_to(run).as_posix(), Action.COPY, "as it is")
    kill(monkeypatch, "_replace_metadata", tmp_path / "source", out, plan)
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert not list(out.rglob("*counts.tsv"))
    assert verify(out).ok


def test_copies_of_a_plan_before_a_killed_command_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_l0(tmp_path / "source", only=("640_N4", FRST))
    out = tmp_path / "out"
    package([tmp_path / "source"], out, settings(), edited(tmp_path / "source", FRST, Action.COPY, "as it is"))
    plan = make_plan(scan(tmp_path / "source"))
    kill(monkeypatch, "remove_unplanned", tmp_path / "source", out, plan)
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert not list(out.glob(f"sourcedata/**/{FRST}"))
    assert verify(out).ok


def test_an_image_that_a_killed_command_replaced_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have another voxel size than its record says."""
    write_l0(tmp_path / "source", only=("640_N4",))
    out = tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    with monkeypatch.context() as changed:
        changed.setattr(RunPackager, "record_image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            package([tmp_path / "source"], out, settings(voxel_size_um=(4.0, 5.0, 6.0)))
    result = package([tmp_path / "source"], out, settings())
    assert [str(path) for path in result.made] == [f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"]
    assert verify(out).ok


def test_pages_that_a_person_wrote_stay(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    page = out / "docs/report/sub-notes.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>mine")
    (run / "notes.txt").write_text("new")
    package([tmp_path / "source"], out, settings())
    assert page.exists()
    assert (level(out / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr") == source_planes(run / "640_N4")).all()


def ending_before_checksums(monkeypatch: pytest.MonkeyPatch, module: ModuleType, command: Callable[[], object]) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(module, "write_checksums", stop)
        with pytest.raises(KeyboardInterrupt):
            command()


def test_a_removed_image_is_not_missed_if_the_command_ended_before_its_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    write_l0(source, KO)
    package([source], out, settings())
    plan = edited(source, FRST, Action.EXCLUDE, "too dim")
    ending_before_checksums(monkeypatch, package_runs, lambda: package([source], out, settings(), plan))
    share(out, "https://data.example.org/dataset")
    assert verify(out).ok


def test_a_removed_animal_is_not_missed_if_the_command_ended_before_its_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    write_l0(source, KO)
    write_l0(source, FLOX)
    package([source], out, settings())
    ending_before_checksums(monkeypatch, removal, lambda: remove_animal(out, "45925floxed", report=False))
    package([source / KO], out, settings())
    assert verify(out).ok
