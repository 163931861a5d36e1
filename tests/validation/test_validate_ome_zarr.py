from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from validate_damage import ATLAS, FRST, RAW_ZARR, Damage, edit_json, move_and_link, remove, truncate, write

from catnip2bids.validation.ome_zarr import check_ome_zarr
from catnip2bids.validation.tree import read_tree
from good_dataset import NATIVE_XYZ_UM, SHAPE, dataset, good, write_ome_zarr
from runs import Array

__all__ = ["dataset", "good"]

ATLAS_ZARR, FRST_ZARR = f"{ATLAS}.ome.zarr", f"{FRST}.ome.zarr"
EMBEDDED = f"{RAW_ZARR}/labels/atlas"


def found(dataset: Path) -> set[tuple[str, str]]:
    return {(finding.code, finding.file) for finding in check_ome_zarr(read_tree(dataset))}


def edit_ome(image: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    return edit_json(f"{image}/zarr.json", lambda content: change(content["attributes"]["ome"]))


def edit_multiscale(image: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    return edit_ome(image, lambda ome: change(ome["multiscales"][0]))


def edit_level(image: str, level: int, change: Callable[[list[dict[str, Any]]], object]) -> Damage:
    return edit_multiscale(image, lambda image: change(image["datasets"][level]["coordinateTransformations"]))


def repeat_label(section: str) -> Damage:
    def change(ome: dict[str, Any]) -> None:
        ome["image-label"][section].append(ome["image-label"][section][0])

    return edit_ome(ATLAS_ZARR, change)


def cut_shard(image: str, shard: str) -> Damage:
    return truncate(f"{image}/0/c/{shard}", 3)


def embed(values: Array, image: str, version: str) -> Damage:
    """Embed labels in an image."""

    def damage(dataset: Path) -> None:
        group = zarr.open_group(dataset / image / "labels", mode="w", zarr_format=3 if version == "0.5" else 2)
        listed = {"labels": ["atlas"]}
        group.attrs.update({"ome": {"version": version, **listed}} if version == "0.5" else listed)
        write_ome_zarr(dataset / image / "labels/atlas", values, NATIVE_XYZ_UM, version, is_label=True)

    return damage


MOVED = [{"type": "scale", "scale": [2.0, 2.0, 2.0]}, {"type": "translation", "translation": [1.0, 2.0, 3.0]}]
"""A transformation of a whole image."""
FLOATS, BITS = np.ones(SHAPE, "float32"), np.ones(SHAPE, "bool")


def test_good_dataset_has_no_finding(good: Path) -> None:
    assert found(good) == set()


BROKEN: dict[str, tuple[Damage, str, str]] = {
    "no metadata": (remove(f"{RAW_ZARR}/zarr.json"), "OME_ZARR_INVALID", RAW_ZARR),
    "not JSON": (truncate(f"{RAW_ZARR}/zarr.json", 1), "OME_ZARR_INVALID", RAW_ZARR),
    "no OME metadata": (edit_ome(RAW_ZARR, lambda ome: ome.clear()), "OME_ZARR_INVALID", RAW_ZARR),
    "no .zattrs in 0.4": (remove(f"{FRST_ZARR}/.zattrs"), "OME_ZARR_INVALID", FRST_ZARR),
    "two axes of one name": (
        edit_multiscale(RAW_ZARR, lambda image: image["axes"][0].update(name="y")),
        "OME_ZARR_INVALID",
        RAW_ZARR,
    ),
    "axes of another order": (
        edit_multiscale(RAW_ZARR, lambda image: image["axes"].reverse()),
        "OME_ZARR_INVALID",
        RAW_ZARR,
    ),
    "another unit": (
        edit_multiscale(RAW_ZARR, lambda image: image["axes"][0].update(unit="millimeter")),
        "OME_ZARR_AXES",
        RAW_ZARR,
    ),
    "no unit": (edit_multiscale(RAW_ZARR, lambda image: image["axes"][2].pop("unit")), "OME_ZARR_AXES", RAW_ZARR),
    "scale that is not that of the shape": (
        edit_level(RAW_ZARR, 1, lambda steps: steps[0].update(scale=[10.0, 7.4, 14.8])),
        "OME_ZARR_SHAPE",
        RAW_ZARR,
    ),
    "no translation": (edit_level(RAW_ZARR, 1, lambda steps: steps.pop()), "OME_ZARR_TRANSLATION", RAW_ZARR),
    "voxel corners for centres": (
        edit_level(RAW_ZARR, 1, lambda steps: steps[1].update(translation=[5.0, 3.7, 3.7])),
        "OME_ZARR_TRANSLATION",
        RAW_ZARR,
    ),
    "image that begins elsewhere": (
        edit_multiscale(RAW_ZARR, lambda image: image.update(coordinateTransformations=MOVED)),
        "OME_ZARR_TRANSLATION",
        RAW_ZARR,
    ),
    "embedded labels that begin elsewhere": (
        edit_multiscale(EMBEDDED, lambda image: image.update(coordinateTransformations=MOVED)),
        "OME_ZARR_TRANSLATION",
        EMBEDDED,
    ),
    "label colour twice": (repeat_label("colors"), "OME_ZARR_INVALID", ATLAS_ZARR),
    "label property twice": (repeat_label("properties"), "OME_ZARR_LABEL_VALUE", ATLAS_ZARR),
    "embedded labels of another scale": (
        edit_level(EMBEDDED, 1, lambda steps: steps[0].update(scale=[10.0, 7.4, 14.8])),
        "OME_ZARR_SHAPE",
        EMBEDDED,
    ),
    "embedded labels that are listed and missing": (
        lambda dataset: shutil.rmtree(dataset / EMBEDDED),
        "OME_ZARR_INVALID",
        EMBEDDED,
    ),
    "embedded labels that are no list": (
        edit_ome(f"{RAW_ZARR}/labels", lambda ome: ome.update(labels="atlas")),
        "OME_ZARR_INVALID",
        f"{RAW_ZARR}/labels",
    ),
    "embedded floating point numbers": (embed(FLOATS, RAW_ZARR, "0.5"), "OME_ZARR_INVALID", EMBEDDED),
    "embedded floating point numbers in 0.4": (
        embed(FLOATS, FRST_ZARR, "0.4"),
        "OME_ZARR_INVALID",
        f"{FRST_ZARR}/labels/atlas",
    ),
    "embedded bits": (embed(BITS, RAW_ZARR, "0.5"), "OME_ZARR_INVALID", EMBEDDED),
    "embedded bits in 0.4": (embed(BITS, FRST_ZARR, "0.4"), "OME_ZARR_INVALID", f"{FRST_ZARR}/labels/atlas"),
    "labels of floating point numbers": (
        lambda dataset: write_ome_zarr(dataset / ATLAS_ZARR, FLOATS, NATIVE_XYZ_UM, is_label=True),
        "OME_ZARR_INVALID",
        ATLAS_ZARR,
    ),
    "labels with a display window": (
        edit_ome(ATLAS_ZARR, lambda ome: ome.update(omero={"channels": []})),
        "OME_ZARR_LABEL_OMERO",
        ATLAS_ZARR,
    ),
    "embedded labels with a display window": (
        edit_ome(EMBEDDED, lambda ome: ome.update(omero={"channels": []})),
        "OME_ZARR_LABEL_OMERO",
        EMBEDDED,
    ),
    "first shard cut off": (cut_shard(RAW_ZARR, "0/0/0"), "OME_ZARR_UNREADABLE", RAW_ZARR),
    "last shard cut off": (cut_shard(RAW_ZARR, "1/2/1"), "OME_ZARR_UNREADABLE", RAW_ZARR),
    "shard in the middle cut off": (cut_shard(RAW_ZARR, "0/1/0"), "OME_ZARR_UNREADABLE", RAW_ZARR),
    "shard of embedded labels cut off": (cut_shard(EMBEDDED, "1/2/1"), "OME_ZARR_UNREADABLE", EMBEDDED),
    "chunk of 0.4 cut off": (truncate(f"{FRST_ZARR}/0/2/4/3", 10), "OME_ZARR_UNREADABLE", FRST_ZARR),
    "level missing": (lambda dataset: shutil.rmtree(dataset / RAW_ZARR / "1"), "OME_ZARR_INVALID", RAW_ZARR),
    "unknown codec": (
        edit_json(f"{RAW_ZARR}/0/zarr.json", lambda array: array["codecs"][0].update(name="nosuch")),
        "OME_ZARR_INVALID",
        RAW_ZARR,
    ),
    "link to a folder": (move_and_link(RAW_ZARR), "OME_ZARR_LINK", RAW_ZARR),
    "image in another derivative": (
        write("derivatives/other/x_SPIM.ome.zarr/zarr.json", "{}"),
        "OME_ZARR_INVALID",
        "derivatives/other/x_SPIM.ome.zarr",
    ),
}


@pytest.mark.parametrize(("damage", "code", "file"), BROKEN.values(), ids=BROKEN)
def test_damage_is_found(dataset: Path, damage: Damage, code: str, file: str) -> None:
    damage(dataset)
    assert (code, file) in found(dataset)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_integers_of_any_sign_may_be_embedded(dataset: Path, version: str) -> None:
    embed(np.full(SHAPE, -3, "int32"), {"0.5": RAW_ZARR, "0.4": FRST_ZARR}[version], version)(dataset)
    assert found(dataset) == set()


@pytest.mark.parametrize("values", [FLOATS, BITS], ids=["floating point numbers", "bits"])
def test_an_image_of_any_type_is_valid_if_it_is_not_a_label_image(dataset: Path, values: Array) -> None:
    write_ome_zarr(dataset / ATLAS_ZARR, values, NATIVE_XYZ_UM)
    assert found(dataset) == set()


def test_sizes_of_levels_are_told_x_first(dataset: Path) -> None:
    edit_level(RAW_ZARR, 1, lambda steps: steps[0].update(scale=[10.0, 7.4, 14.8]))(dataset)
    messages = [finding.message for finding in check_ome_zarr(read_tree(dataset)) if finding.code == "OME_ZARR_SHAPE"]
    assert messages == ["level 1 has 8 x 10 x 6 voxels; by its scale it should have 4 x 10 x 6"]


def test_sourcedata_is_not_looked_at(dataset: Path) -> None:
    write("sourcedata/x.ome.zarr/zarr.json", "{}")(dataset)
    assert found(dataset) == set()


def test_a_transformation_of_the_whole_image_is_applied(dataset: Path) -> None:
    shutil.rmtree(dataset / "code")  # images of other programs may begin anywhere
    edit_multiscale(RAW_ZARR, lambda image: image.update(coordinateTransformations=MOVED))(dataset)
    assert found(dataset) == set()


def test_levels_of_large_chunks_are_compared_too(dataset: Path) -> None:
    def change(array: dict[str, Any]) -> None:
        array["chunk_grid"]["configuration"]["chunk_shape"] = [512, 512, 512]
        array["codecs"][0]["configuration"]["chunk_shape"] = [256, 512, 512]

    edit_json(f"{RAW_ZARR}/0/zarr.json", change)(dataset)
    edit_json(f"{RAW_ZARR}/1/zarr.json", lambda array: array.update(shape=[7, 7, 7]))(dataset)
    assert found(dataset) >= {("OME_ZARR_SHAPE", RAW_ZARR), ("OME_ZARR_NOT_DECODED", RAW_ZARR)}


@pytest.mark.parametrize("size", [0, -3.7, 1e-300, 1e300, 10**400])
def test_voxels_of_no_size_are_a_finding(dataset: Path, size: float) -> None:
    edit_level(RAW_ZARR, 1, lambda steps: steps[0].update(scale=[5.0, 7.4, size]))(dataset)
    assert ("OME_ZARR_INVALID", RAW_ZARR) in found(dataset)
