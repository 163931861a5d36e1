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
        f"{ROWS}\n",
    ],
    ids=["plain", "no-last-newline", "blank-end", "bom", "crlf", "no-header"],
)
def test_counts(tmp_path: Path, text: str) -> None:
    assert read_counts(written(tmp_path, text)) == EXPECTED


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("2,Name,A,1", "4 fields instead of the 5"),
        ("2,Name,A,1,2,3", "6 fields instead of the 5"),
        ("", "1 fields instead of the 5"),
        ("2,Name,A,one,2", "'one' is not a whole number"),
        ("2,Name,A,1.5,2", "'1.5' is not a whole number"),
        ("2,Name,A,1e3,2", "'1e3' is not a whole number"),
        ("2,Name,A,,2", "'' is not a whole number"),
        ("2,Name,A,\u0663,2", "is not a whole number"),
        ("x,Name,A,1,2", "'x' is not a whole number"),
        ("-2,Name,A,1,2", "Label_ID -2 is negative"),
        ("2,,A,1,2", "region 2 has no name"),
        ("2,Name,A,-2,-2", "may be negative"),
        ("2,Name,A,-1,5", "may be negative"),
        ("2,Name,A,5,-1", "may be negative"),
        ("1,Name,A,5,6", "region 1 is there twice"),
    ],
)
def test_wrong_row_is_named(tmp_path: Path, row: str, complaint: str) -> None:
    path = written(tmp_path, f"{HEADER}\n1,Caudoputamen,CP,12,3400\n{row}\n9,Zona_incerta,ZI,0,0\n")
    with pytest.raises(SourceError) as caught:
        read_counts(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, f"\ufeff{HEADER}\r\n"])
def test_empty_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(SourceError, match="no rows"):
        read_counts(written(tmp_path, text))


def test_other_tables_are_refused_in_their_first_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 1: "):
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
