"""One volume to OME-Zarr and to OME-TIFF: slices, a TIFF stack, NIfTI, or either of the two."""

from pathlib import Path

import catnip2bids
from catnip2bids.demo import write_cohort

COHORT = Path("cohort")
if not COHORT.exists():
    write_cohort(COHORT, shape=(12, 40, 36))  # made up; put your own there instead

VOXEL_SIZE_UM = (3.7, 3.7, 5.0)
image = next(COHORT.rglob("*_N4"))
labels = next(COHORT.rglob("atlaslabel_def_origspace"))

made = catnip2bids.convert(image, "brain.ome.zarr", VOXEL_SIZE_UM, overwrite=True)
print(made)
print(f"sha256 of the first plane: {made.sha256[0]}")

# labels are never averaged in lower resolution levels
print(catnip2bids.convert(labels, "regions.ome.zarr", VOXEL_SIZE_UM, catnip2bids.Kind.LABELS, overwrite=True))

# .ome.btf is BigTIFF; compressed pixels are copied as they are where that is possible
made = catnip2bids.convert(image, "brain.ome.btf", VOXEL_SIZE_UM, pyramid=True, overwrite=True)
print(f"{made}, {made.how}")

# any volume is an array (z, y, x) that is read when it is indexed
brain = catnip2bids.open_volume("brain.ome.zarr")
print(f"{brain}, mean of plane 6: {brain[5].mean():.1f}")
