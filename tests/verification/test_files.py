"""Files and images that came into a dataset from elsewhere, without a pipeline."""

from __future__ import annotations

import time
from pathlib import Path

from catnip2bids.bids.checksums import Checksums
from catnip2bids.bids.provenance import Provenance
from catnip2bids.verification.files import missing_lines, unlisted_images


def test_images_are_found_anywhere_outside_of_other_images(tmp_path: Path) -> None:
    for name in (
        "derivatives/catnip/extra.ome.tif",
        "sub-1/extra.ome.btf",
        "derivatives/catnip/tables.ome.tif/x.tsv",
        "mine/.data.lock/a.ome.zarr/labels/b.ome.zarr/zarr.json",
        "sourcedata/catnip/a.ome.tif",
        "docs/a.ome.tif",
        ".git/a.ome.tif",
        "sub-1/micr/.a.ome.zarr.partial/b.ome.tif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(unlisted_images(tmp_path, Provenance())) == [
        "derivatives/catnip/extra.ome.tif",
        "derivatives/catnip/tables.ome.tif",
        "mine/.data.lock/a.ome.zarr",
        "sub-1/extra.ome.btf",
    ]


def test_deep_paths_in_the_checksums_take_little_time() -> None:
    files = {f"{number}/" + "a/" * 60 + "b" * 400: "" for number in range(20_000)}
    start = time.process_time()
    missing = missing_lines(Provenance(), Checksums(files, True))
    assert time.process_time() - start < 1
    assert "README.md" in missing
