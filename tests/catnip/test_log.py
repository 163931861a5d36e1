"""The head of CATNIP's log: what it says, and what of it may be published."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids.catnip.log import RunLog, read_log
from catnip2bids.errors import SourceError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

TODAY = """\
Unique ID is 640_2026-05-02_09-12-33
========================= Image Info ===============================
FOS Channel                   : /home/jane/My Lab, new/640/
Downsampling factor           : 6x7x5.5
Atlas image                   : /opt/jane/CATNIP/atlas_v2/ABA_25um_reference_hemisphere_N4.nii.gz
Atlas label                   : /opt/jane/CATNIP/atlas_v2/ABA_25um_annotation_hemisphere_nooutlier.nii.gz
FRST threshold                : 10000:5000:20000\x20
Atlas version                 : v2
Background noise init/slope   : 50/1.05
Warning without a colon
bash: line 7: /home/jane/bin/image_info.sh: No such file
Cell radii (in pixels)        : 2,3,4 \x20
Image size                    : 104x193x90 (HxWxD)
======================== Flipping Images ===========================
Atlas version                 : v9
Later                         : of no interest
========================= Image Info ===============================
Later                         : of no interest
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "run.log.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    return read_log(written(tmp_path, TODAY))


def test_settings(log: RunLog) -> None:
    assert log.atlas_version == "v2"
    assert log.downsampling == (5.5, 6.0, 7.0)
    assert log.image_shape == (90, 104, 193)
    assert log.is_whole_brain is False
    assert log.species == "mus musculus"
    assert log.fields["Cell radii (in pixels)"] == "2,3,4"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_logs_that_windows_saved_again_say_the_same(tmp_path: Path, log: RunLog, encoding: str) -> None:
    text = TODAY.replace("\n", "\r\n")
    with_bom = f"\ufeff{text}" if encoding[-3:] in ("-le", "-be") else text
    assert read_log(written(tmp_path, with_bom.encode(encoding))) == log


def test_only_the_first_block_is_read(log: RunLog) -> None:
    assert "Later" not in log.fields
    assert not any(key.startswith(("bash", "Warning")) for key in log.fields)


def test_public_fields_tell_no_place(log: RunLog) -> None:
    public = log.public_fields
    assert public.keys() == log.fields.keys()
    assert public["FOS Channel"] == "640"
    assert public["Atlas label"] == "atlas_v2/ABA_25um_annotation_hemisphere_nooutlier.nii.gz"
    assert public["Background noise init/slope"] == "50/1.05"
    assert public["Image size"] == "104x193x90 (HxWxD)"
    assert not any(secret in str(public) for secret in ("jane", "home", "opt", "Lab"))


@pytest.mark.parametrize(
    ("value", "public"),
    [
        ("C:\\Users\\jane\\640", "640"),
        ("\\\\nas01\\share\\640\\", "640"),
        ("smb://nas01/share/mask.tif", "mask.tif"),
        ("jane@host:/data/a b.tif", "a b.tif"),
        ("../jane/640", "640"),
        ("/home/jane/", "~"),
        ("/", ""),
        ("yes", "yes"),
    ],
)
def test_paths_of_any_kind_are_reduced(value: str, public: str) -> None:
    assert RunLog({"Exclusion mask": value}).public_fields == {"Exclusion mask": public}


def test_old_channel_line_crlf_bom_and_other_encodings(tmp_path: Path) -> None:
    text = "\ufeff===== Image Info =====\n640 Channel      : /data/M\u00fcller/640\nAtlas version: v1\n"
    path = written(tmp_path, text.replace("\n", "\r\n").encode())
    assert read_log(path).public_fields == {"640 Channel": "640", "Atlas version": "v1"}
    path = written(tmp_path, text[1:].encode("latin-1"))
    assert read_log(path).atlas_version == "v1"


@pytest.mark.parametrize("text", ["", "nothing of ours : here\n", "\x00\xff\n" * 20])
def test_log_without_a_block_says_nothing(tmp_path: Path, text: str) -> None:
    log = read_log(written(tmp_path, text))
    assert log == RunLog()
    told = (log.atlas_version, log.downsampling, log.image_shape, log.is_whole_brain)
    assert told == (None,) * 4


def test_unreadable_numbers_say_nothing() -> None:
    log = RunLog({"Image size": "xx (HxWxD)", "Downsampling factor": "0x6x5", "FRST threshold": "1:0:5"})
    assert (log.image_shape, log.downsampling) == (None, None)


@pytest.mark.parametrize(
    ("fields", "version", "is_whole_brain", "species"),
    [
        ({"Atlas version": "v3"}, "v3", False, "mus musculus"),
        ({"Atlas version": "V4"}, "v4", True, "mus musculus"),
        ({"Atlas label": "/opt/CATNIP/atlas_v5/axial.nii.gz"}, "v5", True, "mus musculus"),
        ({"Atlas image": "D:\\atlas_v9\\WHS.nii.gz"}, "v9", True, "rattus norvegicus"),
        ({"Atlas label": "/opt/CATNIP/atlas/axial.nii.gz"}, None, None, "mus musculus"),
    ],
)
def test_atlas_version(fields: dict[str, str], version: str | None, is_whole_brain: bool | None, species: str) -> None:
    log = RunLog(fields)
    assert (log.atlas_version, log.is_whole_brain, log.species) == (version, is_whole_brain, species)


def test_huge_log_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = written(tmp_path, "x" * 1_000_000 + "\n" * 10_000 + TODAY)
    assert read_log(path) == RunLog()


def test_missing_log(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.log\.txt"):
        read_log(tmp_path / "gone.log.txt")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data")
def test_sample_log() -> None:
    (path,) = SHARED.glob("data/cohort_today/*/*.log.txt")
    log = read_log(path)
    assert len(log.fields) == 17
    assert log.atlas_version == "v2"
    assert log.downsampling == (5, 6, 6)
    assert log.image_shape == (90, 104, 193)
    assert not any("/data" in value or "/opt" in value for value in log.public_fields.values())
