"""What tables of animals say, what BIDS rejects in them, and who is believed where sources contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids import Settings, make_plan, package, scan
from catnip2bids.bids.tables import Row
from catnip2bids.errors import PlanError, SourceError
from catnip2bids.packaging.package_runs import preflight_with_resources
from catnip2bids.packaging.participants import bids_value, read_participants
from catnip2bids.plan import Plan
from catnip2bids.progress import Progress
from runs import FLOX, KO_NAME, RAW, read_tsv, settings, state_of, write_l0

MALE_NAME = "210811_45670_ko_male_RH_15-48-50_decon_2021-10-28_12-39-11"
ROWS = ({"participant_id": "sub-45670ko", "age": "12", "sex": "M", "weight_g": "25.5"},)
TEXT = "participant_id\tage\tsex\tweight_g\n45670-ko\t12\tM\t25.5\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "animals.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path: Path) -> tuple[Row, ...]:
    return read_participants(path).table.rows


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.replace("\n", "\r"),
        TEXT.replace("\n", "\r\n") + "\t\t\t\r\n\t\t\t\r\n",
        TEXT.replace("\t", ","),
        TEXT.replace("\t", ";"),
        TEXT.replace("\t", " \t "),
        TEXT.replace("45670-ko", "sub-45670ko"),
        TEXT.replace("45670-ko", "SUB-45670_ko"),
        TEXT.replace("age", "Age").replace("sex", "SEX").replace("participant_id", "Participant ID"),
        TEXT.replace("\tM\t", "\tmale\t"),
        TEXT.replace("\tM\t", '\t"m"\t'),
        TEXT + TEXT.splitlines()[1] + "\n",
        TEXT.encode("utf-16"),
    ],
)
def test_one_table_in_many_notations(tmp_path: Path, content: str | bytes) -> None:
    assert rows_of(written(tmp_path, content)) == ROWS


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("id\tsex\n1\tF\n", "line 1: "),
        ("participant_id\tage\n45670-ko\t12 weeks\n", "line 2, column age: "),
        ("participant_id\tAge\n45670-ko\t25,5\n", "line 2, column Age: "),
        ("participant_id\tage\n\n45670-ko\tP12W\n", "line 3, column age: "),
        ("participant_id\tage\n45670-ko\t-3\n", "line 2, column age: "),
        ("participant_id\tage\n45670-ko\tinf\n", "line 2, column age: "),
        ("participant_id\tsex\n1\tF\n45670-ko\tweiblich\n", "line 3, column sex: "),
        ("participant_id\tsex\n45670-ko\tU\n", "line 2, column sex: "),
        ("participant_id\thandedness\n45670-ko\tboth\n", "line 2, column handedness: "),
        ("participant_id\tstrain_rrid\n45670-ko\tRRID:MGI:2159965\n", "line 2, column strain_rrid: "),
        ("participant_id\tsex\n\tF\n", "line 2, column participant_id: "),
        ("participant_id\tsex\nn/a\tF\n", "line 2, column participant_id: "),
        ("participant_id\tsex\n45670.0\tF\n", "line 2, column participant_id: "),
        ("participant_id\tsex\n4.567E+04\tF\n", "line 2, column participant_id: "),
        ("participant_id\tsex\n45670-ko\tF\n1\tF\n45670-ko\tM\n", "line 4, column sex: "),
        ("participant_id\tsex\n45670-ko\tF\n45670_ko\tF\n", "line 3, column participant_id: "),
    ],
)
def test_what_cannot_be_used_is_named_with_line_and_column(tmp_path: Path, content: str, place: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(SourceError) as caught:
        rows_of(path)
    assert str(caught.value).startswith(f"{path}, {place}")


@pytest.mark.parametrize("unknown", ["", "NA", "NaN", "nan", "n/a", "None", "none", "unknown"])
def test_what_is_unknown(unknown: str) -> None:
    assert {bids_value(column, unknown) for column in ("sex", "age", "strain", "genotype", "species")} == {"n/a"}
    is_word = unknown.lower() in ("none", "unknown")  # may mean that an animal had no treatment
    assert bids_value("treatment", unknown) == (unknown if is_word else "n/a")


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("sex", "Female", "F"),
        ("sex", "FEMALE", "F"),
        ("sex", "o", "O"),
        ("age", "12.5", "12.5"),
        ("strain_rrid", "RRID:IMSR_JAX:000664", "RRID:IMSR_JAX:000664"),
        ("note", 'ate, "a lot"', 'ate, "a lot"'),
    ],
)
def test_values_keep_their_meaning(column: str, text: str, value: str) -> None:
    assert bids_value(column, text) == value


def test_a_negative_age_is_called_that() -> None:
    with pytest.raises(ValueError, match="'-12' is negative"):
        bids_value("age", "-12")


# ---- sources that contradict each other


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one animal, whose names do not agree on its sex."""
    folder = tmp_path_factory.mktemp("participants") / "cohort"
    for seed, name in enumerate((KO_NAME, MALE_NAME)):
        write_l0(folder, name, only=RAW, seed=seed)
    return folder


def warnings_of(source: Path, dataset: Path, plan: Plan | None = None, **choices: object) -> list[str]:
    with preflight_with_resources(source, dataset, settings(**choices), plan, Progress()) as prepared:
        return [warning for warning in prepared.warnings if "sub-45670ko" in warning]


def test_two_runs_of_one_animal_that_do_not_agree(cohort: Path, tmp_path: Path) -> None:
    (warning,) = warnings_of(cohort, tmp_path / "out")
    assert f"F by run {KO_NAME}" in warning
    assert f"M by run {MALE_NAME}" in warning
    assert warning.endswith("participants.tsv says F")


def test_a_table_against_animals_whose_runs_are_not_given(cohort: Path, tmp_path: Path) -> None:
    write_l0(tmp_path / "other", FLOX, only=RAW)
    package(cohort / KO_NAME, tmp_path / "out", settings())
    (tmp_path / "animals.tsv").write_text("participant_id\tsex\n45670ko\tM\n")
    choices = settings(participants=tmp_path / "animals.tsv")
    (warning,) = warnings_of(tmp_path / "other", tmp_path / "out", participants=tmp_path / "animals.tsv")
    assert "F by participants.tsv of the dataset" in warning
    assert warning.endswith("participants.tsv says M")
    package(tmp_path / "other", tmp_path / "out", choices)
    assert {row["participant_id"]: row["sex"] for row in read_tsv(tmp_path / "out/participants.tsv")} == {
        "sub-45670ko": "M",
        "sub-45925floxed": "M",
    }
    assert not warnings_of(tmp_path / "other", tmp_path / "out", participants=choices.participants)


@pytest.mark.slow
def test_two_runs_that_come_one_by_one(cohort: Path, tmp_path: Path) -> None:
    package(cohort / KO_NAME, tmp_path / "out", settings())
    (warning,) = warnings_of(cohort / MALE_NAME, tmp_path / "out")
    assert "F by participants.tsv of the dataset" in warning
    assert package(cohort / MALE_NAME, tmp_path / "out", settings()).warnings == (warning,)
    assert [row["sex"] for row in read_tsv(tmp_path / "out/participants.tsv")] == ["F"]


@pytest.mark.parametrize(
    ("column", "value", "n_warnings"),
    [
        ("sex", "M", 1),
        ("sex", "female", 0),
        ("sex", "NA", 0),
        ("genotype", "wt", 1),
        ("genotype", "KO", 0),
        ("genotype", "none", 0),
        ("species", "rattus norvegicus", 1),
    ],
)
def test_a_table_against_the_name_of_the_run(
    cohort: Path, tmp_path: Path, column: str, value: str, n_warnings: int
) -> None:
    table = written(tmp_path, f"participant_id\t{column}\n45670-ko\t{value}\n")
    warnings = warnings_of(cohort / KO_NAME, tmp_path / "out", participants=table)
    assert len(warnings) == n_warnings
    for warning in warnings:
        assert f"{value} by {table}, line 2" in warning
        assert warning.endswith(f"participants.tsv says {value}")


def test_a_plan_comes_before_the_dataset_and_a_table_before_both(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    package(cohort / KO_NAME, out, settings())
    plan = make_plan(scan(cohort / KO_NAME))
    plan.runs[0].participant.sex = "male"
    (warning,) = warnings_of(cohort / KO_NAME, out, plan)
    assert warning.endswith("participants.tsv says M")
    table = written(tmp_path, "participant_id\tsex\n45670-ko\tO\n")
    (warning,) = warnings_of(cohort / KO_NAME, out, plan, participants=table)
    assert warning.endswith("participants.tsv says O")
    plan.runs[0].participant.sex = "weiblich"
    with pytest.raises(PlanError, match=f"{KO_NAME}.*weiblich"):
        warnings_of(cohort / KO_NAME, out, plan)


def test_unknown_values_of_a_table_replace_nothing(cohort: Path, tmp_path: Path) -> None:
    table = written(tmp_path, "participant_id\tsex\tage\tgenotype\n45670-ko\tNA\tnan\tunknown\n")
    package(cohort / KO_NAME, tmp_path / "out", settings(participants=table))
    (row,) = read_tsv(tmp_path / "out/participants.tsv")
    assert (row["sex"], row["age"], row["genotype"]) == ("F", "n/a", "ko")


def test_a_refused_table_changes_nothing(cohort: Path, tmp_path: Path) -> None:
    table = written(tmp_path, "participant_id\tage\n45670-ko\t12 weeks\n")
    before = state_of(tmp_path)
    with pytest.raises(SourceError, match=r"animals\.tsv, line 2, column age"):
        package(cohort, tmp_path / "out", Settings(voxel_size_um=(1, 1, 1), participants=table))
    assert state_of(tmp_path) == before


def test_an_id_that_is_almost_there_is_named(cohort: Path, tmp_path: Path) -> None:
    table = written(tmp_path, "participant_id\tage\n045670-KO\t12\n1\t12\n")
    with preflight_with_resources(
        cohort / KO_NAME, tmp_path / "out", settings(participants=table), None, Progress()
    ) as prepared:
        almost, other = (warning for warning in prepared.warnings if str(table) in warning)
    assert almost.endswith("is it sub-45670ko?")
    assert "line 3: sub-1 is not in the dataset" in other
