"""A volume as level 0 of an OME-Zarr image, version 0.5 (zarr v3) or 0.4 (zarr v2).

Invariant: each chunk is decoded once, though chunks are blocks and planes are asked for one after the other. All planes
of a row of chunks along z are a layer. What is decoded of a layer is kept as long as a plane of it is open or was not
read yet, in memory or, where layers are large, in a file without a name. A chunk that is not stored is the fill value,
as the specification has it (zarr v3, "Fill value"); one that cannot be decoded is an error.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import threading
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from catnip2bids.errors import ReadError, SourceError, WriteError
from catnip2bids.volume.census import Census, size_on_disk
from catnip2bids.volume.planes import OpenPlane
from catnip2bids.volume.volume import PlaneSource

Zyx = tuple[int, int, int]

LARGEST_LAYER_BYTES = 256 * 2**20
"""Layers of up to this size are kept in memory, as many as fit in it but at least two; larger ones on disk."""
TILE_BYTES = 32 * 2**20
"""Chunks of a row that make about this much are decoded at a time, so that they keep several processors busy."""
_LEAST_LAYERS = 2  # who reads several planes at a time is at the border of two layers now and then
_DECODING = 3  # chunks that are decoded are in memory encoded, decoded, and put together

_SPATIAL = ("z", "y", "x")
_DOCUMENTS = ("zarr.json", ".zattrs", ".zgroup")
_COUNTED = {"c": "channels", "t": "time points"}
_TYPES = tuple(map(np.dtype, ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")))
# units of length of OME-Zarr ("axes"), as powers of ten of a micrometer
_POWERS = {
    "angstrom": -4,
    "picometer": -6,
    "nanometer": -3,
    "micrometer": 0,
    "millimeter": 3,
    "centimeter": 4,
    "decimeter": 5,
    "meter": 6,
}
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


@dataclass(frozen=True)
class ZarrVolume:
    """A volume stored as level 0 of an OME-Zarr image.

    Attributes
    ----------
    path
        The folder of the image.
    level
        Where the array of level 0 is, below the image.
    axes
        Names of all axes of the array; those that are not z, y and x have the length 1.
    shape
        Number of voxels along (z, y, x).
    dtype
        Type of the values, in native byte order.
    chunk
        Voxels (z, y, x) of what is decoded as a whole: of an inner chunk, where there are shards.
    voxel_size_um
        Voxel size (x, y, z) in micrometers; None where the metadata does not tell.
    """

    path: Path
    level: str
    axes: tuple[str, ...]
    shape: Zyx
    dtype: np.dtype[Any]
    chunk: Zyx
    voxel_size_um: tuple[float, float, float] | None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of level 0 that are there now, and the image's metadata."""
        documents = [self.path / name for name in _DOCUMENTS if (self.path / name).is_file()]
        stored = [file for file in (self.path / self.level).rglob("*") if file.is_file()]
        return tuple(sorted({*documents, *stored}))

    def plane_source(self, plane: int) -> PlaneSource:
        """Return the index of a plane along z."""
        return PlaneSource(self.path, plane)

    @property
    def reads_rows(self) -> bool:
        """Whether rows can be read one after the other; they can, since what was decoded is kept."""
        return True

    @property
    def unpacked_bytes(self) -> int:
        """Memory that layers take, and the chunks that are decoded."""
        grid = self._grid
        return grid.layers_bytes + _DECODING * grid.tile_bytes

    @property
    def kept_bytes(self) -> int:
        """Nothing: open planes share layers."""
        return 0

    @property
    def decoding_bytes(self) -> int:
        """Nothing: rows can be read."""
        return 0

    def open_plane(self, plane: int) -> OpenPlane:
        """Open a plane; planes of one layer share what was decoded of it."""
        layers = _layers_of(self)
        return _LayerPlane(layers, layers.open(plane), plane)

    @property
    def _grid(self) -> _Grid:
        return _Grid(self.shape, self.chunk, self.dtype)


def is_ome_zarr(path: Path) -> bool:
    """Tell whether a path is the folder of an OME-Zarr image: by its name, or else by the metadata in it."""
    if not path.is_dir():
        return False
    if path.suffix.lower() == ".zarr":
        return True
    try:
        _read_multiscale(path)
    except SourceError:
        return False
    return True


def census_zarr(path: Path) -> Census:
    """Take the census of one OME-Zarr image from its metadata, and list the files of its level 0."""
    try:
        volume = _describe(path)
    except SourceError as error:
        documents = [path / name for name in _DOCUMENTS if (path / name).is_file()]
        return Census(None, len(documents), sum(map(size_on_disk, documents)), (str(error),))
    files = volume.files
    empty = f"{path}: has no chunk stored, so all its voxels are the fill value; is that right?"
    has_chunks = any(not file.name.startswith(".") and file.name != "zarr.json" for file in files)
    return Census(volume, len(files), sum(map(size_on_disk, files)), warnings=() if has_chunks else (empty,))


@dataclass(frozen=True)
class _Multiscale:
    """What the metadata of an image tells about its level 0."""

    level: str
    axes: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] | None


def _describe(path: Path) -> ZarrVolume:
    """Find out what level 0 of an image is.

    Raises
    ------
    SourceError
        If it cannot be read as a volume.
    """
    image = _read_multiscale(path)
    array = _open_array(path, image.level)
    if array.rank != len(image.axes):
        raise SourceError(
            f"{path}: its array {image.level} has {array.rank} axes and its metadata names {len(image.axes)}; "
            "replace it by the original"
        )
    for axis, length in zip(image.axes, array.shape, strict=True):
        if axis not in _SPATIAL and length != 1:
            counted = _COUNTED.get(axis, f"places along its axis {axis}")
            raise SourceError(f"{path}: has {length} {counted}; save each of them as an image of its own")
    volume = array[_spatial_part(image.axes)]
    dtype = np.dtype(volume.dtype.numpy_dtype)
    if dtype not in _TYPES:
        raise SourceError(f"{path}: has values of type {volume.dtype.name}; save it as integers or as float32")
    if min(volume.shape) < 1:
        raise SourceError(f"{path}: has the shape {tuple(volume.shape)}, without any voxel; replace it by the original")
    z, y, x = (int(n) for n in volume.shape)
    depth, n_rows, n_columns = (int(n) for n in volume.chunk_layout.read_chunk.shape)
    return ZarrVolume(path, image.level, image.axes, (z, y, x), dtype, (depth, n_rows, n_columns), image.voxel_size_um)


def _spatial_part(axes: tuple[str, ...]) -> tuple[slice | int, ...]:
    return tuple(slice(None) if axis in _SPATIAL else 0 for axis in axes)


def _read_multiscale(path: Path) -> _Multiscale:
    """Read the metadata of an image: the first one of its multiscales."""
    document = path / "zarr.json"
    is_v3 = document.is_file()
    if not is_v3:
        document = path / ".zattrs"
    attributes = _read_json(document)
    match attributes:
        case {"attributes": {"ome": {"multiscales": [dict() as image, *_]}}} if is_v3:
            return _check_multiscale(image, document)
        case {"multiscales": [dict() as image, *_]} if not is_v3:
            return _check_multiscale(image, document)
    raise SourceError(f"{document}: describes no OME-Zarr image (multiscales); give the folder of the image itself")


def _read_json(document: Path) -> object:
    try:
        content: object = json.loads(document.read_bytes())
    except FileNotFoundError as error:
        raise SourceError(
            f"{document.parent}: has no metadata of OME-Zarr in it (zarr.json or .zattrs); replace it by the original"
        ) from error
    except OSError as error:
        raise ReadError(f"{document}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{document}: damaged JSON ({error}); replace it by the original") from error
    return content


def _check_multiscale(image: dict[Any, object], document: Path) -> _Multiscale:
    match image.get("datasets"):
        case [dict() as dataset, *_] if isinstance(level := dataset.get("path"), str) and level:
            pass
        case _:
            raise SourceError(f"{document}: does not tell where level 0 is (datasets); replace it by the original")
    described = image.get("axes")
    axes: tuple[str, ...] = ()
    units: list[object] = []
    for axis in described if isinstance(described, list) else ():
        match axis:
            case str(name):  # version 0.3
                axes, units = (*axes, name), [*units, None]
            case {"name": str(name)}:
                axes, units = (*axes, name), [*units, axis.get("unit")]
            case _:
                raise SourceError(f"{document}: has an axis without a name; replace it by the original")
    if tuple(axis for axis in axes if axis in _SPATIAL) != _SPATIAL:
        names = ", ".join(axes) or "none"
        raise SourceError(f"{document}: its axes are {names}; save the image with the axes z, y, x in this order")
    scales = _scale(dataset, len(axes)), _scale(image, len(axes))
    return _Multiscale(level, axes, _voxel_size_um(axes, units, scales))


def _scale(described: dict[Any, object], n_axes: int) -> list[float] | None:
    """Return the scale that a dataset or a whole image was given; None where there is none to be understood."""
    match described.get("coordinateTransformations"):
        case [*transformations]:
            for transformation in transformations:
                match transformation:
                    case {"type": "scale", "scale": [*scale]} if len(scale) == n_axes:
                        return [float(n) if isinstance(n, int | float) else math.nan for n in scale]
    return None


def _voxel_size_um(
    axes: tuple[str, ...], units: list[object], scales: tuple[list[float] | None, list[float] | None]
) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z); scales of the dataset and of the image are multiplied (OME-Zarr)."""
    of_level, of_image = scales
    if of_level is None:
        return None
    sizes = {}
    for index, (axis, unit) in enumerate(zip(axes, units, strict=True)):
        size, power = of_level[index] * (1.0 if of_image is None else of_image[index]), _POWERS.get(str(unit))
        if axis in _SPATIAL and power is not None and math.isfinite(size) and size > 0:
            sizes[axis] = size * 10**power if power >= 0 else size / 10**-power  # exact powers keep 3700 nm 3.7
    return (sizes["x"], sizes["y"], sizes["z"]) if len(sizes) == len(_SPATIAL) else None


def _open_array(path: Path, level: str) -> Any:
    """Open the array of a level with tensorstore."""
    import tensorstore as ts

    folder = path / level
    driver = "zarr3" if (folder / "zarr.json").is_file() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(folder)}}
    try:
        return ts.open(spec, open=True, read=True, context=_context()).result()
    except Exception as error:
        raise _as_source_error(error, f"{path}: its array {level}") from error


@cache
def _context() -> Any:
    """Return a context that remembers nothing: what was decoded is kept in layers."""
    import tensorstore as ts

    return ts.Context({"cache_pool": {"total_bytes_limit": 0}})


def _as_source_error(error: Exception, what: str) -> SourceError:
    """Say what tensorstore found."""
    if code := _OS_ERROR.search(str(error)):
        return ReadError(f"{what} cannot be read: {os.strerror(int(code[1]))}")
    why = str(error).partition(" [")[0]  # what follows is of use to tensorstore's developers
    return SourceError(f"{what} cannot be read ({why}); replace it by the original")


@dataclass(frozen=True)
class _Grid:
    """How a volume is cut: along z into layers, these into tiles, which are whole chunks of one row of chunks."""

    shape: Zyx
    chunk: Zyx
    dtype: np.dtype[Any]

    @property
    def tile_width(self) -> int:
        """Columns of a tile."""
        chunk_bytes = math.prod(self.chunk) * self.dtype.itemsize
        return max(TILE_BYTES // chunk_bytes, 1) * self.chunk[2]

    @property
    def tile_bytes(self) -> int:
        """Memory of a tile, and of what its chunks have beyond the volume."""
        n_columns = math.ceil(self.shape[2] / self.chunk[2]) * self.chunk[2]
        return self.chunk[0] * self.chunk[1] * min(self.tile_width, n_columns) * self.dtype.itemsize

    @property
    def layer_bytes(self) -> int:
        """Bytes of a whole layer."""
        n_planes, n_rows, n_columns = self.shape
        return min(self.chunk[0], n_planes) * n_rows * n_columns * self.dtype.itemsize

    @property
    def layers_bytes(self) -> int:
        """Memory of all layers together, at the most; none if they are on disk."""
        if self.layer_bytes > LARGEST_LAYER_BYTES:
            return 0
        volume_bytes = math.prod(self.shape) * self.dtype.itemsize
        return min(max(_LEAST_LAYERS * self.layer_bytes, LARGEST_LAYER_BYTES), volume_bytes)

    @property
    def n_kept(self) -> int:
        """Number of layers that are kept while planes of them are still to come."""
        return max(self.layers_bytes // self.layer_bytes, _LEAST_LAYERS)

    def layer(self, number: int) -> range:
        """Return the planes of a layer."""
        return range(number * self.chunk[0], min((number + 1) * self.chunk[0], self.shape[0]))


class _Layers:
    """The layers of an image that planes are open of, or still to come."""

    def __init__(self, volume: ZarrVolume) -> None:
        self._path, self._grid = volume.path, volume._grid
        self._array = _open_array(volume.path, volume.level)[_spatial_part(volume.axes)]
        self._opening, self._decoding = threading.Lock(), threading.Lock()
        self._layers: dict[int, _Layer] = {}

    def open(self, plane: int) -> _Layer:
        """Return the layer of a plane, which has to be closed again."""
        number = plane // self._grid.chunk[0]
        with self._opening:
            layer = self._layers.pop(number, None)
            if layer is None:
                self._let_go(self._grid.n_kept - 1)
                layer = self._new_layer(number)
            self._layers[number] = layer  # those used longest ago come first
            layer.n_open += 1
            return layer

    def close(self, plane: int) -> None:
        """Close the layer of a plane that was read."""
        with self._opening:
            layer = self._layers[plane // self._grid.chunk[0]]
            layer.n_open -= 1
            layer.to_come.discard(plane)
            self._let_go(self._grid.n_kept)

    def _new_layer(self, number: int) -> _Layer:
        planes, grid = self._grid.layer(number), self._grid
        n_values = len(planes) * grid.shape[1] * grid.shape[2]
        in_memory = sum(layer.room.memory_bytes for layer in self._layers.values())
        fits = in_memory + n_values * grid.dtype.itemsize <= grid.layers_bytes
        room = _Memory(n_values, grid.dtype) if fits else _File(grid.dtype)
        return _Layer(_Chunks(self._path, self._array, grid, self._decoding), planes, room)

    def _let_go(self, n_kept: int) -> None:
        """Let go of layers without open planes: those that were read, and of the others all but so many."""
        for number, layer in list(self._layers.items()):
            if layer.n_open == 0 and (not layer.to_come or len(self._layers) > n_kept):
                del self._layers[number]
                layer.room.close()


@dataclass(frozen=True)
class _Chunks:
    """The chunks of an image.

    Attributes
    ----------
    path
        The image.
    array
        The array with axes (z, y, x), as tensorstore has it.
    grid
        How it is cut.
    lock
        Held by the thread that decodes, so that the memory for it is needed once; tensorstore uses all processors.
    """

    path: Path
    array: Any
    grid: _Grid
    lock: threading.Lock

    def decode(self, planes: slice, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Decode some chunks; tensorstore raises errors of many types."""
        return np.asarray(self.array[planes, rows, columns].read(order="C").result())


class _Layer:
    """Some planes, of which tile after tile is decoded when it is needed first.

    Attributes
    ----------
    room
        Where the tiles are, one after the other.
    n_open
        Number of its planes that are open.
    to_come
        Its planes that were not opened and closed yet.
    """

    def __init__(self, chunks: _Chunks, planes: range, room: _Room) -> None:
        self.room, self.n_open, self.to_come = room, 0, set(planes)
        self._chunks, self._planes = chunks, planes
        self._decoded: set[tuple[int, int]] = set()

    def read_rows(self, plane: int, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) of a plane into `out` of shape (stop - start, x)."""
        grid = self._chunks.grid
        (_, n_rows, n_columns), height, width = grid.shape, grid.chunk[1], grid.tile_width
        for top in range(start // height * height, stop, height):
            bottom = min(top + height, n_rows)
            low, high = max(start, top), min(stop, bottom)
            for left in range(0, n_columns, width):
                right = min(left + width, n_columns)
                begin = len(self._planes) * (top * n_columns + (bottom - top) * left)
                if (top, left) not in self._decoded:
                    self._decode(plane, slice(top, bottom), slice(left, right), begin)
                before = (plane - self._planes.start) * (bottom - top) + low - top
                values = self.room.get(begin + before * (right - left), (high - low) * (right - left))
                out[low - start : high - start, left:right] = values.reshape(high - low, right - left)

    def _decode(self, plane: int, rows: slice, columns: slice, begin: int) -> None:
        """Decode a tile that `plane` needs, unless another thread did so in the meantime."""
        chunks, tile = self._chunks, (rows.start, columns.start)
        with chunks.lock:
            if tile in self._decoded:
                return
            try:
                values = chunks.decode(slice(self._planes.start, self._planes.stop), rows, columns)
            except Exception as error:
                what = f"{chunks.path}: plane {plane + 1}, rows {rows.start + 1} to {rows.stop},"
                raise _as_source_error(error, what) from error
            self.room.put(begin, values.reshape(-1))
            self._decoded.add(tile)


class _Room(Protocol):
    """Room for the values of a layer."""

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes."""

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""

    def close(self) -> None:
        """Free the room."""


class _Memory:
    """Room in memory."""

    def __init__(self, n_values: int, dtype: np.dtype[Any]) -> None:
        self._values: npt.NDArray[Any] = np.empty(n_values, dtype)

    @property
    def memory_bytes(self) -> int:
        """Memory that it takes."""
        return self._values.nbytes

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""
        self._values[at : at + len(values)] = values

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""
        return self._values[at : at + n_values]

    def close(self) -> None:
        """Do nothing: nobody refers to it any more."""


class _File:
    """Room on disk, in a file without a name in the system's folder for temporary files."""

    memory_bytes: ClassVar[int] = 0

    def __init__(self, dtype: np.dtype[Any]) -> None:
        file = _file_without_name()
        self._dtype, self._descriptor = dtype, file.fileno()
        self._close = weakref.finalize(self, file.close)

    def put(self, at: int, values: npt.NDArray[Any]) -> None:
        """Keep some values, the first of which is number `at`."""
        data, place = values.view(np.uint8).data, at * self._dtype.itemsize
        try:
            while len(data):
                n_written = os.pwrite(self._descriptor, data, place)
                data, place = data[n_written:], place + n_written
        except OSError as error:
            raise _cannot_write(error) from error

    def get(self, at: int, n_values: int) -> npt.NDArray[Any]:
        """Return `n_values` values from number `at` on."""
        values = np.empty(n_values, self._dtype)
        data, place = values.view(np.uint8).data, at * self._dtype.itemsize
        while len(data):
            n_read = os.preadv(self._descriptor, [data], place)
            if n_read == 0:
                raise SourceError(f"{tempfile.gettempdir()}: what was kept there for a while is gone; run again")
            data, place = data[n_read:], place + n_read
        return values

    def close(self) -> None:
        """Free the room."""
        self._close()


def _file_without_name() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(buffering=0)
    except OSError as error:
        raise _cannot_write(error) from error


def _cannot_write(error: OSError) -> WriteError:
    return WriteError(
        f"{tempfile.gettempdir()}: cannot be written: {error.strerror}; free space, or set TMPDIR to another folder, "
        "and run again"
    )


@dataclass(frozen=True)
class _LayerPlane:
    """An open plane."""

    layers: _Layers
    layer: _Layer
    plane: int
    reads_rows: ClassVar[bool] = True

    def read_rows(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        """Read the rows `start` to `stop` (exclusive) into `out` of shape (stop - start, x)."""
        self.layer.read_rows(self.plane, start, stop, out)

    def close(self) -> None:
        """Close the plane; its layer goes with the last one."""
        self.layers.close(self.plane)


# By identity, for as long as the volume is there: a volume that a later census found may not get what was decoded
# before, because files may have been mended in between.
_in_use: dict[int, _Layers] = {}
_opening = threading.Lock()


def _layers_of(volume: ZarrVolume) -> _Layers:
    """Return the layers that all open planes of a volume share."""
    with _opening:
        found = _in_use.get(id(volume))
        if found is None:
            if _describe(volume.path) != volume:
                raise SourceError(f"{volume.path}: is not what it was; did the file change?")
            found = _in_use[id(volume)] = _Layers(volume)
            weakref.finalize(volume, _in_use.pop, id(volume), None).atexit = False
        return found
