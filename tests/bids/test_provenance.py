"""The dataset's memory: written whole, in one order, and read back as it was."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from catnip2bids.atomic_write import partial_path
from catnip2bids.bids.provenance import (
    PROVENANCE,
    Decision,
    ImageRecord,
    Invocation,
    Provenance,
    RunRecord,
    is_ours,
    read_provenance,
)
from catnip2bids.documents import json_parts
from catnip2bids.errors import DatasetError, WriteError
from catnip2bids.locks import FOLDER_LOCK
from catnip2bids.paths import safe_path

RUN = "sub-45670ko_sample-LeftHemisphere_stain-cFos"
SECOND = "sub-45671ko_sample-LeftHemisphere_stain-cFos"
IMAGE = "sub-45670ko/micr/sub-45670ko_sample-LeftHemisphere_stain-cFos_SPIM.ome.zarr"


def decision(source: str, run: str = RUN, **more: Any) -> Decision:
    return Decision(run=run, source=source, action="exclude", reason="a mirrored copy", **more)


def provenance() -> Provenance:
    image = ImageRecord(
        source="640_N4",
        role="N4",
        shape=(211, 104, 193),
        dtype="uint16",
        voxel_size_um=(3.7, 3.7, 5.0),
        value_range=(0.0, 65535.0),
        label_values=[0, 672],
        fingerprint="ab" * 32,
        embedded={"atlas": "cd" * 32},
    )
    run = RunRecord(
        name="210810_45670_ko",
        source="KO/210810_45670_ko",
        source_id="45670-ko",
        subject="45670ko",
        sample="LeftHemisphere",
        stain="cFos",
        layout="L0",
        atlas_version="v1",
        log={"threshold": "10000"},
        images={IMAGE: image},
    )
    return Provenance(
        command="catnip2bids package Mäuse",
        versions={"catnip2bids": "0.1.0"},
        settings={"voxel_size_um": [3.7, 3.7, 5.0], "jobs": None},
        history=[Invocation(command="before", time="2026-01-01T00:00:00", versions={}, settings={})],
        runs={SECOND: run.model_copy(update={"name": "second", "subject": "45671ko", "images": {}}), RUN: run},
        decisions=[
            decision("z"),
            decision("a", evidence={"planes_compared": 211, "labels_lost": [512]}),
            decision("b", run=SECOND, problem="b: is damaged"),
        ],
    )


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    saved = provenance()
    saved.save(tmp_path)
    found = read_provenance(tmp_path)
    assert found.runs == saved.runs
    assert found.runs[RUN].images[IMAGE].shape == (211, 104, 193)
    assert sorted(map(str, found.decisions)) == sorted(map(str, saved.decisions))
    assert found.model_dump(exclude={"decisions"}) == saved.model_dump(exclude={"decisions"})


def test_what_was_saved_before_problems_were_told_apart_is_read(tmp_path: Path) -> None:
    provenance().save(tmp_path)
    document = json.loads((tmp_path / PROVENANCE).read_text(encoding="utf-8"))
    for found in document["decisions"]:
        del found["problem"]
    (tmp_path / PROVENANCE).write_text(json.dumps(document), encoding="utf-8")
    assert {found.problem for found in read_provenance(tmp_path).decisions} == {None}


def test_runs_and_decisions_have_one_order(tmp_path: Path) -> None:
    provenance().save(tmp_path)
    document = json.loads((tmp_path / PROVENANCE).read_text(encoding="utf-8"))
    assert list(document["runs"]) == [RUN, SECOND]
    assert [(d["run"], d["source"]) for d in document["decisions"]] == [(RUN, "a"), (RUN, "z"), (SECOND, "b")]
    assert set(document["decisions"][0]) >= {"source", "action", "target", "reason", "evidence"}


def test_the_order_in_which_things_were_found_makes_no_difference(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    one = provenance()
    one.save(there)
    other = one.model_copy(
        update={"runs": dict(reversed(one.runs.items())), "decisions": list(reversed(one.decisions))}
    )
    other.save(back)
    assert (there / PROVENANCE).read_bytes() == (back / PROVENANCE).read_bytes()


def test_saving_changes_nothing_in_memory(tmp_path: Path) -> None:
    saved = provenance()
    saved.save(tmp_path)
    assert saved == provenance()
    assert list(saved.runs) == [SECOND, RUN]


def test_saving_the_same_again_leaves_the_file_alone(tmp_path: Path) -> None:
    provenance().save(tmp_path)
    before = (tmp_path / PROVENANCE).stat()
    read_provenance(tmp_path).save(tmp_path)
    assert (tmp_path / PROVENANCE).stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in (tmp_path / PROVENANCE).parent.iterdir()] == ["provenance.json"]


def test_a_folder_is_ours_once_it_has_a_provenance(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert not is_ours(tmp_path)
    Provenance().save(tmp_path)
    assert is_ours(tmp_path)


def test_a_folder_in_which_we_were_stopped_at_once_is_ours(tmp_path: Path) -> None:
    partial = partial_path(safe_path(tmp_path, PROVENANCE))
    partial.parent.mkdir(parents=True)
    partial.write_text("{")
    assert is_ours(tmp_path)
    (partial.parent / "thesis.txt").write_text("years of work")
    assert not is_ours(tmp_path)


def test_a_new_dataset_has_an_empty_provenance(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) == Provenance()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"runs": 3}', '{"unknown": 1}', '{"decisions": [{"run": "a"}]}'])
def test_a_damaged_provenance_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / PROVENANCE
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"provenance\.json: is damaged"):
        read_provenance(tmp_path)


def test_a_provenance_that_is_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / PROVENANCE
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"command": "\xff\xfe"}')
    with pytest.raises(DatasetError, match=r"provenance\.json: is damaged"):
        read_provenance(tmp_path)


def test_an_action_is_one_of_three() -> None:
    with pytest.raises(ValidationError):
        Decision.model_validate({"run": RUN, "source": "a", "action": "delete", "reason": "why not"})


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"history": {}}, r"field history"),
        ({"settings": 5}, r"field settings"),
        ({"settings": {"naming": "foo"}}, r"field settings: naming 'foo' is unknown; it is one of bids, dseg"),
        ({"settings": {"naming": []}}, r"field settings: naming \[\] is unknown"),
        ({"runs": {RUN: []}}, rf"field runs\.{RUN}"),
        (
            {"decisions": [{"run": RUN, "source": "a", "action": "copy", "reason": "b", "evidence": {"files": 5}}]},
            "files",
        ),
        ({"decisions": [{"run": RUN, "source": "a", "action": "copy", "reason": "b", "evidence": []}]}, "evidence"),
    ],
)
def test_a_wrong_type_is_named_with_its_field(tmp_path: Path, document: dict[str, Any], field: str) -> None:
    path = tmp_path / PROVENANCE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"provenance\.json: is damaged \(.*{field}"):
        read_provenance(tmp_path)


MASKED = {"relation": "2-is-1-masked", "planes": [0, 440], "planes_compared": 12, "planes_emptied": [0, 40]}


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        ({"files": ["a.tif", "b.tif", "a.tif"]}, "files names 'a.tif' more than once"),
        ({"files": ["../a.tif"]}, "files names '../a.tif', which is not a file name: the dataset was tampered with"),
        ({"files": [".."]}, "files names '..', which is not a file name: the dataset was tampered with"),
        ({"relation": "identical", "files": ["a"], "planes_compared": 2}, "files names 1 file for 2 planes"),
        ({**MASKED, "files": ["a"]}, "files names 1 file for 12 planes"),
        ({**MASKED, "planes_emptied": [40, 0, 40]}, "planes_emptied names 40 more than once"),
        ({**MASKED, "planes_emptied": [441]}, "planes_emptied names 441, and planes are 0 to 440"),
        ({**MASKED, "planes_different": [40, 40]}, "planes_different names 40 more than once"),
        ({**MASKED, "planes_different": [-1]}, "planes_different names -1, and planes are 0 to 440"),
        ({"planes": [3, 1]}, "planes names 3 and 1, which are not the first and the last plane"),
        ({"planes": [1, 3], "planes_compared": 4}, "planes names 1 and 3, which are not the first and the last plane"),
        ({"layouts": ["4 x 4 uint8", "4 x 4 uint8"]}, "layouts names '4 x 4 uint8' more than once"),
    ],
)
def test_evidence_names_each_plane_once(tmp_path: Path, evidence: dict[str, Any], says: str) -> None:
    saved = provenance()
    saved.decisions[0].evidence = MASKED  # as packaging writes it
    saved.save(tmp_path)
    assert read_provenance(tmp_path).decisions[-2].evidence == MASKED
    saved.decisions[0].evidence = evidence
    saved.save(tmp_path)
    with pytest.raises(DatasetError) as refused:
        read_provenance(tmp_path)
    where = f"{tmp_path / PROVENANCE}: is damaged (field decisions.1.evidence: {says}); bring it back from a copy"
    assert str(refused.value) == where


def test_copies_lie_in_the_dataset() -> None:
    """A run may lie deep in SOURCE, and an entry of it elsewhere."""
    run = provenance().runs[RUN].model_copy(update={"source": "a/b/c/d/e/run"})
    entry = decision("outside").model_copy(update={"action": "convert"})
    with pytest.raises(DatasetError, match=r"provenance\.json: the path .* leads out of its folder"):
        Provenance(runs={RUN: run}, decisions=[entry]).copies_of(RUN)


def test_a_folder_in_which_nothing_but_a_lock_was_made_is_ours(tmp_path: Path) -> None:
    (tmp_path / FOLDER_LOCK).touch()
    (tmp_path / "code/catnip2bids").mkdir(parents=True)
    assert is_ours(tmp_path)


def test_what_could_not_be_read_again_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provenance().save(tmp_path)
    before = (tmp_path / PROVENANCE).read_bytes()
    more = provenance()
    more.decisions.append(decision("more"))
    monkeypatch.setattr("catnip2bids.bids.provenance.MOST_PARTS", json_parts(before))
    with pytest.raises(WriteError, match="too large to be read again"):
        more.save(tmp_path)
    assert (tmp_path / PROVENANCE).read_bytes() == before
    read_provenance(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"decisions": [' + ",".join(["{}"] * 2000) + "]}", "field decisions.0.run: "),
        ('{"runs": {' + ",".join(f'"{n}": {{}}' for n in range(2000)) + "}}", "field runs.0"),
        ("{" + ",".join(f'"{n}": {{}}' for n in range(2000)) + "}", "is damaged in 2,000 places"),
    ],
)
def test_errors_without_number_are_not_listed(tmp_path: Path, text: str, says: str) -> None:
    """The list of a million took gigabytes."""
    (tmp_path / PROVENANCE).parent.mkdir(parents=True)
    (tmp_path / PROVENANCE).write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_provenance(tmp_path)


def test_decisions_of_many_runs_are_found_in_little_time() -> None:
    n = 3000
    runs = {
        f"sub-{number}_sample-W_stain-c": RunRecord(
            name="r", source=f"r{number}", source_id=None, subject=str(number), sample="W", stain="c", layout="x"
        )
        for number in range(n)
    }
    decisions = [Decision(run=key, source=f"{run.source}/f", action="exclude", reason="") for key, run in runs.items()]
    large = Provenance(runs=runs, decisions=decisions)
    start = time.process_time()
    assert all(list(large.decisions_of(key)) == ["f"] for key in runs)
    assert time.process_time() - start < 3
    assert large == Provenance(runs=runs, decisions=decisions)
    large.decisions = decisions[1:]
    assert large.decisions_of("sub-0_sample-W_stain-c") == {}


def test_embedded_images_are_those_of_which_the_originals_are_known() -> None:
    image = ImageRecord(
        source="i",
        role="raw",
        shape=(1, 1, 1),
        dtype="uint8",
        voxel_size_um=(1, 1, 1),
        value_range=(0, 0),
        fingerprint="x",
        embedded={"atlas": "y", "other": "z"},
    )
    run = RunRecord(
        name="r",
        source="r",
        source_id=None,
        subject="1",
        sample="W",
        stain="c",
        layout="x",
        images={"raw.ome.zarr": image, "atlas.ome.zarr": image.model_copy(update={"fingerprint": "y", "embedded": {}})},
    )
    assert run.embedded_images() == ["raw.ome.zarr/labels/atlas"]
