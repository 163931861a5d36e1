"""Read images, regions and counts of a dataset with libraries that know nothing of catnip2bids."""

import csv
from pathlib import Path

import numpy as np
import zarr

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

DATASET = Path("dataset")
catnip2bids.package(COHORT, DATASET, voxel_size_um=(3.7, 3.7, 5.0))  # a moment, if it is there

derivative = DATASET / "derivatives/catnip"
image_path = next(DATASET.glob("sub-*/micr/*_SPIM.ome.zarr"))
labels_path = next(derivative.glob(f"{image_path.parent.relative_to(DATASET)}/*_space-orig_desc-atlas_SPIM.ome.zarr"))

# level 0 is what CATNIP wrote, as (z, y, x); levels 1, 2, ... of large images are smaller versions
image = np.asarray(zarr.open_array(image_path / "0", mode="r")[:])
labels = np.asarray(zarr.open_array(labels_path / "0", mode="r")[:])
print(f"{image_path.name}: {image.shape} {image.dtype}")

with (derivative / "dseg.tsv").open(encoding="utf-8") as table:
    names = {int(row["index"]): row["name"] for row in csv.DictReader(table, delimiter="\t")}
for region in np.unique(labels[labels > 0])[:3]:
    print(f"{names[int(region)]}: mean intensity {image[labels == region].mean():.1f}")

with (DATASET / "derivatives/catnip-counts/counts.tsv").open(encoding="utf-8") as table:
    rows = [row for row in csv.DictReader(table, delimiter="\t") if row["cell_count"] != "n/a"]
most = max(rows, key=lambda row: int(row["cell_count"]))
print(f"most cells: {most['cell_count']} in {most['name']} of {most['participant_id']}")
