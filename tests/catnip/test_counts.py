"""Counts CSVs: what is read, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.catnip.counts import RegionCount, read_counts
from catnip2bids.errors import SourceError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
HEADER = "Label_ID,Name,Acronym,Cell_Count,Label_Volume(Pixels)"
ROWS = "1,Caudoputamen,CP,12,3400\n7,Root,Root,0,0\n9,Zona_incerta,ZI,-1,-1"
EXPECTED = [
    RegionCount(1, "Caudoputamen", "CP", 12, 3400),
    RegionCount(7, "Root", "Root", 0, 0),
    RegionCount(9, "Zona_incerta", "ZI", None, None),
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "FRSTseg_00010000.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROWS}\n",
        f"{HEADER}\n{ROWS}",
        f"{HEADER}\n{ROWS}\n\n \n",
        f"\ufeff{HEADER}\n{ROWS}\n",
        f"{HEADER}\n{ROWS}\n".replace("\n", "\r\n"),
        f"{HEADER},,\n{ROWS},,\n,,,,,,\n".replace("\n7", ",,\n7").replace("\n9", ",,\n9"),
        f",,,,\n\n{HEADER}\n\n{ROWS}\n",
        f"sep=,\r\n{HEADER}\n{ROWS}\n",
        f"{HEADER}\n{ROWS}\n".replace(",", " ; "),
        f"{HEADER}\n{ROWS}\n".replace("\n", "\r"),
        f"{HEADER}\n{ROWS}\n".replace("-1", "-1.0").replace("3400", "3.4E+03").replace("12", "12.0"),
        f",{HEADER}\n{ROWS}\n".replace("\n1", "\n0,1").replace("\n7", "\n1,7").replace("\n9", "\n2,9"),
        f"{HEADER}\n{ROWS}\n".replace("\n1", '\n"1",1').replace("\n7", '\n"2",7').replace("\n9", '\n"3",9'),
        f"{HEADER}\n{ROWS}\n".replace("Volume(Pixels)", "Volume.Pixels."),
        f"index,name,abbreviation,cell_count,label_volume\n{ROWS}\n".replace("-1", "n/a"),
        f"{ROWS}\n",
    ],
    ids=[
        *("plain", "no-last-newline", "blank-end", "bom", "crlf", "empty-columns", "empty-rows", "sep", "semicolons"),
        *("cr", "floats", "pandas-index", "r-row-names", "r-header", "ours", "no-header"),
    ],
)
def test_counts(tmp_path: Path, text: str) -> None:
    warnings: list[str] = []
    assert read_counts(written(tmp_path, text), warnings.append) == EXPECTED
    assert bool(warnings) == (text == f"{ROWS}\n" or "n/a" in text or text.endswith("-1"))


def test_a_table_that_may_have_been_cut_off_is_read_with_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    path = written(tmp_path, f"{HEADER}\n1,Caudoputamen,CP,12,3400\n7,Root,Root,2,9")
    assert read_counts(path, warnings.append)[-1] == RegionCount(7, "Root", "Root", 2, 9)
    (warning,) = warnings
    assert warning.startswith(f"{path}: its last line has no line end; if the table was cut off, copy the table again")


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    header, row = "Acronym,Label_Volume(Pixels),Note,Cell_Count,NAME,Label_ID", 'CP,3400,x,12,"Putamen, caudal",1'
    (count,) = read_counts(written(tmp_path, f"{header}\n{row}\n"))
    assert count == RegionCount(1, "Putamen, caudal", "CP", 12, 3400)


@pytest.mark.parametrize("unknown", ["", "NA", "NaN", "n/a", "None", "unknown", '""'])
def test_what_is_unknown_stays_unknown_and_is_said(tmp_path: Path, unknown: str) -> None:
    warnings: list[str] = []
    path = written(tmp_path, f"{HEADER}\n1,Caudoputamen,CP,{unknown},3400\n2,Unknown,,3,7\n")
    assert read_counts(path, warnings.append) == [
        RegionCount(1, "Caudoputamen", "CP", None, 3400),
        RegionCount(2, "Unknown", None, 3, 7),
    ]
    (warning,) = warnings
    assert warning.startswith(f"{path}: ")
    assert "line 2" in warning


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("2,Name,A,1", "5"),
        ("2,Name,A,1,2,3", "6"),
        ("2,Name, with a comma,A,1,2", "6"),
        ("2,Name,A,one,2", "Cell_Count"),
        ("2,Name,A,1.5,2", "Cell_Count"),
        ("2,Name,A,\u0663,2", "Cell_Count"),
        ('2,Name,A,"1,200",2', "Cell_Count"),
        ("2,Name,A,1.200,2", "Cell_Count"),
        ("2,Name,A,5,1.000", "Label_Volume(Pixels)"),
        ('2,Name,A,5,"12,000"', "Label_Volume(Pixels)"),
        ("2,Name,A,5,2.59E+05", "Label_Volume(Pixels)"),
        ("2,Name,A,5,1 200", "Label_Volume(Pixels)"),
        ("2,Name,A,5,1.23457E+08", "Label_Volume(Pixels)"),
        ("x,Name,A,1,2", "Label_ID"),
        (",Name,A,1,2", "Label_ID"),
        ("-2,Name,A,1,2", "Label_ID"),
        ("2,,A,1,2", "Name"),
        (f"2,{'N' * 501},A,1,2", "Name"),
        ("2,Name,A,-2,-2", "Cell_Count"),
        ("2,Name,A,-1,5", "Cell_Count"),
        ("2,Name,A,5,-1", "Label_Volume(Pixels)"),
        ("2,Name,A,NA,-1", "Label_Volume(Pixels)"),
        ("1,Name,A,5,6", "Label_ID"),
        (HEADER, "1"),
        ('2,"Name\nof two lines",A,1,2', "2"),
    ],
)
def test_a_row_that_is_not_clear_is_named_with_its_column(tmp_path: Path, row: str, column: str) -> None:
    path = written(tmp_path, f"{HEADER}\n1,Caudoputamen,CP,12,3400\n{row}\n9,Zona_incerta,ZI,0,0\n")
    with pytest.raises(SourceError) as caught:
        read_counts(path)
    assert str(caught.value).startswith(f"{path}, line 3, column {column}: ")


@pytest.mark.parametrize(
    ("header", "column"),
    [
        (f"{HEADER},Cell Count", 6),
        (f"{HEADER},cell_count", 6),
        (f"{HEADER},index", 6),
        (HEADER.replace("Acronym", ""), 3),
        (f"{HEADER},", 6),
    ],
)
def test_a_header_that_is_not_clear_is_refused(tmp_path: Path, header: str, column: int) -> None:
    path = written(tmp_path, f"{header}\n" + ",".join("1aC45678"[: header.count(",") + 1]) + "\n")
    with pytest.raises(SourceError) as caught:
        read_counts(path)
    assert str(caught.value).startswith(f"{path}, line 1, column {column}: ")


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, f"\ufeff{HEADER}\r\n"])
def test_empty_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="no rows"):
        read_counts(written(tmp_path, text))


def test_other_tables_are_refused_in_their_first_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 1: is not the header"):
        read_counts(written(tmp_path, "a,b,c,d,e\n1,x,x,1,1\n"))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_counts(tmp_path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"II*\x00\xff\xfe")
    with pytest.raises(SourceError, match=r"binary\.csv: is not a text table"):
        read_counts(binary)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data")
def test_sample_tables() -> None:
    paths = sorted(SHARED.glob("data/cohort*/**/FRSTseg_0*.csv"))
    assert len(paths) == 10
    for path in paths:
        counts = read_counts(path)
        assert len(counts) == 561
        excluded = [count.index for count in counts if count.cell_count is None]
        assert len(excluded) == (35 if "_corr" in path.parent.name else 0)


def test_a_table_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "FRSTseg_00010000.csv"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SourceError, match=r"FRSTseg_00010000\.csv: has 1099511627776 bytes"):
        read_counts(path)
