from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from validate_damage import BIG_HEATMAP, HEATMAP, Damage, replace, truncate, write

from catnip2bids import convert
from catnip2bids.validation.ome_tiff import check_ome_tiff
from catnip2bids.validation.tree import read_tree
from good_dataset import dataset, good
from made_up import write_slices

__all__ = ["dataset", "good"]

CLASSIC, BIG = f"{HEATMAP}.ome.tif", f"{BIG_HEATMAP}.ome.btf"


def found(dataset: Path) -> set[tuple[str, str]]:
    return {(finding.code, finding.file) for finding in check_ome_tiff(read_tree(dataset))}


def exchange(dataset: Path) -> None:
    """Give the BigTIFF the name of the classic TIFF and the other way round."""
    classic, big = dataset / CLASSIC, dataset / BIG
    aside = classic.rename(dataset / "aside")
    big.rename(classic)
    aside.rename(big)


def test_good_dataset_has_no_finding(good: Path) -> None:
    assert found(good) == set()


BROKEN: dict[str, tuple[Damage, str, str]] = {
    "text": (write(BIG, "no image"), "OME_TIFF_UNREADABLE", BIG),
    "empty": (write(BIG, ""), "OME_TIFF_UNREADABLE", BIG),
    "cut off": (truncate(BIG, 300), "OME_TIFF_UNREADABLE", BIG),
    "BigTIFF named as classic TIFF": (exchange, "OME_TIFF_EXTENSION", CLASSIC),
    "classic TIFF named as BigTIFF": (exchange, "OME_TIFF_EXTENSION", BIG),
    "no XML": (replace(BIG, "<?xml version", "<!xml version"), "OME_XML_INVALID", BIG),
    "another schema": (replace(BIG, "2016-06", "2013-06"), "OME_XML_INVALID", BIG),
    "Greek mu": (replace(BIG, 'XUnit="µm"', 'XUnit="μm"'), "OME_XML_INVALID", BIG),
    "voxel size that is no number": (replace(BIG, 'SizeZ="25.0"', 'SizeZ="25,0"'), "OME_XML_INVALID", BIG),
    "voxel size of 0": (replace(BIG, 'SizeZ="25.0"', 'SizeZ="00.0"'), "OME_XML_INVALID", BIG),
    "two channels": (replace(BIG, 'SizeC="1"', 'SizeC="2"'), "OME_XML_INVALID", BIG),
    "planes that no page holds": (replace(BIG, 'SizeZ="12"', 'SizeZ="11"'), "OME_XML_INVALID", BIG),
    "against the schema": (replace(BIG, "<Image ", "<Imagf "), "OME_XML_INVALID", BIG),
    "an order that the schema does not know": (replace(BIG, '"XYZCT"', '"XYZZZ"'), "OME_XML_INVALID", BIG),
    "other width": (replace(CLASSIC, 'SizeX="16"', 'SizeX="20"'), "OME_XML_PIXELS", CLASSIC),
    "other pixel type": (replace(CLASSIC, 'Type="float"', 'Type="int32"'), "OME_XML_PIXELS", CLASSIC),
}


@pytest.mark.parametrize(("damage", "code", "file"), BROKEN.values(), ids=BROKEN)
def test_damage_is_found(dataset: Path, damage: Damage, code: str, file: str) -> None:
    damage(dataset)
    assert (code, file) in found(dataset)


def test_sizes_are_told_x_first(dataset: Path) -> None:
    replace(CLASSIC, 'SizeX="16"', 'SizeX="20"')(dataset)
    (message,) = [finding.message for finding in check_ome_tiff(read_tree(dataset)) if finding.file == CLASSIC]
    assert message == "OME-XML says 20 x 20 x 12 float and the pages are 16 x 20 x 12 float"


OURS = "sub-1/micr/sub-1_sample-A_SPIM.ome.btf"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A dataset of one image with lower levels, as catnip2bids writes it."""
    write_slices(tmp_path / "slices", np.random.default_rng(0).integers(0, 9, (5, 530, 601), dtype="u2"))
    image = tmp_path / "dataset" / OURS
    image.parent.mkdir(parents=True)
    convert(tmp_path / "slices", image, (3.7, 3.7, 5.0), pyramid=True)
    return tmp_path / "dataset"


def patched(tag: int, level: int | None, value: bytes) -> Damage:
    """Overwrite the beginning of a tag's values, in the second page or in one of its lower levels."""

    def damage(dataset: Path) -> None:
        with tifffile.TiffFile(dataset / OURS) as tiff:
            page = tiff.pages[1]
            assert isinstance(page, tifffile.TiffPage)
            found = page if level is None else (page.pages or ())[level]
            assert isinstance(found, tifffile.TiffPage)
            offset = found.tags[tag].valueoffset
        with (dataset / OURS).open("r+b") as file:
            file.seek(offset)
            file.write(value)

    return damage


def test_what_we_write_has_no_finding(ours: Path) -> None:
    assert list(check_ome_tiff(read_tree(ours))) == []


DAMAGED: dict[str, tuple[Damage, str]] = {
    "cut off": (truncate(OURS, 300), "OME_TIFF_UNREADABLE"),
    "a page of other width": (patched(256, None, b"\x10"), "OME_TIFF_UNREADABLE"),
    "a level of other width": (patched(256, 0, b"\x10"), "OME_TIFF_UNREADABLE"),
    "a level that is not marked as one": (patched(254, 1, b"\0"), "OME_TIFF_UNREADABLE"),
    "a level of other type": (patched(258, 0, b"\x08"), "OME_TIFF_UNREADABLE"),
    "a tile beyond the end": (patched(324, 0, b"\xff\xff\xff\xff"), "OME_TIFF_UNREADABLE"),
    "other byte order": (replace(OURS, 'BigEndian="false"', 'BigEndian="1"    '), "OME_XML_PIXELS"),
    "a plane too few": (replace(OURS, 'PlaneCount="5"', 'PlaneCount="4"'), "OME_XML_INVALID"),
    "planes in another order": (replace(OURS, '<TiffData IFD="0"', '<TiffData IFD="1"'), "OME_XML_INVALID"),
}


@pytest.mark.parametrize(("damage", "code"), DAMAGED.values(), ids=DAMAGED)
def test_damage_of_what_we_write_is_found(ours: Path, damage: Damage, code: str) -> None:
    damage(ours)
    assert found(ours) == {(code, OURS)}


def test_a_loop_of_pages_is_found(ours: Path) -> None:
    with tifffile.TiffFile(ours / OURS) as tiff:
        first, second = tiff.pages[0].offset, tiff.pages[1].offset
        n_tags = len(tiff.pages[1].aspage().tags)
    with (ours / OURS).open("r+b") as file:
        file.seek(second + 8 + 20 * n_tags)
        file.write(first.to_bytes(8, "little"))
    (finding,) = check_ome_tiff(read_tree(ours))
    assert "contains a loop" in finding.message
    assert str(ours) not in finding.message
