"""The spool: what comes out is what was put in, and nothing is left on disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from catnip2bids.engine.spool import Spool
from catnip2bids.errors import SourceError
from in_memory import PlaneInMemory
from made_up import Array, some_image


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32"])
def test_rows_come_out_as_they_were_put_in(tmp_path: Path, dtype: str, on_disk: bool) -> None:
    planes = some_image((5, 17, 13)).astype(dtype)
    spool = Spool(5, (17, 13), planes.dtype, tmp_path if on_disk else None)
    order = [3, 0, 4, 2, 1]
    spooled = {index: spool.fill(index, PlaneInMemory(planes[index], index, Counter())) for index in order}
    for index, plane in spooled.items():
        for start, stop in [(0, 1), (1, 9), (9, 17), (0, 17)]:
            rows: Array = np.empty((stop - start, 13), dtype)
            plane.read_rows(start, stop, rows)
            np.testing.assert_array_equal(rows, planes[index, start:stop])
        plane.close()
    assert list(tmp_path.iterdir()) == []
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_plane_that_was_never_put_in_is_an_error(tmp_path: Path) -> None:
    planes = some_image((2, 5, 7))
    spool = Spool(2, (5, 7), planes.dtype, tmp_path)
    spool.fill(0, PlaneInMemory(planes[0], 0, Counter()))
    with pytest.raises(SourceError, match="is gone"):
        spool.read_rows(1, 0, 5, np.empty((5, 7), planes.dtype))
    spool.close()
