from __future__ import annotations

from pathlib import Path

import pytest
from validate_damage import BIG_HEATMAP, HEATMAP, Damage, replace, truncate, write

from catnip2bids.validation.ome_tiff import check_ome_tiff
from catnip2bids.validation.tree import read_tree

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
    "other number of planes": (replace(BIG, 'SizeZ="12"', 'SizeZ="11"'), "OME_XML_PIXELS", BIG),
    "other width": (replace(CLASSIC, 'SizeX="16"', 'SizeX="20"'), "OME_XML_PIXELS", CLASSIC),
    "other pixel type": (replace(CLASSIC, 'Type="float"', 'Type="int32"'), "OME_XML_PIXELS", CLASSIC),
}


@pytest.mark.parametrize(("damage", "code", "file"), BROKEN.values(), ids=BROKEN)
def test_damage_is_found(dataset: Path, damage: Damage, code: str, file: str) -> None:
    damage(dataset)
    assert (code, file) in found(dataset)
