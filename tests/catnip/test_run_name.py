"""Run names: the grammar, what parents may add, and what must yield nothing."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.catnip.run_name import RunName, parse_run_name, sample_label

FULL = "210810_45670_ko_female_LH_14-48-50_decon_2021-10-28_12-39-11"
PARENT = "_45925_LH_flox_20211029"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        *((text, "LeftHemisphere") for text in ("LH", "lh", "L", "left", "Left-Hemisphere", "left_hemi", "LEFT BRAIN")),
        *((text, "RightHemisphere") for text in ("RH", "r", "right", "righthemisphere", "RightHemisphere")),
        *((text, "WholeBrain") for text in ("WB", "whole", "whole_brain", "WholeBrain", "both")),
        *((text, text) for text in ("B", "slab1", "LH2", "brain", "leftkidney", "", "ü")),
    ],
)
def test_labels_of_samples(text: str, label: str) -> None:
    assert sample_label(text) == label


def test_complete_name() -> None:
    run = parse_run_name(FULL)
    assert run == RunName(
        date=dt.date(2021, 8, 10),
        animal_id="45670",
        genotype="ko",
        sex="F",
        hemisphere="L",
        time=dt.time(14, 48, 50),
    )
    assert run.acquired == dt.datetime(2021, 8, 10, 14, 48, 50)
    assert run.source_id == "45670_ko"
    assert run.subject_label == "45670ko"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("45670_ko_female_LH_2026-05-02_09-12-33", RunName(None, "45670", "ko", "F", "L")),
        ("45670-ko_M_RH", RunName(None, "45670-ko", None, "M", "R")),
        ("20210810_45670_wt_Male_WB", RunName(dt.date(2021, 8, 10), "45670", "wt", "M", "B")),
        ("210810_45670_LH_RH", RunName(dt.date(2021, 8, 10), "45670", None, None, None)),
        ("210810_45670_LH", RunName(dt.date(2021, 8, 10), "45670", None, None, "L")),
        ("45670_decon_2021-10-28_12-39-11", RunName(None, "45670")),
        ("mouseA_ko_f_left", RunName(None, "mouseA", "ko", "F", "L")),
        ("45670_Ai14_het_LH", RunName(None, "45670", "Ai14_het", None, "L")),
        ("45670_f_f_female_LH", RunName(None, "45670", "f_f", "F", "L")),
        ("45670_ko_right_hemisphere", RunName(None, "45670", "ko", None, "R")),
        ("45670_whole_brain", RunName(None, "45670", None, None, "B")),
        ("45670_ko_LH_640_2026-05-02_09-12-33", RunName(None, "45670", "ko", None, "L")),
        ("210810_640_LH", RunName(dt.date(2021, 8, 10), "640", None, None, "L")),
        ("210810_ko_female_LH", RunName(None, "210810", "ko", "F", "L")),
        ("211340_45670_ko_LH", RunName(None, "211340", "45670_ko", None, "L")),
        ("45670_ko_LH_25-00-00", RunName(None, "45670", "ko", None, "L")),
    ],
)
def test_parts_may_be_missing(name: str, expected: RunName) -> None:
    assert parse_run_name(name) == expected


@pytest.mark.parametrize(
    "name",
    ["", "_", "run1", "data", "640", "640_2026-05-02_09-12-33", "640_N4_2026-05-02_09-12-33", "some_folder"],
)
def test_names_without_structure_yield_nothing(name: str) -> None:
    assert parse_run_name(name) == RunName()


def test_a_channel_is_no_animal() -> None:
    assert parse_run_name("640_LH_2026-05-02_09-12-33") == RunName(hemisphere="L")


@pytest.mark.parametrize(
    ("name", "source_id"),
    [
        ("640_45670_ko_LH_2026-05-02_09-12-33", "45670_ko"),
        ("561_45670-ko_LH_2026-05-02_09-12-33", "45670-ko"),
        ("640_LH_45670_ko_2026-05-02_09-12-33", "45670_ko"),
        ("640_210810_45670_ko_LH", "45670_ko"),
        ("210810_640_45670_ko_LH", "45670_ko"),
        ("210810_123_5xFAD_f_LH", "123_5xFAD"),
        ("101_ko_LH", "101_ko"),
        ("640_12_ko_LH_2026-05-02_09-12-33", None),
        ("210810_640_12_ko_LH", None),
        ("640_M12_ko_LH_2026-05-02_09-12-33", None),
        ("640_AB1234_ko_LH", None),
    ],
)
def test_a_channel_before_an_id_is_no_part_of_it(name: str, source_id: str | None) -> None:
    assert parse_run_name(name).source_id == source_id


def test_the_id_of_a_parent_decides_where_a_channel_could_be_an_id() -> None:
    assert parse_run_name("640_12_LH_2026-05-02_09-12-33", [PARENT]).animal_id == "45925"


@pytest.mark.parametrize(
    "name",
    [
        *(f"210810_45670_ko_LH_14-48-50{ending}" for ending in (" (1)", "(2)", "_copy", " copy 2", " - Copy (2)")),
        *(
            f"210810_45670_ko_LH{ending}"
            for ending in (" - Kopie", "_Kopie", " (Kopie)", " (another copy)", " copy copy")
        ),
        "210810_45670_ko_LH_2026-05-02_09-12-33 (1)",
        "Copy of 210810_45670_ko_LH",
    ],
)
def test_marks_of_copies_are_no_part_of_a_name(name: str) -> None:
    run = parse_run_name(name)
    assert (run.source_id, run.hemisphere, run.date) == ("45670_ko", "L", dt.date(2021, 8, 10))


def test_other_endings_stay() -> None:
    assert parse_run_name("45670_ko_LH_old").genotype == "ko_old"
    assert parse_run_name("45670_ko_LH_photocopy").genotype == "ko_photocopy"


@pytest.mark.parametrize(
    ("date", "ending", "read"),
    [
        ("081021", "_decon_2021-10-28_12-39-11", dt.date(2008, 10, 21)),
        ("120810", "_2021-10-28_12-39-11", dt.date(2012, 8, 10)),
        ("311210", "_decon_2021-10-28_12-39-11", dt.date(2031, 12, 10)),
        ("211110", "_14-48-50_decon_2021-10-28_12-39-11", dt.date(2021, 11, 10)),
        ("211110", "_2021-10-28_12-39-11", dt.date(2021, 11, 10)),
        ("20991231", "", dt.date(2099, 12, 31)),
        ("260503", "_2026-05-02_09-12-33 (1)", dt.date(2026, 5, 3)),
    ],
)
def test_impossible_dates_are_not_used(date: str, ending: str, read: dt.date) -> None:
    run = parse_run_name(f"{date}_45670_ko_LH{ending}")
    assert (run.date, run.acquired) == (None, None)
    (doubt,) = run.doubts
    assert str(read) in doubt
    assert (run.animal_id, run.genotype, run.hemisphere) == ("45670", "ko", "L")


def test_a_date_of_a_parent_is_compared_with_the_analysis_too() -> None:
    run = parse_run_name("640_2021-05-02_09-12-33", ["210810_45670_ko_LH"])
    assert (run.animal_id, run.date) == ("45670", None)
    assert "2021-08-10" in " ".join(run.doubts)


@pytest.mark.parametrize("year", ["0000", "1999", "2021"])
def test_a_date_without_a_possible_analysis_is_used(year: str) -> None:
    date = parse_run_name(f"210810_45670_ko_LH_{year}-99-99_12-39-11").date
    assert date == dt.date(2021, 8, 10)


@pytest.mark.parametrize(
    ("name", "sex", "animal_id"),
    [
        ("210810_M_12_wt_RH", None, "12"),
        ("210810_F_45670_ko_LH", None, "45670"),
        ("640_f_45670_ko_LH_2026-05-02_09-12-33", None, "45670"),
        ("45670_M_2_LH", None, "45670"),
        ("210810_female_12_wt_RH", "F", "12"),
        ("210810_45670_ko_F_640_LH", "F", "45670"),
        ("210810_45670_ko_f_LH_14-48-50", "F", "45670"),
    ],
)
def test_a_letter_before_an_id_or_a_number_is_no_sex(name: str, sex: str | None, animal_id: str) -> None:
    run = parse_run_name(name)
    assert (run.sex, run.animal_id) == (sex, animal_id)
    assert len(run.doubts) == (sex is None)


@pytest.mark.parametrize("parent", ["pytest-of-root", "test_package0", "tmp1234", "data", "20211029_LH", "LH"])
def test_unrelated_parents_yield_nothing(parent: str) -> None:
    assert parse_run_name("640_2026-05-02_09-12-33", [parent]) == RunName()


def test_parent_names_the_animal_of_todays_run() -> None:
    run = parse_run_name("640_2026-05-02_09-12-33", [PARENT, "FLOX"])
    assert run == RunName(animal_id="45925", genotype="flox", hemisphere="L")


def test_own_parts_win_over_the_parents() -> None:
    run = parse_run_name("210816_45925_floxed_female_LH_16-09-53_decon_2021-10-29_16-57-17", [PARENT, "KO"])
    assert run.genotype == "floxed"
    assert run.date == dt.date(2021, 8, 16)


def test_parent_of_another_animal_is_ignored() -> None:
    assert parse_run_name("45670_female", [PARENT]) == RunName(animal_id="45670", sex="F")


def test_genotype_folder_needs_a_known_animal() -> None:
    assert parse_run_name("45670_female_LH", ["KO"]).subject_label == "45670KO"
    for name in ("45670-ko", "45670ko", "45670-KO"):  # the id has it already
        assert parse_run_name(f"210810_{name}_female_LH", ["KO"]).animal_id == name
        assert parse_run_name(f"210810_{name}_female_LH", ["KO"]).genotype is None
    assert parse_run_name("640_2026-05-02_09-12-33", ["KO"]) == RunName()


def test_date_is_not_taken_for_the_animal_that_a_parent_names() -> None:
    run = parse_run_name("210816_female_LH_16-09-53", [PARENT])
    assert (run.date, run.animal_id) == (dt.date(2021, 8, 16), "45925")
    same = parse_run_name("210816_female", ["_210816x_LH", "210816_ko_RH"])
    assert same.animal_id == "210816x"


def test_acquired_needs_date_and_time() -> None:
    assert RunName(date=dt.date(2021, 8, 10)).acquired is None
    assert RunName(time=dt.time(1, 2, 3)).acquired is None
    assert RunName().subject_label is None


IDS = st.from_regex(r"[A-Z]{0,2}[0-9]{4,5}(-[a-z]{2})?", fullmatch=True)
GENOTYPES = st.sampled_from(["ko", "WT", "flox", "Ai14", "ko_het", "cre-pos"])
SEXES = st.sampled_from([("female", "F"), ("Male", "M"), ("m", "M"), ("F", "F")])
SIDES = st.sampled_from([("LH", "L"), ("rh", "R"), ("WB", "B"), ("left", "L")])
TIMES = st.times().map(lambda time: time.replace(microsecond=0))
DATED_ENDINGS = st.one_of(
    [
        st.tuples(st.none() | st.dates(earliest, latest), st.just(ending))
        for ending, earliest, latest in (
            ("", dt.date(2000, 1, 1), dt.date(2026, 1, 1)),
            ("_decon_2021-10-28_12-39-11", dt.date(2016, 1, 1), dt.date(2021, 10, 28)),
            ("_2025-05-02_09-12-33", dt.date(2020, 1, 1), dt.date(2025, 5, 2)),
        )
    ]
)


@given(
    dated_ending=DATED_ENDINGS,
    date_format=st.sampled_from(["%y%m%d", "%Y%m%d"]),
    animal_id=IDS,
    genotype=st.none() | GENOTYPES,
    sex=st.none() | SEXES,
    side=SIDES,
    time=st.none() | TIMES,
)
def test_names_composed_from_parts_are_read_back(
    dated_ending: tuple[dt.date | None, str],
    date_format: str,
    animal_id: str,
    genotype: str | None,
    sex: tuple[str, str] | None,
    side: tuple[str, str],
    time: dt.time | None,
) -> None:
    date, ending = dated_ending
    parts = [
        date and date.strftime(date_format),
        animal_id,
        genotype,
        sex and sex[0],
        side[0],
        time and time.strftime("%H-%M-%S"),
    ]
    run = parse_run_name("_".join(part for part in parts if part) + ending)
    assert (run.date, run.animal_id, run.genotype) == (date, animal_id, genotype)
    assert (run.sex, run.hemisphere, run.time) == (sex and sex[1], side[1], time)


WORDS = st.lists(
    st.text(max_size=8) | st.sampled_from(["LH", "m", "decon", "210810", "20211029", "12-39-11", "2021-10-28", "640"])
).map("_".join)


@given(name=WORDS, parents=st.lists(WORDS, max_size=3))
def test_any_text_is_read(name: str, parents: list[str]) -> None:
    run = parse_run_name(name, parents)
    label = run.subject_label
    assert label is None or (label.isascii() and label.isalnum())
    assert run.animal_id is not None or label is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_id_is_the_same_however_its_accents_are_encoded(form: Literal["NFC", "NFD"]) -> None:
    run = parse_run_name(normalize(form, "Zo\u00e91_ko_LH"))
    assert run.animal_id == "Zo\u00e91"
    assert run.subject_label == "Zoe1ko"
