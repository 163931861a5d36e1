"""A small dataset without a fault, and copies of it to damage."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr

SUB = "sub-45670ko"
BASE = f"{SUB}_sample-LeftHemisphere_stain-cFos"
NATIVE_XYZ_UM = (3.7, 3.7, 5.0)
ATLAS_XYZ_UM = (25.0, 25.0, 25.0)
SHAPE = (12, 20, 16)
LABELS = {1: "Tuberomammillary_nucleus", 2: "Inferior_colliculus"}
COUNTS_COLUMNS = ("index", "name", "cell_count", "label_volume", "volume_mm3", "density_per_mm3")
COUNTS = ((1, LABELS[1], 2, 3000, "0.00020535", "9739.46920"), (2, LABELS[2], "n/a", "n/a", "n/a", "n/a"))
CELLS_COLUMNS = ("z", "y", "x", "z_um", "y_um", "x_um", "volume_voxels", "volume_um3", "index", "name", "proven")
BIDS = {"BIDSVersion": "1.11.1", "HEDVersion": "8.4.0", "License": "CC0", "Authors": ["First", "Second"]}
TOOL = {"Name": "catnip2bids", "Version": "0"}
ARCHIVE = [{"URL": "https://dandiarchive.org"}]


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def write_tsv(file: Path, *rows: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def write_cells(file: Path, *rows: Sequence[object]) -> None:
    """Write a table of cells, which is packed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as packed:
        packed.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def write_ome_zarr(
    folder: Path, pixels: npt.NDArray[Any], xyz_um: Sequence[float], version: str = "0.5", is_label: bool = False
) -> None:
    """Write two levels, sharded in 0.5."""
    group = zarr.open_group(folder, mode="w", zarr_format=3 if version == "0.5" else 2)
    datasets = []
    for index, level in enumerate((pixels, pixels[::2, ::2, ::2])):
        layout: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        if version == "0.5":
            layout = {"shards": (8, 8, 8), "dimension_names": ("z", "y", "x")}
        array = group.create_array(str(index), shape=level.shape, dtype=level.dtype, chunks=(4, 4, 4), **layout)
        array[...] = level
        scale = np.array(xyz_um[::-1]) * 2**index
        transformations = [
            {"type": "scale", "scale": scale.tolist()},
            {"type": "translation", "translation": (0.5 * (scale - xyz_um[::-1])).tolist()},
        ]
        datasets.append({"path": str(index), "coordinateTransformations": transformations})
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    document: dict[str, Any] = {"multiscales": [{"name": folder.name, "axes": axes, "datasets": datasets}]}
    if is_label:
        document["image-label"] = {
            "colors": [{"label-value": value, "rgba": [value, 0, 0, 255]} for value in LABELS],
            "properties": [{"label-value": value, "name": name} for value, name in LABELS.items()],
        }
    if version == "0.4":
        document["multiscales"][0]["version"] = version
    group.attrs.update({"ome": {"version": version, **document}} if version == "0.5" else document)


def ome_xml(shape: Sequence[int], xyz_um: Sequence[float]) -> str:
    sizes = "".join(f'Size{axis}="{n}" ' for axis, n in zip("ZYX", shape, strict=True))
    physical = "".join(
        f'PhysicalSize{axis}="{um}" PhysicalSize{axis}Unit="µm" ' for axis, um in zip("XYZ", xyz_um, strict=True)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="float" {sizes}SizeC="1" SizeT="1" '
        f'{physical}><Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="{shape[0]}"/>'
        "</Pixels></Image></OME>"
    )


def write_ome_tiff(file: Path, pixels: npt.NDArray[Any], xml: str, bigtiff: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(file, bigtiff=bigtiff, ome=False) as writer:
        for index, plane in enumerate(pixels):
            description = xml.encode() if index == 0 else None
            writer.write(plane, photometric="minisblack", compression="zlib", metadata=None, description=description)


def write_records(root: Path, image: str, n_planes: int) -> None:
    rows = [(plane, f"Z{plane:04d}.tif", "0" * 64) for plane in range(n_planes)]
    write_tsv(root / f"code/catnip2bids/pixels/{image}.tsv", ("plane", "source", "sha256"), *rows)


def write_raw(root: Path, pixels: npt.NDArray[Any]) -> None:
    write_json(
        root / "dataset_description.json",
        {**BIDS, "Name": "c-Fos", "DatasetType": "raw", "GeneratedBy": [TOOL], "SourceDatasets": ARCHIVE},
    )
    (root / "README.md").write_text("# A dataset made up for tests\n\n" + "It holds noise. " * 20, encoding="utf-8")
    (root / "CHANGES").write_text("1.0.0 2025-01-01\n  - Initial release.\n", encoding="utf-8")
    write_tsv(root / "participants.tsv", ("participant_id", "species"), (SUB, "mus musculus"))
    write_json(root / "participants.json", {"species": {"Description": "Species"}})
    write_samples(root)
    write_json(root / "SPIM.json", {"BodyPart": "BRAIN", "SampleStaining": "c-Fos", "Description": "N4"})
    raw = root / SUB / "micr" / f"{BASE}_SPIM.ome.zarr"
    write_ome_zarr(raw, pixels, NATIVE_XYZ_UM)
    labels = zarr.open_group(raw / "labels", mode="w", zarr_format=3)
    labels.attrs["ome"] = {"version": "0.5", "labels": ["atlas"]}
    write_ome_zarr(raw / "labels" / "atlas", pixels % 3, NATIVE_XYZ_UM, is_label=True)
    write_json(raw.with_name(f"{BASE}_SPIM.json"), {"PixelSize": NATIVE_XYZ_UM, "PixelSizeUnits": "um"})
    write_records(root, raw.name, SHAPE[0])
    write_tsv(root / SUB / f"{SUB}_scans.tsv", ("filename", "acq_time"), (f"micr/{raw.name}", "2021-08-10T14:48:50"))


def write_samples(dataset: Path) -> None:
    write_tsv(
        dataset / "samples.tsv",
        ("sample_id", "participant_id", "sample_type"),
        ("sample-LeftHemisphere", SUB, "tissue"),
    )
    write_json(dataset / "samples.json", {"Description": "Samples", "sample_type": {"Description": "Sample type"}})


def write_derivative(root: Path, pixels: npt.NDArray[Any]) -> None:
    catnip = root / "derivatives/catnip"
    links = {"raw": "../..", "archive": "https://example.org/dataset"}
    write_json(
        catnip / "dataset_description.json",
        {
            **BIDS,
            "Name": "CATNIP",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "catnip"}, TOOL],
            "SourceDatasets": ARCHIVE,
            "DatasetLinks": links,
        },
    )
    (catnip / "README.md").write_text("# Outputs made up for tests\n\n" + "They are noise. " * 20, encoding="utf-8")
    write_samples(catnip)
    write_tsv(catnip / "dseg.tsv", ("index", "name"), *LABELS.items())
    write_json(catnip / "dseg.json", {"Description": "Regions", "SpatialReference": "orig", "Manual": False})

    def put(kind: str, extension: str, xyz_um: Sequence[float], source: str) -> Path:
        image = catnip / SUB / "micr" / f"{BASE}_{kind}_SPIM{extension}"
        sidecar = {"PixelSize": xyz_um, "PixelSizeUnits": "um", "Description": kind, "SpatialReference": "orig"}
        write_json(image.with_name(f"{BASE}_{kind}_SPIM.json"), {**sidecar, "Sources": [source]})
        write_records(root, image.name.removesuffix(extension), SHAPE[0])
        return image

    raw = f"bids:raw:{SUB}/micr/{BASE}_SPIM.ome.zarr"
    frst = put("desc-FRST", ".ome.zarr", NATIVE_XYZ_UM, raw)
    write_ome_zarr(frst, pixels, NATIVE_XYZ_UM, version="0.4")
    own = f"bids::{SUB}/micr/{frst.name}"
    atlas = put("space-orig_desc-atlas", ".ome.zarr", NATIVE_XYZ_UM, "bids:archive:elsewhere")
    write_ome_zarr(atlas, pixels % 3, NATIVE_XYZ_UM, is_label=True)
    for threshold, extension in ((10000, ".ome.tif"), (15000, ".ome.btf")):
        heat = put(f"space-CATNIPv2_desc-heatmap{threshold}", extension, ATLAS_XYZ_UM, own)
        write_ome_tiff(heat, pixels.astype("f4"), ome_xml(SHAPE, ATLAS_XYZ_UM), bigtiff=extension == ".ome.btf")


def write_counts(root: Path) -> None:
    """Write tables of counts, cells and regions; a voxel has 68.45 um3."""
    counts = root / "derivatives/catnip-counts"
    write_tsv(counts / "counts.tsv", ("participant_id", *COUNTS_COLUMNS), *((SUB, *row) for row in COUNTS))
    of_sample = counts / SUB / "micr" / f"{BASE}_desc-FRSTseg10000_counts.tsv"
    write_tsv(of_sample, COUNTS_COLUMNS, *COUNTS)
    place = (1.5, 2, 3, 7.5, 7.4, 11.1, 9, 616.05)
    cells = [(*place, 1, LABELS[1], "true"), (*place, 1, LABELS[1], "true"), (*place, 2, LABELS[2], "false")]
    write_cells(of_sample.with_name(f"{BASE}_desc-FRSTseg10000_cells.tsv.gz"), CELLS_COLUMNS, *cells)
    uncounted = of_sample.with_name(f"{BASE}_desc-FRSTseg10000_uncounted.tsv.gz")
    write_cells(uncounted, (*CELLS_COLUMNS[:8], "reason"), (*place, "outside"), (*place, "no region"))
    regions = [(1, LABELS[1], "TMv", 557, 1, "#ff4e56"), (2, LABELS[2], "IC", "n/a", 0, "#ff98ff")]
    columns = ("index", "name", "abbreviation", "parent", "depth", "color")
    write_tsv(counts / "regions.tsv", columns, *regions, (557, "TM", "TM", "n/a", 0, "n/a"))


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without a fault; not to be changed."""
    root = tmp_path_factory.mktemp("validate") / "good"
    pixels = np.random.default_rng(0).integers(1, 60000, SHAPE, dtype="u2")
    write_raw(root, pixels)
    write_derivative(root, pixels)
    write_counts(root)
    write_tsv(root / "sourcedata/catnip/FRSTseg.csv", ("1,2,3",))
    write_json(root / "code/catnip2bids/provenance.json", {"decisions": []})
    return root


@pytest.fixture
def dataset(good: Path, tmp_path: Path) -> Path:
    """A copy of the good dataset, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "dataset"))
