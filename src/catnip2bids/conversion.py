"""One volume to one image.

Invariant: pixels are never changed, and the image stands under its name only when it is whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

from catnip2bids.atomic_write import LONGEST_NAME_BYTES, output_folder, raising_write_errors, refuse_overlap
from catnip2bids.build_image import ImageSpec, build_image, unnamed_labels_warning
from catnip2bids.colors import color_of_label
from catnip2bids.engine import ProgressCallbacks, Resources, UnitResult, resources_for, scheduler_for
from catnip2bids.enums import (
    IMAGE_ENDINGS,
    Cluster,
    Compression,
    Kind,
    parse_choice,
    parse_voxel_size,
    voxel_size_unit_warning,
)
from catnip2bids.errors import SourceError, UsageError
from catnip2bids.formatting import format_count, format_shape
from catnip2bids.leftovers import ignored, leftovers_below
from catnip2bids.locks import lock_output
from catnip2bids.ome import ImageFormat, LabelValue, OmeTiff, OmeZarr, is_label_type
from catnip2bids.ome.ome_xml import pixel_type
from catnip2bids.paths import safe_file
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.staging import discard_staging, is_unfinished
from catnip2bids.volume import Volume, format_voxel_size, inspect_volume, stated_voxel_size


@dataclass(frozen=True, repr=False)
class ConvertedImage(ShortRepr):
    """An image that was made of a volume.

    Attributes
    ----------
    path
        The image.
    shape
        Voxels of level 0 along (z, y, x).
    dtype
        Type of the values.
    voxel_size_um
        Voxel size X Y Z in micrometers: as given, or else as the source states it.
    sha256
        Hash of each plane's pixels; none if they were copied without a look at them.
    how
        How the pixels got into the image, where there is more than one way.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: str
    voxel_size_um: tuple[float, float, float]
    sha256: tuple[str, ...]
    how: str | None = None

    def _summary(self) -> ReprSummary:
        facts = (f"{format_shape(self.shape)} voxels", self.dtype, format_count(len(self.sha256), "plane") + " hashed")
        return ReprSummary(str(self.path), facts)


def convert(
    source: Path | str,
    target: Path | str,
    voxel_size_um: tuple[float, float, float] | None = None,
    kind: Kind | str = Kind.IMAGE,
    progress: Progress | None = None,
    *,
    slice_number: str | None = None,
    jobs: int | None = None,
    memory_bytes: int | None = None,
    overwrite: bool = False,
    pyramid: bool = False,
    compression: Compression | str = Compression.KEEP,
    check: bool = False,
    cluster: Cluster | None = None,
) -> ConvertedImage:
    """Convert a slice folder, a TIFF stack, a NIfTI file, an OME-TIFF or OME-Zarr to OME-Zarr 0.5 or OME-TIFF.

    Interrupted, it goes on where it stopped when it is called again.

    Parameters
    ----------
    source
        The volume.
    target
        The image to make; its name ends in ``.ome.zarr``, ``.ome.btf`` (BigTIFF) or ``.ome.tif`` (at most 4 GiB).
    voxel_size_um
        Voxel size X Y Z in micrometers; by default the one that the source states (OME-XML, ImageJ's metadata, NIfTI,
        OME-Zarr). Where both are known and differ by more than 1 %, this one is used, with a warning.
    kind
        ``image``, ``labels`` or ``mask``: decides how voxels are merged in the lower resolution levels.
    progress
        Told how the work goes.
    slice_number
        What tells the slice number in the names of slices, such as ``brain_Z#_*.tif``: the name with ``#`` for the
        number (``#.#`` for a decimal), ``*`` for what else varies. Needed only where more than one number varies.
    jobs
        Processors to use; all by default.
    memory_bytes
        The most memory that the whole process may hold; by default a quarter of the machine's, at most 8 GiB.
    overwrite
        Whether an image that is there is replaced; what an interrupted conversion left is thrown away then.
    pyramid
        Whether an OME-TIFF gets lower resolution levels; OME-Zarr always has them.
    compression
        ``keep``, ``deflate`` or ``none``: how pixels of an OME-TIFF are compressed.
    check
        Whether pixels that are copied as they are, still encoded, are decoded too, to find damage and to hash them.
    cluster
        Where pixels are read and written, if not by this process.

    Raises
    ------
    SourceError
        If the volume is not whole, or cannot be read.
    UsageError
        If the voxel size is not known, the target is there already, its name has another ending, a choice is not
        possible, or the memory is not enough.

    Examples
    --------
    >>> convert("run/640_N4", "brain.ome.zarr", (3.7, 3.7, 5.0))
    <ConvertedImage brain.ome.zarr: 36 x 40 x 12 voxels, uint16, 12 planes hashed>
    """
    source, target, progress = Path(source), Path(target), progress or Progress()
    kind_of_values, tiff_compression = parse_choice(Kind, kind), parse_choice(Compression, compression)
    if cluster is not None:  # workers stand in other folders
        source, target = source.absolute(), target.absolute()
    ending = _ending_of(target)
    voxel_size_um = None if voxel_size_um is None else parse_voxel_size(voxel_size_um)
    refuse_overlap(source, target)
    if not overwrite:
        _refuse_to_replace(target)
    volume, name = _whole_volume(source, slice_number, progress), target.name.removesuffix(ending)
    size_um = _known_voxel_size(source, volume, voxel_size_um, progress)
    image_format: ImageFormat = OmeZarr()
    if ending != image_format.ending:
        # labels as floating point numbers may be wrong, which only a look at them tells
        inspect = check or (kind_of_values != Kind.IMAGE and volume.dtype.kind == "f")
        image_format = OmeTiff(ending == OmeTiff().ending, tiff_compression, pyramid, inspect)
        pixel_type(volume.dtype.name, str(source))  # refuses what OME-TIFF cannot hold before anything is written
    elif tiff_compression != Compression.KEEP:
        raise UsageError(
            f"{target}: --compression is for OME-TIFF; OME-Zarr images are always compressed by Zstandard; "
            "leave it out, or give a target that ends in .ome.btf"
        )
    name_label = None if kind_of_values == Kind.IMAGE or not is_label_type(volume.dtype) else _numbered
    if kind_of_values == Kind.LABELS and isinstance(image_format, OmeZarr) and name_label is None:
        progress.warning(unnamed_labels_warning(source, volume.dtype))
    spec = ImageSpec(
        volume=volume,
        name=name,
        channel=name,
        voxel_size_um=size_um,
        kind=kind_of_values,
        format=image_format,
        name_label=name_label,
        fingerprint_extra=[str(source.resolve())],
    )
    with resources_for(
        cluster, jobs, memory_bytes, progress.note, reading=[source], writing=target.parent
    ) as resources:
        sha256 = _build(spec, target, resources, progress, overwrite=overwrite)
    return ConvertedImage(target, volume.shape, volume.dtype.name, size_um, sha256, spec.how)


def _ending_of(target: Path) -> str:
    """Return the ending of the image's name, which says its format."""
    ending = next((ending for ending in IMAGE_ENDINGS if target.name.endswith(ending)), None)
    if ending is None:
        endings = f"{', '.join(IMAGE_ENDINGS[:-1])} or {IMAGE_ENDINGS[-1]}"
        raise UsageError(f"{target}: the name of the image must end in {endings}")
    if len(os.fsencode(target.name)) > LONGEST_NAME_BYTES:
        raise UsageError(f"{target}: the name of the image is too long; give one of at most {LONGEST_NAME_BYTES} bytes")
    return ending


def _whole_volume(source: Path, slice_number: str | None, progress: Progress) -> Volume:
    if leftovers := leftovers_below(source):
        progress.note(ignored(leftovers))
    census = inspect_volume(source, slice_number)
    if census.volume is None or census.problems:
        raise SourceError("\n".join(census.problems))
    for warning in census.warnings:
        progress.warning(warning)
    return census.volume


def _known_voxel_size(
    source: Path, volume: Volume, given_um: tuple[float, float, float] | None, progress: Progress
) -> tuple[float, float, float]:
    """Return the voxel size that was given, or else the one that the source states; tells which one it is."""
    stated = stated_voxel_size(volume)
    if given_um is None:
        if stated is None or stated.voxel_size_um is None:
            found = "no voxel size in a unit of length" if stated is None else stated
            raise UsageError(f"{source}: states {found}; give it with --voxel-size X Y Z in micrometers")
        size_um, origin = stated.voxel_size_um, f"from the source's {stated.where}"
    else:
        size_um, origin = given_um, "as given"
        if stated is not None and stated.contradicts(given_um):
            progress.warning(f"{source}: states {stated}; {format_voxel_size(given_um)} is used, as given")
    if doubt := voxel_size_unit_warning(size_um):
        progress.warning(doubt)
    progress.note(f"voxel size: {format_voxel_size(size_um)}, {origin}")
    return size_um


def _numbered(value: int) -> LabelValue:
    return LabelValue(value, str(value), None, color_of_label(value))


def _build(
    spec: ImageSpec, target: Path, resources: Resources, progress: Progress, *, overwrite: bool
) -> tuple[str, ...]:
    """Build the image, or continue an interrupted conversion; returns the hashes of its planes."""
    image = safe_file(target)
    with (
        raising_write_errors(target),
        output_folder(target.parent),
        lock_output(target),
        scheduler_for([(spec.volume, spec.image(target))], resources) as workers,
    ):
        if overwrite:
            discard_staging(image)
        else:
            _refuse_to_replace(target, spec.fingerprint())
        if workers.summary:
            progress.note(workers.summary)
        progress.start(prod(spec.volume.shape))
        progress.item(target.name, spec.how)
        listener = ProgressCallbacks(progress.advance, progress.skip)

        def build(spec: ImageSpec) -> UnitResult:
            return build_image(spec, image, workers, listener)[0]

        learned = workers.begin(build, spec).result()  # so that an interruption does not wait for a unit that hangs
        discard_staging(image)
    return learned.sha256


def _refuse_to_replace(target: Path, fingerprint: str | None = None) -> None:
    """Refuse a target that is there, unless a conversion, or just the one of a fingerprint, has yet to finish it."""
    with raising_write_errors(target):
        if target.exists() and not is_unfinished(safe_file(target), fingerprint):
            raise UsageError(f"{target}: exists already; give another name, or replace it with --overwrite")
