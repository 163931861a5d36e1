"""The items of a run, from provenance alone."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from typing import Literal

from catnip2bids.bids.provenance import Decision, ImageRecord, Provenance, RunRecord
from catnip2bids.restoration.restorable import NotRestorable, VolumeItem, items_of

KEY = "sub-1_sample-W_stain-c"
RUN = RunRecord(name="r", source="r", source_id=None, subject="1", sample="W", stain="c", layout="x")
IMAGE = ImageRecord(
    source="i", role="raw", shape=(1, 1, 1), dtype="uint8", voxel_size_um=(1, 1, 1), value_range=(0, 0), fingerprint="x"
)


def decision(path: str, action: Literal["convert", "exclude"]) -> Decision:
    return Decision(run=KEY, source=f"r/{path}", action=action, reason="")


def test_many_images_and_decisions_take_little_time() -> None:
    n = 2000
    images = {
        f"sub-1/micr/{KEY}_desc-{number}_SPIM.ome.zarr": IMAGE.model_copy(update={"source": f"i{number}"})
        for number in range(n)
    }
    decisions = [decision(f"i{number}", "convert") for number in range(n)]
    decisions += [decision(f"f{number}", "exclude") for number in range(n)]
    provenance = Provenance(runs={KEY: RUN.model_copy(update={"images": images})}, decisions=decisions)
    start = time.process_time()
    items = list(items_of(provenance, KEY))
    assert time.process_time() - start < 5
    assert items[0] == VolumeItem("i0", PurePosixPath(f"sub-1/micr/{KEY}_desc-0_SPIM.ome.zarr"))
    assert items[-1] == NotRestorable("f999", "")
