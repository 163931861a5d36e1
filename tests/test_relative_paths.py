"""Paths as people type them: from the folder they are in, with ``..`` and links on the way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from catnip2bids import compare, convert, package, report, restore, validate, verify
from catnip2bids.comparison import Relation
from catnip2bids.errors import Catnip2bidsError
from made_up import DEFLATE, Flavour, some_image, write_slices
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


def test_errors_name_files_as_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = write_slices(tmp_path / "slices", some_image((4, 80, 72)), flavour=Flavour(DEFLATE))
    convert(tmp_path / "slices", tmp_path / "image.ome.zarr", (1, 1, 1))
    content = slices[2].read_bytes()
    slices[2].write_bytes(content[:1000] + bytes(400) + content[1400:])
    shard = tmp_path / "image.ome.zarr/0/c/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-20])
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for source, target, named in (
        ("slices", "new.ome.zarr", "slices/Z0003.tif: damaged TIFF"),
        ("image.ome.zarr", "new.ome.zarr", 'local file "0/c/0/0/0"'),
        ("slices", "file/new.ome.zarr", "file: is not a folder"),
    ):
        with pytest.raises(Catnip2bidsError, match=re.escape(named)) as caught:
            convert(source, target, (1, 1, 1))
        assert str(tmp_path) not in str(caught.value)
