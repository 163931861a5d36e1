"""What was packaged stays, and stays right, when its source is gone or cannot be read any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from catnip2bids import make_plan, package, scan, verify
from catnip2bids.bids.dataset_paths import entities_of
from catnip2bids.catnip.component_type import Action
from catnip2bids.enums import Format
from catnip2bids.validation.sidecars import check_pixel_sizes, check_sources
from catnip2bids.validation.tree import read_tree
from edited_plans import edited
from runs import (
    KO_PREFIX,
    TODAY_PREFIX,
    images_of,
    level,
    read_json,
    rewrite_slice,
    settings,
    slices_of,
    source_planes,
    write_l0,
    write_l2,
)


def test_a_masked_image_does_not_replace_the_raw_image_whose_source_is_gone(tmp_path: Path) -> None:
    """CATNIP deletes N4 at its end: the raw image may be all that is left of it."""
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    unmasked = source_planes(run / "640_N4")
    shutil.copytree(run / "640_N4", run / "640_N4_masked")
    for file in slices_of(run / "640_N4_masked"):
        rewrite_slice(file, np.full(unmasked.shape[1:], 7, np.uint16))
    for _ in range(3):  # the last time from what the one before recorded
        assert package([tmp_path / "source"], out, settings()).ok
        shutil.rmtree(run / "640_N4", ignore_errors=True)
    raw = out / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
    np.testing.assert_array_equal(level(raw), unmasked)
    (masked,) = (image for image in images_of(out) if "N4masked" in image)
    assert (level(out / masked) == 7).all()
    assert verify(out).ok


def test_the_raw_image_follows_a_source_that_was_renamed(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    (run / "640_N4").rename(run / "N4")
    assert package([tmp_path / "source"], out, settings()).ok
    assert images_of(out) == {f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"}


def test_embedded_labels_stay_when_their_sources_are_gone(tmp_path: Path) -> None:
    run, out = write_l2(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings(embed_labels=True))
    labels = out / f"sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr/labels"
    before = {path.name: level(path) for path in labels.iterdir() if path.is_dir()}
    shutil.rmtree(run / "atlaslabel_def_origspace")
    mask = before["hemispheremask"]
    rewrite_slice(slices_of(run / "hemispheremask_origspace")[2], np.zeros_like(mask[2]))
    assert package([tmp_path / "source"], out, settings(embed_labels=True)).ok
    assert before.keys() <= set(read_json(labels / "zarr.json")["attributes"]["ome"]["labels"])
    np.testing.assert_array_equal(level(labels / "atlas"), before["atlas"])
    assert verify(out).ok


def test_a_copy_whose_source_had_a_problem_goes_when_it_is_excluded(tmp_path: Path) -> None:
    """Else what a person excludes would be published."""
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    notes = run / "notes.txt"
    notes.write_text("secret")
    package([tmp_path / "source"], out, settings())
    notes.unlink()
    notes.symlink_to("nowhere")
    assert not package([tmp_path / "source"], out, settings()).ok
    assert [path.read_text() for path in out.rglob("notes.txt")] == ["secret"]
    notes.unlink()
    notes.write_text("secret")
    plan = edited(tmp_path / "source", "notes.txt", Action.EXCLUDE, "for a test")
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert not list(out.rglob("notes.txt"))


def test_a_table_of_counts_that_had_a_problem_goes_when_it_is_excluded(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    (table,) = run.rglob("*.csv")
    good = table.read_bytes()
    package([tmp_path / "source"], out, settings())
    table.write_bytes(b"nothing\n")
    assert not package([tmp_path / "source"], out, settings()).ok
    assert len(list(out.rglob("*_counts.tsv"))) == 1
    table.write_bytes(good)
    plan = edited(tmp_path / "source", table.relative_to(run).as_posix(), Action.EXCLUDE, "for a test")
    package([tmp_path / "source"], out, settings(), plan)
    assert not [*out.rglob("*_counts.tsv"), *out.rglob(table.name)]


def test_a_copy_goes_when_the_entry_is_converted_instead(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", "heatmaps_atlasspace")), tmp_path / "out"
    heatmap = next((run / "heatmaps_atlasspace").glob("*.tif"))
    entry = heatmap.relative_to(run).as_posix()
    package([tmp_path / "source"], out, settings(), edited(tmp_path / "source", entry, Action.COPY, "for a test"))
    assert list(out.rglob(heatmap.name))
    package([tmp_path / "source"], out, settings(), make_plan(scan(tmp_path / "source")))
    assert not list(out.rglob(heatmap.name))
    assert verify(out).ok


def test_copies_in_a_folder_that_is_converted_instead_stay(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    for name in ("kept.txt", "gone.txt"):
        (run / "640_FRST" / name).write_text(name)
    package([tmp_path / "source"], out, settings(), edited(tmp_path / "source", "640_FRST", Action.COPY, "for a test"))
    (run / "640_FRST/gone.txt").unlink()
    assert package([tmp_path / "source"], out, settings(), make_plan(scan(tmp_path / "source"))).ok
    (copied,) = out.glob("sourcedata/**/640_FRST")
    assert {path.name: path.read_text() for path in copied.iterdir()} == {
        name: name for name in ("kept.txt", "gone.txt")
    }
    assert verify(out).ok


def test_embedded_labels_follow_their_images_when_the_source_of_the_raw_image_is_gone(tmp_path: Path) -> None:
    run, out = write_l2(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings(embed_labels=True))
    shutil.rmtree(run / "N4_masked")
    labels = run / "hemispheremask_origspace"
    rewrite_slice(slices_of(labels)[2], np.zeros_like(source_planes(labels)[2]))
    assert package([tmp_path / "source"], out, settings(embed_labels=True)).ok
    inside = out / f"sub-46001wt/micr/{TODAY_PREFIX}_SPIM.ome.zarr/labels/hemispheremask"
    np.testing.assert_array_equal(level(inside), source_planes(labels))


def test_a_changed_table_of_counts_may_be_excluded(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source"), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    (table,) = out.rglob("*_counts.tsv")
    table.write_text(table.read_text().replace("0.", "1."))
    (counts,) = run.rglob("*.csv")
    plan = edited(tmp_path / "source", counts.relative_to(run).as_posix(), Action.EXCLUDE, "for a test")
    assert package([tmp_path / "source"], out, settings(), plan).ok
    assert not table.exists()


def test_a_better_raw_image_is_named_if_the_one_in_the_dataset_is_kept(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4",)), tmp_path / "out"
    (run / "640_N4").rename(run / "640_N4_masked")
    assert not package([tmp_path / "source"], out, settings()).warnings
    (run / "640_N4_masked").rename(run / "640_N4")
    result = package([tmp_path / "source"], out, settings())
    assert result.ok
    (warning,) = (text for text in result.warnings if "becomes a derivative" in text)
    assert warning.startswith(f"{run / '640_N4'}: ")
    assert "640_N4_masked, which is gone" in warning


def sources_of(dataset: Path) -> dict[str, list[str]]:
    """Return the ``Sources`` of all sidecars by their ``desc-`` labels; check that they exist."""
    assert not [*check_sources(read_tree(dataset)), *check_pixel_sizes(read_tree(dataset))]
    sidecars = (dataset / "derivatives/catnip").rglob("*_SPIM.json")
    return {str(entities_of(path.name).get("desc")): read_json(path).get("Sources", []) for path in sidecars}


def test_sources_name_the_raw_image_that_is_kept(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    before = sources_of(out)
    assert before == {"FRST": [f"bids:raw:sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"]}
    shutil.rmtree(run / "640_N4")
    assert package([tmp_path / "source"], out, settings()).ok
    assert sources_of(out) == before


def test_sources_of_kept_images_follow_images_of_another_format(tmp_path: Path) -> None:
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    shutil.rmtree(run / "640_FRST")
    assert package([tmp_path / "source"], out, settings(image_format=Format.OME_TIFF)).ok
    assert sources_of(out) == {"FRST": [f"bids:raw:sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.btf"]}
    (sidecar,) = out.rglob("*desc-FRST_SPIM.json")
    assert read_json(sidecar)["PixelSize"] == [3.7, 3.7, 5]
    assert "CATNIP 640_FRST" in read_json(sidecar)["Description"]


def test_a_source_that_became_shorter_does_not_replace_its_image(tmp_path: Path) -> None:
    """A copy that was cut off has no gap."""
    run, out = write_l0(tmp_path / "source", only=("640_N4", "640_FRST")), tmp_path / "out"
    package([tmp_path / "source"], out, settings())
    raw = out / f"sub-45670ko/micr/{KO_PREFIX}_SPIM.ome.zarr"
    whole = level(raw)
    for file in slices_of(run / "640_N4")[-3:]:
        file.unlink()
    (problem,) = package([tmp_path / "source"], out, settings()).problems
    n_left = len(whole) - 3
    assert problem.startswith(f"{run / '640_N4'}: has {n_left} planes and was packaged with {len(whole)}; ")
    np.testing.assert_array_equal(level(raw), whole)
    assert verify(out).ok
    assert package([tmp_path / "source"], out, settings(overwrite=True)).ok
    np.testing.assert_array_equal(level(raw), whole[:n_left])
