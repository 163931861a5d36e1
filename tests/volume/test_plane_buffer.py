"""Values come out of a buffer as they were put in, and nothing is left on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catnip2bids.errors import SourceError
from catnip2bids.volume.plane_buffer import PlaneBuffer
from made_up import some_image


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float32"])
def test_values_come_out_as_they_were_put_in(tmp_path: Path, dtype: str, in_memory: bool) -> None:
    planes = some_image((5, 17, 13)).astype(dtype)
    buffer = PlaneBuffer(planes.size, planes.dtype, in_memory=in_memory, folder=tmp_path)
    for index in (3, 0, 4):
        buffer.put(index * 17 * 13, planes[index].reshape(-1))
    buffer.fill(17 * 13, 2 * 17 * 13, lambda out: np.copyto(out.reshape(2, 17, 13), planes[1:3]))
    for start, stop in [(0, 1), (1, 900), (17 * 13, 2 * 17 * 13), (0, planes.size)]:
        np.testing.assert_array_equal(buffer.get(start, stop - start), planes.reshape(-1)[start:stop])
    assert buffer.memory_bytes == (planes.nbytes if in_memory else 0)
    assert list(tmp_path.iterdir()) == []
    buffer.close()
    assert list(tmp_path.iterdir()) == []


def test_values_that_were_never_put_in_are_an_error(tmp_path: Path) -> None:
    buffer = PlaneBuffer(70, np.dtype("uint16"), in_memory=False, folder=tmp_path)
    buffer.put(0, np.zeros(35, "uint16"))
    with pytest.raises(SourceError, match="disappeared"):
        buffer.get(35, 35)
    buffer.close()
