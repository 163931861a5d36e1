"""Paths as people type them: from the folder they are in, with ``..`` and links on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from catnip2bids import compare, convert, package, report, restore, validate, verify
from catnip2bids.comparison import Relation
from runs import VOXEL_SIZE_UM, settings, write_l0


@pytest.mark.slow
def test_all_commands_take_paths_that_go_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_l0(tmp_path / "source").relative_to(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "linked").symlink_to("source")
    monkeypatch.chdir(tmp_path / "here")
    made = package(["../linked/../source"], "../here/../dataset", settings())
    assert (made.ok, len(made.made)) == (True, 6)
    assert verify("../dataset", ["../source"], deep=True).ok
    assert validate("../dataset").ok
    assert report("../dataset").ok
    assert restore("../dataset", "../here/../restored").ok
    convert(f"../{run}/640_N4", "../image.ome.zarr", VOXEL_SIZE_UM)
    convert("../image.ome.zarr", "../again.ome.btf")
    convert("../again.ome.btf", "../here/../more.ome.zarr")
    for image in ("../image.ome.zarr", "../again.ome.btf", "../more.ome.zarr"):
        assert compare(f"../{run}/640_N4", image).relation == Relation.IDENTICAL
