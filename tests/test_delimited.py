"""Tables as spreadsheets, pandas and R write them: whatever the notation, the same values; in doubt, none."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catnip2bids.catnip.counts import RegionCount, read_counts
from catnip2bids.delimited import TableKind, exact_integer, has_no_value, read_lines, read_text
from catnip2bids.errors import SourceError

KIND = TableKind("a table of things", {"id": ("id",)}, ("id",), "give another one")
HEADER = ("Label_ID", "Name", "Acronym", "Cell_Count", "Label_Volume(Pixels)")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("+12", 12),
        ("-1", -1),
        ("012", 12),
        ("12.", 12),
        ("12.0", 12),
        ("-1.0", -1),
        ("1200.000", 1200),
        ("0.000", 0),
        ("12.0000", 12),
        ("1.2E+06", 1_200_000),
        ("-1e0", -1),
        ("1.0E6", 1_000_000),
        ("1e5", 100_000),
        ("1.204567E+06", 1_204_567),
        ("12,0", 12),
        ("-1,00", -1),
        ("9.0071992547409931E+16", 90071992547409931),
        ("1200E-2", 12),
        ("0.00E+00", 0),
        ("1.20E+01", 12),
    ],
)
def test_exact_integers(text: str, value: int) -> None:
    assert exact_integer(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "1.5",
            "1,5",
            "12,000",
            "1.2.0",
            "1 200",
            "1'200",
            "1,200",
            "1.200",
            "1.000",
            "-12.000",
            "1.200.000",
        ),
        *(
            "1E-1",
            "1.23457E+08",
            "1.2346E+08",
            "1.20E+06",
            "2.59E+05",
            "1e99",
            "1E+18",
            "inf",
            "NaN",
            "0x10",
            "1_0",
            "\u0663",
        ),
        "1" * 19,
    ],
)
def test_numbers_that_are_not_plainly_integers(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        exact_integer(text)


@given(st.integers(-(10**17), 10**17), st.sampled_from(["{}", "{}.0", "{}.", "+{}"]))
def test_integers_are_never_rounded(number: int, notation: str) -> None:
    text = notation.format(number).replace("+-", "-")
    if not text.endswith("000"):
        assert exact_integer(text) == number


def test_what_says_that_a_value_is_unknown() -> None:
    assert all(
        map(has_no_value, ["", " ", "n/a", "N/A", "NA", "nan", "NaN", "None", "none", "unknown", "#N/A", "<NA>"])
    )
    assert not any(map(has_no_value, ["0", "-", "no", "nano", "U"]))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("id\nBärenzwinger Ω".encode(encoding))
    assert read_text(tmp_path / "t.csv") == "id\nBärenzwinger Ω"


def test_windows_1252_is_quoted_in_a_warning(tmp_path: Path) -> None:
    path, warnings = tmp_path / "t.csv", list[str]()
    path.write_bytes(b"id\r\nplain\r\nAmmon\xb4s horn\r\n")
    assert read_text(path, warnings.append) == "id\r\nplain\r\nAmmon\u00b4s horn\r\n"
    (warning,) = warnings
    assert warning.startswith(f"{path}: ")
    assert "line 3: Ammon\u00b4s horn" in warning


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"id\nAmmon\x81s horn\n", ", line 2, column 6 "),
        (b"id\nA\0B\n", ", line 2: "),
        ("id\nA".encode("utf-16-le"), ", line 1: "),
        (b"II*\0\xff\xfe", ": "),
        (b"\xff\xfeA", ": "),
    ],
)
def test_what_is_not_text(tmp_path: Path, content: bytes, place: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_text(path)
    assert str(caught.value).startswith(f"{path}{place}")


def rows_of(text: str) -> list[dict[str, str]]:
    return [dict(row.values) for row in read_lines(Path("t.csv"), text, KIND).named(KIND)]


@pytest.mark.parametrize(
    "text",
    [
        "id,a b\n1,2\n",
        "sep=;\nid;a b\n1;2\n",
        "sep=,\r\nid;a b\r\n1;2\r\n",
        "id\ta b\n1\t2\n",
        "id|a b\n1|2\n",
        " ID , a b \n 1 ,\u00a02\n",
        '"id","a b"\n"1","2"\n',
        "\n,,\nid,,a b,\n\n1,,2,\n,,,\n",
        "Unnamed: 0,id,a b\n3,1,2\n",
        ",Unnamed: 0,id,a b\n0,3,1,2\n",
        'id,a b\n"1",1,2\n',
        "id,a b\r1,2\r",
    ],
)
def test_one_table_in_many_notations(text: str) -> None:
    assert rows_of(text) == [{"id": "1", "a b": "2"}]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a,b\n1,2\n", "line 1: "),
        ("id;a,b\n1,2;3\n,,4\n", "line 3, column 2: "),
        ("id,a\n1\n", "line 2, column 2: "),
        ("id,a\n5,2,3\n", "line 2, column 3: "),
        ("id,a\n1,2\n5,6,7\n", "line 3, column 3: "),
        ("id,,a,\n1,,2,3\n", "line 1, column 4: "),
        ("id,,a\n1,x,2\n", "line 1, column 2: "),
        (",id\n1,1\n1,2\n", "line 1, column 1: "),
        ("id,a,A\n1,2,3\n", "line 1, column 3: "),
        ("id,a\n1,2\nid,a\n3,4\n", "line 3, column 1: "),
        ('sep=,\nid,a\n1,"2\n3,4\n', "line 3: "),
        ('id,a\n1,"2"x\n3,4\n', "line 2: "),
        ('id,a\n1,"2\n3,4"\n', "line 2, column 2: "),
    ],
)
def test_tables_that_can_be_read_in_two_ways(text: str, place: str) -> None:
    with pytest.raises(SourceError) as caught:
        rows_of(text)
    assert str(caught.value).startswith(f"t.csv, {place}")


NAMES = st.text(st.characters(codec="cp1252", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12)
COUNTS = st.lists(
    st.tuples(
        NAMES.map(str.strip).filter(lambda text: text.casefold() not in ("", "na", "nan", "n/a", "<na>", "#n/a")),
        st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 10**10)),
    ),
    min_size=1,
    max_size=8,
)
NOTATIONS = st.sampled_from(
    ["{}", "{}.0", " {} ", "+{}", "{:.17E}"],
)


@given(COUNTS, st.data())
def test_counts_read_back_from_any_notation(
    tmp_path_factory: pytest.TempPathFactory, regions: list[tuple[str, tuple[int, int] | None]], data: st.DataObject
) -> None:
    """Whatever program saved a table of counts, each number and name is what it was."""
    expected = [
        RegionCount(index, name, f"R{index}", *(numbers or (None, None)))
        for index, (name, numbers) in enumerate(regions, start=1)
    ]
    order = data.draw(st.permutations(range(5)))
    n_empty = data.draw(st.integers(0, 2))

    def line(fields: list[str]) -> list[str]:
        return [fields[at] for at in order] + [""] * n_empty

    def number(value: int | None) -> str:
        text = data.draw(NOTATIONS).format(-1 if value is None else value)
        return text.replace("+-", "-")

    rows = [line(list(HEADER))] + [
        line([number(row.index), row.name, f"R{row.index}", number(row.cell_count), number(row.label_volume)])
        for row in expected
    ]
    rows[data.draw(st.integers(0, len(rows))) :] += [line([""] * 5)] * n_empty
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=(delimiter := data.draw(st.sampled_from(",;\t"))),
        quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        lineterminator=data.draw(st.sampled_from(["\n", "\r\n", "\r"])),
    )
    writer.writerows(rows)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    path = tmp_path_factory.getbasetemp() / "counts.csv"
    path.write_bytes((data.draw(st.sampled_from(["", f"sep={delimiter}\r\n"])) + text.getvalue()).encode(encoding))
    assert read_counts(path) == expected


def test_a_table_with_too_many_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("id\n" + ";" * 1_000_001)
    with pytest.raises(SourceError, match=r"table\.csv: has 1,000,002 lines and fields"):
        read_text(tmp_path / "table.csv")


def test_a_wide_table_takes_little_time() -> None:
    header = "\t".join(["id", *(f"c{number}" for number in range(20_000))])
    start = time.process_time()
    lines = read_lines(Path("table"), f"{header}\n" + "1\n" * 20_000, KIND)
    assert time.process_time() - start < 10
    start = time.process_time()
    with pytest.raises(SourceError, match="the row has 1 fields"):
        lines.named(KIND)
    assert time.process_time() - start < 10
