"""Places in a dataset: what is kept as it is lies under the labels of its run."""

from __future__ import annotations

import pytest

from catnip2bids.bids.dataset_paths import copy_of
from catnip2bids.bids.names import run_name


@pytest.mark.parametrize(
    ("stain", "entry", "place"),
    [
        ("cFos", "640_FRST_seg/a.csv", "sub-1ko_sample-LeftHemisphere/640_FRST_seg/a.csv"),
        ("NeuN", "log.txt", "sub-1ko_sample-LeftHemisphere_stain-NeuN/log.txt"),
        ("cFos", "../640_log.txt", "sub-1ko_sample-LeftHemisphere/640_log.txt"),
    ],
    ids=["the stain of nearly all", "another stain", "beside the run folder"],
)
def test_copies_lie_under_the_labels_of_their_run(stain: str, entry: str, place: str) -> None:
    copy = copy_of(run_name("1ko", "LeftHemisphere", stain), entry)
    assert copy.as_posix() == f"sourcedata/catnip/{place}"
