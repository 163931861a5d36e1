"""Tables that grow: nothing that is there is lost, whatever is merged, however often, in whatever order."""

from __future__ import annotations

import csv
import io
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.bids.tables import UNKNOWN, Row, Table, read_table, remove_rows
from catnip2bids.delimited import has_no_value
from catnip2bids.errors import DatasetError

KEY = ("participant_id", "sample_id")
COLUMNS = (*KEY, "sex", "age", "strain")

# what may stand in a cell: anything that TSV can hold
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff"), min_size=1, max_size=6)
KNOWN = TEXTS.filter(lambda text: text != UNKNOWN)


def consistent_rows() -> st.SearchStrategy[list[Row]]:
    """Rows about the same things that never contradict each other, each knowing a part."""

    def row(subject: int, sample: int, knows: list[bool]) -> Row:
        identity = {"participant_id": f"sub-{subject}", "sample_id": f"sample-{sample}"}
        facts = {column: f"{column} of {subject} {sample}" for column in COLUMNS[2:]}
        return identity | {c: fact if known else UNKNOWN for (c, fact), known in zip(facts.items(), knows, strict=True)}

    numbers = st.integers(1, 12)
    return st.lists(st.builds(row, numbers, st.integers(1, 2), st.lists(st.booleans(), min_size=3, max_size=3)))


ANY_ROWS: st.SearchStrategy[list[Row]] = st.lists(
    st.fixed_dictionaries(
        {"participant_id": st.sampled_from(["sub-1", "sub-2", "sub-10"]), "sample_id": st.just("sample-L")},
        optional={"sex": TEXTS, "age": TEXTS, "weight": TEXTS},
    ),
    max_size=5,
)
KEEP = st.booleans()


@given(consistent_rows(), KEEP, st.data())
def test_the_order_of_merging_makes_no_difference(rows: list[Row], keep_known: bool, data: st.DataObject) -> None:
    empty = Table(COLUMNS)
    expected = empty.merged(rows, KEY, keep_known=keep_known).to_tsv()
    shuffled = data.draw(st.permutations(rows))
    assert empty.merged(shuffled, KEY, keep_known=keep_known).to_tsv() == expected
    one_by_one = empty
    for row in shuffled:
        one_by_one = one_by_one.merged([row], KEY, keep_known=keep_known)
    assert one_by_one.to_tsv() == expected


@given(ANY_ROWS, ANY_ROWS, KEEP)
def test_merging_the_same_again_changes_nothing(there: list[Row], rows: list[Row], keep_known: bool) -> None:
    once = Table(COLUMNS).merged(there, KEY).merged(rows, KEY, keep_known=keep_known)
    assert once.merged(rows, KEY, keep_known=True).to_tsv() == once.to_tsv()
    assert once.merged([], KEY).to_tsv() == once.to_tsv()
    assert once.merged(once.rows, KEY, keep_known=keep_known).to_tsv() == once.to_tsv()


@given(ANY_ROWS, ANY_ROWS, KEEP)
def test_nothing_that_is_there_is_lost(there: list[Row], rows: list[Row], keep_known: bool) -> None:
    before = Table(COLUMNS).merged(there, KEY)
    after = before.merged(rows, KEY, keep_known=keep_known)
    assert after.columns[: len(before.columns)] == before.columns
    found = {row["participant_id"]: row for row in after.rows}
    assert len(found) == len(after.rows)
    new = {(row["participant_id"], column) for row in rows for column in row}
    for row in before.rows:
        for column, value in row.items():
            if not has_no_value(value) and (keep_known or (row["participant_id"], column) not in new):
                assert found[row["participant_id"]][column] == value


@given(ANY_ROWS, KEEP)
def test_unknown_values_change_nothing(there: list[Row], keep_known: bool) -> None:
    table = Table(COLUMNS).merged(there, KEY)
    unknown = [{column: value if column in KEY else UNKNOWN for column, value in row.items()} for row in table.rows]
    assert table.merged(unknown, KEY, keep_known=keep_known).to_tsv() == table.to_tsv()


@pytest.mark.parametrize("unknown", ["", "n/a", "NA", "nan", "None", "unknown"])
@pytest.mark.parametrize("keep_known", [False, True])
def test_what_is_unknown_replaces_nothing_and_resists_nothing(unknown: str, keep_known: bool) -> None:
    known, other = {"participant_id": "sub-1", "sex": "F"}, {"participant_id": "sub-1", "sex": unknown}
    for first, second in ((known, other), (other, known)):
        table = Table(("participant_id", "sex"), (first,))
        (row,) = table.merged([second], ["participant_id"], keep_known=keep_known).rows
        assert row["sex"] == "F"


@pytest.mark.parametrize("separator", [";", ","])
def test_other_separators_are_named(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "participants.tsv"
    path.write_text(separator.join(["participant_id", "sex"]) + "\n" + separator.join(["sub-1", "F"]) + "\n")
    with pytest.raises(DatasetError, match=f"is separated by '{separator}'; save it as tab-separated text"):
        read_table(path, ("participant_id",))


@pytest.mark.parametrize("header", ["weights (mg, dry)", "weight, in mg", "index"])
def test_one_column_has_no_separator(tmp_path: Path, header: str) -> None:
    path = tmp_path / "weights.tsv"
    path.write_text(f"{header}\n1\n")
    assert read_table(path).rows == ({header: "1"},)


def test_an_empty_cell_is_unknown_too() -> None:
    table = Table(("participant_id", "sex"), ({"participant_id": "sub-1", "sex": "male"},))
    merged = table.merged([{"participant_id": "sub-1", "sex": ""}], ["participant_id"])
    assert merged.to_tsv() == "participant_id\tsex\nsub-1\tmale\n"


def test_what_is_known_wins_only_where_it_is_asked_to() -> None:
    table = Table(("participant_id", "sex", "age"), ({"participant_id": "sub-1", "sex": "male"},))
    rows = [{"participant_id": "sub-1", "sex": "female", "age": "P56"}]
    assert table.merged(rows, ["participant_id"]).rows[0]["sex"] == "female"
    kept = table.merged(rows, ["participant_id"], keep_known=True)
    assert kept.rows[0] == {"participant_id": "sub-1", "sex": "male", "age": "P56"}


def test_rows_are_sorted_by_their_key() -> None:
    table = Table(("participant_id",)).merged([{"participant_id": f"sub-{n}"} for n in "312"], ["participant_id"])
    assert table.to_tsv() == "participant_id\nsub-1\nsub-2\nsub-3\n"


def test_new_columns_are_added_behind_and_filled() -> None:
    table = Table(("participant_id",), ({"participant_id": "sub-1"},))
    merged = table.merged([{"participant_id": "sub-2", "weight": "20"}], ["participant_id"])
    assert merged.to_tsv() == "participant_id\tweight\nsub-1\tn/a\nsub-2\t20\n"


def test_merging_leaves_the_table_as_it_was() -> None:
    row = {"participant_id": "sub-1", "sex": UNKNOWN}
    table = Table(("participant_id", "sex"), (row,))
    table.merged([{"participant_id": "sub-1", "sex": "male"}], ["participant_id"])
    assert table == Table(("participant_id", "sex"), ({"participant_id": "sub-1", "sex": UNKNOWN},))


@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=4))
def test_a_table_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]) -> None:
    columns = ("name", "abbreviation", 'with "quotes"')
    table = Table(columns, tuple(dict(zip(columns, row, strict=True)) for row in cells))
    path = tmp_path_factory.getbasetemp() / "table.tsv"
    path.write_bytes(table.to_tsv().encode())
    assert read_table(path) == table


@pytest.mark.parametrize("text", ['"x" nucleus', 'A "x"', '"', '""', '"a', 'a"b"', '"a"'])
def test_quotes_are_read_back_as_other_programs_read_them(tmp_path: Path, text: str) -> None:
    table, path = Table(("id", "name"), ({"id": "1", "name": text},)), tmp_path / "table.tsv"
    path.write_bytes(table.to_tsv().encode())
    assert list(csv.reader(io.StringIO(table.to_tsv()), delimiter="\t")) == [["id", "name"], ["1", text]]
    assert read_table(path) == table


@pytest.mark.parametrize("text", ['Field CA1, "layer 1"', "it's", "a\\b", "a  b", " a", "#", "a\u2028b", "a\x85b"])
def test_odd_characters_stay_as_they_are(tmp_path: Path, text: str) -> None:
    table, path = Table(("id", "name"), ({"id": "1", "name": text},)), tmp_path / "table.tsv"
    assert table.to_tsv() == f"id\tname\n1\t{text}\n"
    path.write_bytes(table.to_tsv().encode())
    assert read_table(path) == table


def test_a_table_that_excel_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    path.write_bytes("\ufeffparticipant_id\tsex\r\nsub-1\tmale\r\n\r\n".encode())
    assert read_table(path, ["participant_id", "age"]) == Table(
        ("participant_id", "sex", "age"), ({"participant_id": "sub-1", "sex": "male"},)
    )


def test_rows_without_a_value_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text("a\tb\n\t\n1\t2\n\t\n\t\n")
    assert read_table(tmp_path / "table.tsv").rows == ({"a": "1", "b": "2"},)


def test_a_quote_that_is_not_closed_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text('a\tb\n1\t2\n3\t"4\n5\t6\n')
    with pytest.raises(DatasetError, match=r"table\.tsv: line 3"):
        read_table(tmp_path / "table.tsv")


def test_a_table_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_table(tmp_path / "gone.tsv", ["a", "b"]) == Table(("a", "b"))


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file_is_an_empty_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty.tsv").write_text(text)
    assert read_table(tmp_path / "empty.tsv", ["a"]) == Table(("a",))


@pytest.mark.parametrize("text", ["a\tb\n1\n", "a\tb\n1\t2\t3\n"])
def test_a_row_of_another_length_is_an_error_that_names_the_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.tsv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"table\.tsv: line 2 has"):
        read_table(path)


def test_the_line_of_an_error_counts_empty_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\n1\t2\n\n\n3\n")
    with pytest.raises(DatasetError, match="line 5 has 1 cells"):
        read_table(path)


def test_a_table_in_another_encoding_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes("a\nMäuse\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"table\.tsv"):
        read_table(path)


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\r\nb", "a\rb"])
def test_what_a_cell_cannot_hold_never_breaks_the_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes(Table(("id", "name"), ({"id": "1", "name": text},)).to_tsv().encode())
    (row,) = read_table(path).rows
    assert row == {"id": "1", "name": "a b"}


def test_only_the_named_rows_are_removed(tmp_path: Path) -> None:
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tage\nsub-1\t3\nsub-2\t4\n", encoding="utf-8")
    remove_rows(tmp_path, PurePosixPath(table.name), "participant_id", {"sub-1"})
    assert table.read_text(encoding="utf-8") == "participant_id\tage\nsub-2\t4\n"
    before = table.stat()
    remove_rows(tmp_path, PurePosixPath(table.name), "participant_id", {"sub-1"})
    assert (table.stat().st_ino, table.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
