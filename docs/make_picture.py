"""Draw docs/demo.png from the demo dataset: python docs/make_picture.py DEMO_FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from PIL import Image, ImageDraw, ImageFont

RUN = "sub-10002wt_sample-RightHemisphere_stain-cFos"
PLANE = 0.45  # of the depth
Rgb = npt.NDArray[np.uint8]


def read(path: Path) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Read one plane of an image at full resolution, and the OME metadata."""
    group = zarr.open_group(path, mode="r")
    array = group["0"]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{path}: 0 is not an array")
    ome: Any = group.attrs["ome"]
    return np.asarray(array[int(array.shape[0] * PLANE)]), dict(ome)


def gray(plane: npt.NDArray[Any], ome: dict[str, Any]) -> Rgb:
    """Show a plane in the display window of its metadata."""
    window = ome["omero"]["channels"][0]["window"]
    scaled = (plane.astype(float) - window["start"]) / (window["end"] - window["start"])
    return np.repeat((np.clip(scaled, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def colored(labels: npt.NDArray[Any], ome: dict[str, Any]) -> Rgb:
    """Show labels in the colours of the metadata."""
    table = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    for color in ome["image-label"]["colors"]:
        if color["label-value"] < len(table):
            table[color["label-value"]] = color["rgba"][:3]
    return np.asarray(table[labels])


def hot(plane: npt.NDArray[Any], ome: dict[str, Any]) -> Rgb:
    """Show a heat map from black over red and yellow to white."""
    level = gray(plane, ome)[..., 0].astype(float) / 255 * 3
    return np.stack([np.clip(level - i, 0, 1) * 255 for i in range(3)], axis=2).astype(np.uint8)


def main(demo: Path) -> None:
    """Put four views side by side."""
    dataset = demo / "dataset"
    micr = Path("sub-10002wt/micr")
    derived = dataset / "derivatives/catnip" / micr
    image = gray(*read(dataset / micr / f"{RUN}_SPIM.ome.zarr"))
    labels, label_ome = read(derived / f"{RUN}_space-orig_desc-atlas_SPIM.ome.zarr")
    cells, _ = read(derived / f"{RUN}_space-orig_desc-FRSTseg10000_SPIM.ome.zarr")
    heat = hot(*read(derived / f"{RUN}_space-CATNIPv2_desc-heatmap10000_SPIM.ome.zarr"))
    atlas = np.where(labels[..., None] > 0, 0.45 * image + 0.55 * colored(labels, label_ome), image).astype(np.uint8)
    segmented = np.where(cells[..., None] > 0, np.array([255, 214, 64], np.uint8), image // 2).astype(np.uint8)
    views = [
        ("image: *_SPIM", image),
        ("regions: desc-atlas", atlas),
        ("cells: desc-FRSTseg10000", segmented),
        ("heat map: desc-heatmap10000", heat),
    ]
    height, width, gap, caption = 480, 408, 12, 34
    sheet = Image.new("RGB", (4 * width + 5 * gap, height + caption + 2 * gap), (16, 18, 24))
    draw = ImageDraw.Draw(sheet)
    for column, (text, view) in enumerate(views):
        left = gap + column * (width + gap)
        sheet.paste(Image.fromarray(view).resize((width, height), Image.Resampling.LANCZOS), (left, gap))
        draw.text((left + 4, height + gap + 8), text, fill=(225, 228, 235), font=ImageFont.load_default(18))
    sheet.quantize(128).save(Path(__file__).with_name("demo.png"), optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
