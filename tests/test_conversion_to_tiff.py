"""One volume to one OME-TIFF, from Python and from the command line, whatever happens meanwhile."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile

import catnip2bids
from catnip2bids.enums import Compression
from catnip2bids.errors import Catnip2bidsError, DatasetError, SourceError, UsageError
from catnip2bids.locks import lock_output
from catnip2bids.ome import tiff_directory
from catnip2bids.progress import Progress
from catnip2bids.volume import Kind, plane_sha256
from fork_server import forked
from in_process import called
from killing_conversions import BYTES_PER_MARKER, LARGEST_LAST_LEVEL, MOMENTS, convert_until
from made_up import DEFLATE, FLAVOURS, LZW, Flavour, some_image, some_labels, write_slices, write_tiff
from ome_tiffs import halved, levels_of, ome_of, same_bits, segments_of
from runs import files_of, level, state_of

VOXEL_UM = (3.7, 3.7, 5.0)
PLANES = some_image((12, 70, 65))
HASHES = tuple(map(plane_sha256, PLANES))
USUAL = Flavour(DEFLATE, rows_per_strip=4)
both = pytest.mark.parametrize("ending", [".ome.btf", ".ome.tif"])


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    write_slices(tmp_path / "slices", PLANES, flavour=USUAL)
    return tmp_path / "slices"


def convert_by_command(*words: object) -> tuple[int, str]:
    """Run the command; returns its exit code and what it said, on one line."""
    done = called("convert", *words, "--voxel-size", 3.7, 3.7, 5)
    assert done.stdout == ""
    return done.returncode, " ".join(done.stderr.split())


def names_in(folder: Path) -> set[str]:
    """List everything in a folder, hidden things too, but for the slices."""
    return {path.name for path in folder.iterdir()} - {"slices"}


# ---- what is made


def test_large_planes_stand_at_the_same_place_of_a_page_as_before(tmp_path: Path) -> None:
    planes = some_image((3, 1200, 600))
    write_slices(tmp_path / "slices", planes, flavour=Flavour(rows_per_strip=100))
    made = catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.btf", VOXEL_UM)
    with tifffile.TiffFile(made.path) as image:
        for page, path in zip(image.pages, sorted((tmp_path / "slices").iterdir()), strict=True):
            with tifffile.TiffFile(path) as source:
                assert page.dataoffsets[0] % 4096 == source.pages.first.dataoffsets[0] % 4096 != 0
    assert np.array_equal(tifffile.imread(made.path), planes)


@both
@pytest.mark.parametrize("as_stack", [True, False])
def test_slices_and_stacks_become_one_file(tmp_path: Path, slices: Path, ending: str, as_stack: bool) -> None:
    source = write_tiff(tmp_path / "stack.tif", PLANES, USUAL) if as_stack else slices
    made = catnip2bids.convert(source, tmp_path / f"image{ending}", VOXEL_UM)
    assert (made.shape, made.dtype, made.sha256) == (PLANES.shape, "uint16", ())
    assert made.how == "pixels copied as they are stored (Deflate)"
    assert same_bits(levels_of(made.path)[0], PLANES)
    files = [source] if as_stack else sorted(slices.iterdir())
    assert segments_of(made.path) == [segments for file in files for segments in segments_of(file)]
    with tifffile.TiffFile(made.path) as written:
        assert written.is_bigtiff == (ending == ".ome.btf")
    image = ome_of(made.path)
    assert image.name == "image"
    sizes = (image.pixels.physical_size_x, image.pixels.physical_size_y, image.pixels.physical_size_z)
    assert sizes == VOXEL_UM
    assert names_in(tmp_path) == {made.path.name} | ({"stack.tif"} if as_stack else set())


def test_checked_pixels_are_hashed_and_the_file_is_the_same(tmp_path: Path, slices: Path) -> None:
    usual = catnip2bids.convert(slices, tmp_path / "1/image.ome.btf", VOXEL_UM)
    checked = catnip2bids.convert(slices, tmp_path / "2/image.ome.btf", VOXEL_UM, check=True)
    assert (usual.sha256, checked.sha256) == ((), HASHES)
    assert files_of(usual.path) == files_of(checked.path)


@pytest.mark.parametrize("compression", ["deflate", "none"])
@pytest.mark.parametrize("flavour", ["plain", "deflate-strips", "lzw"])
def test_the_compression_is_what_is_asked_for(tmp_path: Path, flavour: str, compression: str) -> None:
    source = write_tiff(tmp_path / "stack.tif", PLANES, FLAVOURS[flavour])
    made = catnip2bids.convert(source, tmp_path / "image.ome.tif", VOXEL_UM, compression=compression)
    wanted = {"deflate": DEFLATE, "none": 1}[compression]
    same = FLAVOURS[flavour].compression == wanted
    assert made.how is not None
    assert ("copied" in made.how) == same
    assert made.sha256 == (() if same else HASHES)
    assert same_bits(levels_of(made.path)[0], PLANES)
    with tifffile.TiffFile(made.path) as written:
        assert {int(page.aspage().compression) for page in written.pages} == {wanted}


@pytest.mark.parametrize("kind", Kind)
def test_a_pyramid_has_levels_of_its_kind(tmp_path: Path, kind: Kind) -> None:
    planes = some_labels((3, 523, 301)) if kind == Kind.LABELS else some_image((3, 523, 301))
    write_slices(tmp_path / "slices", planes, flavour=USUAL)
    made = catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.btf", VOXEL_UM, kind, pyramid=True)
    assert made.sha256 == tuple(map(plane_sha256, planes))
    for found, expected in zip(levels_of(made.path), halved(planes, kind, 3), strict=True):
        assert same_bits(found, expected)


@both
def test_jobs_and_memory_change_nothing(tmp_path: Path, slices: Path, ending: str) -> None:
    for number, (jobs, memory_bytes) in enumerate([(None, None), (1, 160 * 2**20), (5, 2**30)]):
        target = tmp_path / f"{number}/image{ending}"
        catnip2bids.convert(slices, target, VOXEL_UM, pyramid=True, jobs=jobs, memory_bytes=memory_bytes)
    one, two, three = (files_of(tmp_path / f"{number}") for number in range(3))
    assert one == two == three


@pytest.mark.parametrize("compression", Compression)
def test_from_slices_to_tiff_to_zarr_to_tiff_planes_keep_their_hashes(tmp_path: Path, compression: str) -> None:
    write_slices(tmp_path / "slices", PLANES, flavour=Flavour(LZW, rows_per_strip=7, big_endian=True))
    source, choices = tmp_path / "slices", {"compression": compression, "check": True}
    big = catnip2bids.convert(source, tmp_path / "1.ome.btf", VOXEL_UM, pyramid=True, **choices)  # type: ignore[arg-type]  # of a dictionary mypy does not know
    folder = catnip2bids.convert(big.path, tmp_path / "2.ome.zarr", VOXEL_UM)
    classic = catnip2bids.convert(folder.path, tmp_path / "3.ome.tif", VOXEL_UM, **choices)  # type: ignore[arg-type]
    again = catnip2bids.convert(classic.path, tmp_path / "4.ome.btf", VOXEL_UM, check=True)
    assert big.sha256 == folder.sha256 == classic.sha256 == again.sha256 == HASHES
    assert same_bits(level(folder.path), PLANES)
    for path in (big.path, classic.path, again.path):
        assert same_bits(levels_of(path)[0], PLANES)
    assert classic.how == f"pixels encoded again ({'uncompressed' if compression == 'none' else 'Deflate'})"
    assert again.how is not None
    assert again.how.startswith("pixels copied")
    assert segments_of(again.path) == segments_of(classic.path)


def test_a_single_slice_is_a_volume(tmp_path: Path) -> None:
    write_slices(tmp_path / "slices", PLANES[:1], flavour=USUAL)
    made = catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.tif", VOXEL_UM)
    assert same_bits(levels_of(made.path)[0], PLANES[:1])


def test_names_may_be_anything(tmp_path: Path) -> None:
    name = "Häm & <脳> \"1\" 'x' [a b].v2"
    write_slices(tmp_path / name, PLANES, flavour=USUAL)
    made = catnip2bids.convert(tmp_path / name, tmp_path / f"{name}.ome.tif", VOXEL_UM)
    assert same_bits(levels_of(made.path)[0], PLANES)
    assert ome_of(made.path).name == name


@pytest.mark.parametrize("ending", [".ome.btf", ".ome.tif"])
@pytest.mark.parametrize("name", ["a\x01b", "H\udce4m"], ids=["control character", "not UTF-8"])
def test_names_that_no_xml_can_hold_are_no_bug(tmp_path: Path, slices: Path, name: str, ending: str) -> None:
    """Either there is an image, or an error says what is wrong: nothing else is raised."""
    target = tmp_path / f"{name}{ending}"
    try:
        catnip2bids.convert(slices, target, VOXEL_UM)
    except Catnip2bidsError:
        assert names_in(tmp_path) == set()
    else:
        assert same_bits(levels_of(target)[0], PLANES)


# ---- what is refused


@pytest.mark.parametrize("name", ["image.tif", "image.ome.tiff", "image.btf", "image.ome.tf8", "image"])
def test_other_endings_are_refused(tmp_path: Path, slices: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.ome\.zarr, \.ome\.btf or \.ome\.tif"):
        catnip2bids.convert(slices, tmp_path / name, VOXEL_UM)
    assert names_in(tmp_path) == set()


def test_the_command_refuses_what_cannot_be_and_writes_nothing(tmp_path: Path, slices: Path) -> None:
    code, said = convert_by_command(slices, tmp_path / "image.tiff")
    assert (code, ".ome.btf" in said) == (2, True)
    for compression in ("deflate", "none"):
        code, said = convert_by_command(slices, tmp_path / "image.ome.zarr", "--compression", compression)
        assert (code, "--compression" in said) == (2, True)
    code, said = convert_by_command(slices, tmp_path / "image.ome.tif", "--compression", "jpeg")
    assert (code, "--compression" in said) == (2, True)
    assert names_in(tmp_path) == set()


@both
def test_the_command_converts_and_replaces_only_when_told(tmp_path: Path, slices: Path, ending: str) -> None:
    target = tmp_path / f"image{ending}"
    code, said = convert_by_command(slices, target, "--pyramid", "--check", "--compression", "deflate")
    assert (code, "65 x 70 x 12 voxels, uint16" in said) == (0, True)
    before = state_of(tmp_path)
    code, said = convert_by_command(slices, target)
    assert (code, "exists already" in said) == (2, True)
    assert state_of(tmp_path) == before
    other = some_image((12, 70, 65), seed=1)
    write_slices(slices, other, flavour=USUAL)
    code, said = convert_by_command(slices, target, "--overwrite")
    assert code == 0, said
    assert same_bits(levels_of(target)[0], other)
    assert names_in(tmp_path) == {target.name}


@both
def test_sources_and_images_are_kept_apart(slices: Path, ending: str) -> None:
    before = state_of(slices)
    for target in (slices / f"image{ending}", slices / f"deeper/image{ending}"):
        with pytest.raises(UsageError, match="is only read"):
            catnip2bids.convert(slices, target, VOXEL_UM, overwrite=True)
    stack = write_tiff(slices.parent / f"stack{ending}", PLANES)
    with pytest.raises(UsageError, match="is only read"):
        catnip2bids.convert(stack, stack, VOXEL_UM, overwrite=True)
    assert state_of(slices) == before


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16"])
def test_types_that_ome_tiff_has_not_are_refused_and_nothing_is_left(tmp_path: Path, dtype: str) -> None:
    write_slices(tmp_path / "slices", np.ones((3, 20, 20), dtype))
    code, said = convert_by_command(tmp_path / "slices", tmp_path / "image.ome.tif")
    assert (code, "OME-Zarr" in said, dtype in said) == (2, True, True)
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("value", [0.5, 2.0**24])
def test_labels_that_cannot_be_trusted_are_named_with_their_file(tmp_path: Path, value: float, check: bool) -> None:
    labels = np.ones((5, 20, 20), "float32")
    labels[3, 2, 1] = value
    files = write_slices(tmp_path / "slices", labels, flavour=USUAL)
    with pytest.raises(SourceError, match=re.escape(f"{files[3]}: plane 4 has labels")):
        catnip2bids.convert(tmp_path / "slices", tmp_path / "image.ome.btf", VOXEL_UM, kind="labels", check=check)
    assert names_in(tmp_path) == set()


def test_what_does_not_fit_into_a_classic_file_names_the_other_and_leaves_nothing(
    tmp_path: Path, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_directory, "_CLASSIC_BYTES", 60_000)
    with pytest.raises(UsageError, match=r"\.ome\.btf"):
        catnip2bids.convert(slices, tmp_path / "image.ome.tif", VOXEL_UM)
    assert names_in(tmp_path) == set()


@both
def test_two_programs_do_not_make_the_same_image(tmp_path: Path, slices: Path, ending: str) -> None:
    target = tmp_path / f"image{ending}"
    with lock_output(target), pytest.raises(DatasetError, match="another catnip2bids"):
        catnip2bids.convert(slices, target, VOXEL_UM)
    catnip2bids.convert(slices, target, VOXEL_UM)
    assert names_in(tmp_path) == {target.name}


# ---- bad sources


@both
def test_a_damaged_slice_is_found_when_pixels_are_looked_at(tmp_path: Path, slices: Path, ending: str) -> None:
    bad = sorted(slices.iterdir())[7]
    data = bytearray(bad.read_bytes())
    data[20:400] = bytes(380)
    bad.write_bytes(data)
    for choices in ({"check": True}, {"pyramid": True, "check": True}, {"compression": "none"}):
        with pytest.raises(SourceError, match=re.escape(str(bad))):
            catnip2bids.convert(slices, tmp_path / f"image{ending}", VOXEL_UM, **choices)
        assert names_in(tmp_path) == set()


class _Then(Progress):
    """Does something when the first planes are written."""

    def __init__(self, action: Callable[[], object], n_planes: int = 1) -> None:
        self._action, self._n_left = action, n_planes

    def advance(self, n_voxels: int) -> None:
        del n_voxels
        self._n_left -= 1
        if self._n_left == 0:
            self._action()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("plane", [0, 11])
def test_a_source_that_changes_meanwhile_is_no_image(tmp_path: Path, slices: Path, plane: int, check: bool) -> None:
    file, target = sorted(slices.iterdir())[plane], tmp_path / "image.ome.btf"
    progress = _Then(partial(write_tiff, file, some_image((1, 70, 65), seed=1), USUAL))
    with pytest.raises(SourceError, match="changed"):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=progress, check=check)
    assert names_in(tmp_path) == set()


def test_a_slice_that_vanishes_meanwhile_is_named(tmp_path: Path, slices: Path) -> None:
    file, target = sorted(slices.iterdir())[11], tmp_path / "image.ome.btf"
    with pytest.raises(SourceError, match=re.escape(str(file))):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=_Then(file.unlink), jobs=1)
    assert not target.exists()


# ---- interruptions


def _interrupt() -> None:
    raise KeyboardInterrupt


@both
def test_interrupted_it_goes_on_and_leaves_nothing_else(tmp_path: Path, slices: Path, ending: str) -> None:
    target = tmp_path / f"image{ending}"
    with pytest.raises(KeyboardInterrupt):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=_Then(_interrupt, 5))
    assert not target.exists()
    catnip2bids.convert(slices, target, VOXEL_UM)
    assert same_bits(levels_of(target)[0], PLANES)
    assert names_in(tmp_path) == {target.name}


@pytest.mark.parametrize("other", [{"compression": "none"}, {"pyramid": True}, {"check": True}, {"kind": "labels"}])
def test_with_other_choices_an_interrupted_one_is_begun_anew(
    tmp_path: Path, slices: Path, other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.engine.sequential_writer.BYTES_PER_MARKER", 1)
    monkeypatch.setattr("catnip2bids.ome.ome_tiff.LARGEST_LAST_LEVEL", 16)
    convert = catnip2bids.convert
    expected = convert(slices, tmp_path / "at-once/image.ome.btf", VOXEL_UM, **other)  # type: ignore[arg-type]  # of a dictionary mypy does not know
    target = tmp_path / "image.ome.btf"
    with pytest.raises(KeyboardInterrupt):
        convert(slices, target, VOXEL_UM, progress=_Then(_interrupt, 5))
    made = convert(slices, target, VOXEL_UM, **other)  # type: ignore[arg-type]
    assert made.sha256 == expected.sha256
    assert files_of(target) == files_of(expected.path)


def test_a_source_that_changed_after_an_interruption_is_read_again(
    tmp_path: Path, slices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catnip2bids.engine.sequential_writer.BYTES_PER_MARKER", 1)
    target, other = tmp_path / "image.ome.btf", some_image((12, 70, 65), seed=1)
    with pytest.raises(KeyboardInterrupt):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=_Then(_interrupt, 5))
    write_slices(slices, other, flavour=USUAL)
    catnip2bids.convert(slices, target, VOXEL_UM)
    assert same_bits(levels_of(target)[0], other)


@both
@pytest.mark.parametrize("when", MOMENTS)
def test_killed_it_is_the_same_bytes_in_the_end(
    tmp_path: Path, slices: Path, ending: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"image{ending}"
    monkeypatch.setattr("catnip2bids.ome.ome_tiff.LARGEST_LAST_LEVEL", LARGEST_LAST_LEVEL)
    catnip2bids.convert(slices, tmp_path / f"at-once/image{ending}", VOXEL_UM, pyramid=True)
    assert forked(convert_until, when, slices, target) == -signal.SIGKILL
    assert target.exists() == (when == "published")
    monkeypatch.setattr("catnip2bids.engine.sequential_writer.BYTES_PER_MARKER", BYTES_PER_MARKER)
    catnip2bids.convert(slices, target, VOXEL_UM, pyramid=True)
    assert files_of(target) == files_of(tmp_path / f"at-once/image{ending}")
    assert same_bits(levels_of(target)[0], PLANES)
    assert names_in(tmp_path) == {target.name, "at-once"}
    assert names_in(tmp_path / "at-once") == {target.name}


def test_overwriting_throws_away_what_an_interrupted_one_left(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.btf"
    catnip2bids.convert(slices, target, VOXEL_UM)
    whole = files_of(target)
    with pytest.raises(KeyboardInterrupt):
        catnip2bids.convert(slices, target, VOXEL_UM, progress=_Then(_interrupt, 5), overwrite=True)
    assert files_of(target) == whole  # the old one stands until the new one is whole
    catnip2bids.convert(slices, target, VOXEL_UM, overwrite=True)
    assert files_of(target) == whole
    assert names_in(tmp_path) == {target.name}


def test_a_file_takes_the_place_of_a_folder(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.btf"
    shutil.copytree(slices, target)
    catnip2bids.convert(slices, target, VOXEL_UM, overwrite=True)
    assert same_bits(levels_of(target)[0], PLANES)
    assert names_in(tmp_path) == {target.name}


def test_a_folder_takes_the_place_of_a_file(tmp_path: Path, slices: Path) -> None:
    target = tmp_path / "image.ome.zarr"
    target.write_bytes(b"no image")
    catnip2bids.convert(slices, target, VOXEL_UM, overwrite=True)
    assert same_bits(level(target), PLANES)
    assert names_in(tmp_path) == {target.name}
