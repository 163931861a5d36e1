"""Give label images the names and colours of their atlas tables, also those of animals packaged earlier.

Invariant: only the metadata of an image change, never its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import write_json
from catnip2bids.bids.dataset_paths import DERIVATIVE
from catnip2bids.bids.provenance import Provenance, RunRecord
from catnip2bids.catnip.atlas import ATLAS_LABELS, AtlasTable, read_atlas_table
from catnip2bids.documents import read_object
from catnip2bids.errors import DatasetError
from catnip2bids.ome import LabelValue, color_of_label, image_label
from catnip2bids.ome.formats import image_size
from catnip2bids.paths import SafePath, safe_path
from catnip2bids.volume.zarr.metadata import document_of


def write_label_names(dataset: Path, provenance: Provenance, *, was_interrupted: bool) -> list[PurePosixPath]:
    """Write the names and colours of atlas tables into the label images that have others.

    Returns the files that were written, below the dataset; after an interrupted command, all that it may have written.
    Only OME-Zarr images have names of labels. A damaged image stays as it is; `verify` names it.
    """
    written: list[PurePosixPath] = []
    for run in provenance.runs.values():
        atlas = AtlasTable({})
        if run.atlas_table is not None:
            atlas = read_atlas_table(dataset / DERIVATIVE / run.atlas_table)
        for path, image in run.images.items():
            values = [value for value in image.label_values or () if value]
            if image.role not in ATLAS_LABELS or not values:
                continue
            labels = [label_value(atlas, value) for value in values]
            for place in (path, *_embedded(run, image.fingerprint)):
                file = PurePosixPath(document_of(dataset / place).relative_to(dataset).as_posix())
                is_new = _rename(safe_path(dataset, file), labels)
                if not is_new and not (was_interrupted and (dataset / file).is_file()):
                    continue
                written.append(file)
                if place == path:
                    image.n_bytes = image_size(dataset / path).n_bytes
    return written


def label_value(atlas: AtlasTable, value: int) -> LabelValue:
    """Return name and colour of a label value; they are generated if the table does not list it."""
    region = atlas.region_of(value)
    return LabelValue(value, region.name, region.abbreviation, region.color or color_of_label(value))


def _embedded(run: RunRecord, fingerprint: str) -> Iterator[str]:
    """Yield the paths of the copies of a label image inside other images."""
    for path, image in run.images.items():
        yield from (f"{path}/labels/{name}" for name, copied in image.embedded.items() if copied == fingerprint)


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
