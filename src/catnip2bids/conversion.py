"""The `convert` command: one volume to one image.

Invariant: pixels never change, and the image gets its name only when it is complete.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

from catnip2bids.atomic_write import (
    LONGEST_NAME_BYTES,
    discard_staging,
    is_unfinished,
    output_folder,
    raising_write_errors,
    refuse_overlap,
)
from catnip2bids.build_image import ImageSpec, build_image, unnamed_labels_warning
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
from catnip2bids.formatting import first_problems, format_choices, format_count, format_shape
from catnip2bids.leftovers import ignored, leftovers_below, unfinished_copies
from catnip2bids.locks import lock_output
from catnip2bids.ome import ImageFormat, LabelValue, OmeTiff, OmeZarr, color_of_label, is_label_type
from catnip2bids.ome.ome_tiff import pixel_type
from catnip2bids.paths import safe_file
from catnip2bids.progress import Progress
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.volume import Volume, format_voxel_size, inspect_volume, stated_voxel_size


@dataclass(frozen=True, repr=False)
class ConvertedImage(ShortRepr):
    """An image that was made from a volume.

    Attributes
    ----------
    path
        The image.
    shape
        Voxels of level 0 along (z, y, x).
    dtype
        Type of the values.
    voxel_size_um
        Voxel size X Y Z in micrometers: as given, or as the source states it.
    sha256
        Hash of the pixels of each plane; empty if they were copied without decoding.
    how
        How the pixels got into an OME-TIFF; None for OME-Zarr.
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

    After an interruption, the next call continues where the first one stopped.

    Parameters
    ----------
    source
        The volume.
    target
        The image to write; its name ends in ``.ome.zarr``, ``.ome.btf`` (BigTIFF) or ``.ome.tif`` (at most 4 GiB).
    voxel_size_um
        Voxel size X Y Z in micrometers; by default the one that the source states (OME-XML, ImageJ's metadata, NIfTI,
        OME-Zarr). Where both are known and differ by more than 1 %, this one is used, with a warning.
    kind
        ``image``, ``labels`` or ``mask``: decides how voxels are merged in the lower resolution levels.
    progress
        Receives progress, notes and warnings.
    slice_number
        Pattern of the file names of slices, such as ``brain_Z#_*.tif``: ``#`` stands for the slice number (``#.#`` for
        a decimal), ``*`` for other text that varies. Needed only if more than one number varies.
    jobs
        Processors to use; all by default.
    memory_bytes
        Largest memory of the whole process; by default a quarter of the machine's, at most 8 GiB.
    overwrite
        Whether to replace an existing image; the results of an interrupted conversion are discarded too.
    pyramid
        Whether an OME-TIFF gets lower resolution levels; OME-Zarr always has them.
    compression
        ``keep``, ``deflate`` or ``none``: how pixels of an OME-TIFF are compressed.
    check
        Whether pixels that are copied in encoded form are decoded too, to find damage and to hash them.
    cluster
        The cluster that reads and writes the pixels; by default this process does.

    Raises
    ------
    SourceError
        If the volume is incomplete or cannot be read.
    UsageError
        If the voxel size is unknown, the target exists already or has another ending, a choice is invalid, or the
        memory is not enough.

    Examples
    --------
    >>> convert("run/640_N4", "brain.ome.zarr", (3.7, 3.7, 5.0))
    <ConvertedImage brain.ome.zarr: 36 x 40 x 12 voxels, uint16, 12 planes hashed>
    """
    source, target, progress = Path(source), Path(target), progress or Progress()
    kind_of_values, tiff_compression = parse_choice(Kind, kind), parse_choice(Compression, compression)
    if cluster is not None:  # workers run in other folders
        source, target = source.absolute(), target.absolute()
    ending = _ending_of(target)
    voxel_size_um = None if voxel_size_um is None else parse_voxel_size(voxel_size_um)
    refuse_overlap(source, target)
    if not overwrite:
        _refuse_to_replace(target)
    volume, name = _complete_volume(source, slice_number, progress), target.name.removesuffix(ending)
    size_um = _known_voxel_size(source, volume, voxel_size_um, progress)
    image_format: ImageFormat = OmeZarr()
    if ending != image_format.ending:
        # floating point labels may be invalid, which only their values show
        inspect = check or (kind_of_values != Kind.IMAGE and volume.dtype.kind == "f")
        image_format = OmeTiff(ending == OmeTiff().ending, tiff_compression, pyramid, inspect)
        pixel_type(volume.dtype.name, str(source))  # refuses other types before anything is written
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
    """Return the ending of the target, which decides the format."""
    ending = next((ending for ending in IMAGE_ENDINGS if target.name.endswith(ending)), None)
    if ending is None:
        raise UsageError(f"{target}: the name of the image must end in {format_choices(IMAGE_ENDINGS)}")
    if len(os.fsencode(target.name)) > LONGEST_NAME_BYTES:
        raise UsageError(f"{target}: the name of the image is too long; give one of at most {LONGEST_NAME_BYTES} bytes")
    return ending


def _complete_volume(source: Path, slice_number: str | None, progress: Progress) -> Volume:
    if leftovers := leftovers_below(source):
        progress.note(ignored(leftovers))
    for warning in unfinished_copies(source, source.iterdir()) if source.is_dir() else ():
        progress.warning(warning)
    inspection = inspect_volume(source, slice_number)
    if inspection.volume is None or inspection.problems:
        raise SourceError(*first_problems(inspection.problems))
    for warning in inspection.warnings:
        progress.warning(warning)
    for note in inspection.notes:
        progress.note(note)
    return inspection.volume


def _known_voxel_size(
    source: Path, volume: Volume, given_um: tuple[float, float, float] | None, progress: Progress
) -> tuple[float, float, float]:
    """Return the given voxel size, or else the one that the source states; notes which one is used."""
    stated = stated_voxel_size(volume)
    if given_um is None:
        if stated is None or stated.voxel_size_um is None:
            found = "no voxel size in a unit of length" if stated is None else stated
            raise UsageError(f"{source}: states {found}; give it with --voxel-size X Y Z in micrometers")
        size_um, where = stated.voxel_size_um, f"from the source's {stated.where}"
    else:
        size_um, where = given_um, "as given"
        if stated is not None and stated.contradicts(given_um):
            progress.warning(f"{source}: states {stated}; {format_voxel_size(given_um)} is used, as given")
    if doubt := voxel_size_unit_warning(size_um):
        progress.warning(doubt)
    progress.note(f"voxel size: {format_voxel_size(size_um)}, {where}")
    return size_um


def _numbered(value: int) -> LabelValue:
    return LabelValue(value, str(value), None, color_of_label(value))


def _build(
    spec: ImageSpec, target: Path, resources: Resources, progress: Progress, *, overwrite: bool
) -> tuple[str, ...]:
    """Build the image, or resume an interrupted conversion; returns the hashes of its planes."""
    image = safe_file(target)
    with (
        raising_write_errors(target),
        output_folder(target.parent),
        lock_output(target),
        scheduler_for([(spec.volume, spec.image(target))], resources) as scheduler,
    ):
        if overwrite:
            discard_staging(image)
        else:
            _refuse_to_replace(target, spec.fingerprint())
        if scheduler.summary:
            progress.note(scheduler.summary)
        progress.start(prod(spec.volume.shape))
        progress.item(target.name, spec.how)
        callbacks = ProgressCallbacks(progress.advance, progress.skip)

        def build(spec: ImageSpec) -> UnitResult:
            return build_image(spec, image, scheduler, callbacks)[0]

        result = scheduler.supervise(build, spec).result()  # in a thread: Ctrl-C need not wait for a unit that hangs
        discard_staging(image)
    return result.sha256


def _refuse_to_replace(target: Path, fingerprint: str | None = None) -> None:
    """Refuse an existing target, unless it is an unfinished conversion (of this fingerprint, if given)."""
    with raising_write_errors(target):
        if target.exists() and not is_unfinished(safe_file(target), fingerprint):
            raise UsageError(f"{target}: exists already; give another name, or replace it with --overwrite")
