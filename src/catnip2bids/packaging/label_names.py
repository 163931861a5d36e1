"""Give label images the names and colours of their atlas tables, also those of animals packaged earlier.

Invariant: only the metadata of an image change, never its pixels, and only if they are what packaging wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import write_json
from catnip2bids.bids.checksums import file_sha256
from catnip2bids.bids.dataset_paths import DERIVATIVE
from catnip2bids.bids.provenance import ImageRecord, Provenance
from catnip2bids.catnip.atlas import ATLAS_LABELS, AtlasTable, read_atlas_table
from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError
from catnip2bids.ome import LabelValue, color_of_label, image_label
from catnip2bids.ome.formats import image_size
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume.zarr.metadata import document_of


def write_label_names(
    dataset: Path, provenance: Provenance, checksums: Mapping[str, str], changed: AbstractSet[PurePosixPath]
) -> list[PurePosixPath]:
    """Write the names and colours of atlas tables into the OME-Zarr label images that have others.

    Returns the files that were written, and records their sizes. A file that differs from its checksum stays as it is,
    for `verify` to name, unless it is one of the images or files that this command has `changed`.
    """

    @cache
    def atlas_of(table: str | None) -> AtlasTable:
        return AtlasTable({}) if table is None else read_atlas_table(dataset / DERIVATIVE / table)

    written = []
    for table, image, place, is_embedded in _label_images(provenance):
        file = PurePosixPath(document_of(dataset / place).relative_to(dataset).as_posix())
        path, expected = safe_path(dataset, file), checksums.get(str(file))
        is_new = expected is None or not changed.isdisjoint({file, *file.parents})
        if not path.is_file() or not (is_new or file_sha256(path) == expected):
            continue
        n_bytes = path.stat().st_size
        if _rename(path, [label_value(atlas_of(table), value) for value in image.label_values or () if value]):
            written.append(file)
        if is_embedded or image.n_bytes is None:
            continue
        image.n_bytes = image_size(dataset / place).n_bytes if is_new else image.n_bytes + path.stat().st_size - n_bytes
    return written


def label_value(atlas: AtlasTable, value: int) -> LabelValue:
    """Return name and colour of a label value; they are generated if the table does not list it."""
    region = atlas.region_of(value)
    return LabelValue(value, region.name, region.abbreviation, region.color or color_of_label(value))


def _label_images(provenance: Provenance) -> Iterator[tuple[str | None, ImageRecord, str, bool]]:
    """Yield atlas table, record and path of each image of atlas labels, and whether it is a copy inside another one."""
    for run in provenance.runs.values():
        for path, image in run.images.items():
            if image.role in ATLAS_LABELS and image.label_values:
                yield run.atlas_table, image, path, False
                for other, around in run.images.items():
                    for name, fingerprint in around.embedded.items():
                        if fingerprint == image.fingerprint:
                            yield run.atlas_table, image, f"{other}/labels/{name}", True


def _rename(file: SafePath, labels: Sequence[LabelValue]) -> bool:
    """Write names and colours into the metadata of a label image; return whether it had others."""
    try:
        document = read_object(file)
    except (OSError, ValueError, DatasetError):
        return False
    match document:
        case {"attributes": {"ome": {"image-label": dict() as described}}} | {"image-label": dict() as described}:
            described.update(image_label(labels))
            return write_json(file, document)
    return False
