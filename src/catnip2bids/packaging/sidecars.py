"""Sidecars of the images of one run.

Invariant: a field keeps what a person wrote, and is updated as long as it has the value that was generated last, which
provenance records. ``Sources`` name images that exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.atomic_write import write_json
from catnip2bids.bids.dataset_paths import DERIVATIVE, sidecar_of
from catnip2bids.bids.provenance import ImageRecord, RunRecord
from catnip2bids.catnip.component_type import Content, VoxelGrid
from catnip2bids.catnip.components import ancestors, component_of
from catnip2bids.catnip.log import template_uri
from catnip2bids.packaging.existing_dataset import read_json
from catnip2bids.packaging.tasks import ImageTask, RunTasks
from catnip2bids.paths import exists, safe_path

_DERIVATIVE = f"{DERIVATIVE}/"
_STAINS = {"cFos": "c-Fos"}
_BODY_PARTS = {"LeftHemisphere": "left hemisphere", "RightHemisphere": "right hemisphere", "WholeBrain": "whole brain"}
_ALWAYS_OURS = {"PixelSize", "PixelSizeUnits"}
"""Fields that must describe the image, whatever a person wrote."""
_OURS_BEFORE = {*_ALWAYS_OURS, "Sources", "SpatialReference", "Threshold"}
"""Fields that are generated if provenance comes from a version that did not record their values."""


def write_sidecars(dataset: Path, run: RunTasks, record: RunRecord) -> None:
    """Write the sidecars of all existing images of a run, and record the generated fields.

    Images whose source is gone keep their fields, but their ``Sources`` follow the images.
    """
    images = {target: image for target, image in record.images.items() if exists(dataset / target)}
    sources, tasks = _sources(images), {str(task.target): task for task in run.images}
    remaining = {str(sidecar_of(PurePosixPath(image))) for image in record.images}
    generated = {path: fields for path, fields in record.sidecars.items() if path in remaining}
    for target, image in images.items():
        sidecar = sidecar_of(PurePosixPath(target))
        before = read_json(dataset / sidecar)
        ours = record.sidecars.get(str(sidecar), {key: before.get(key) for key in _OURS_BEFORE})
        fields = _fields(run, tasks[target]) if target in tasks else {**ours, "Sources": None}
        fields |= {"PixelSize": list(image.voxel_size_um), "PixelSizeUnits": "um", "Sources": sources.get(target)}
        fields = {key: value for key, value in fields.items() if value is not None}
        by_person = {
            key: value for key, value in before.items() if key not in _ALWAYS_OURS and (key, value) not in ours.items()
        }
        if added := _added_sources(by_person.get("Sources"), ours.get("Sources")):
            by_person["Sources"] = [*fields.get("Sources", []), *added]
        write_json(safe_path(dataset, sidecar), {**fields, **by_person})
        generated[str(sidecar)] = fields
    record.sidecars = dict(sorted(generated.items()))


def _added_sources(sources: Any, generated: Any) -> list[Any]:
    """Return what a person added to generated sources; nothing if the person replaced them."""
    if not (isinstance(sources, list) and isinstance(generated, list) and all(one in sources for one in generated)):
        return []
    return [one for one in sources if one not in generated]


def _fields(run: RunTasks, task: ImageTask) -> dict[str, Any]:
    fields: dict[str, Any] = {"PixelSize": None, "PixelSizeUnits": None, "Description": task.spec.description}
    if task.raw:
        fields["BodyPartDetails"] = _BODY_PARTS.get(run.sample, run.sample)
        fields["SampleStaining"] = _STAINS.get(run.planned.stain, run.planned.stain)
        return fields
    on_atlas = task.component.grid == VoxelGrid.ATLAS
    fields["SpatialReference"] = template_uri(run.run.log, run.planned.atlas_version) if on_atlas else "orig"
    fields["Sources"] = None
    if task.entry.threshold is not None:
        fields["Threshold"] = task.entry.threshold
    if task.component.content in {Content.LABELS, Content.MASK, Content.CELL_MAP}:
        fields["Manual"] = False
    return fields


def _sources(images: Mapping[str, ImageRecord]) -> dict[str, list[str]]:
    """Return the BIDS URI of the nearest image from which each derivative of a run was computed."""
    components = {target: component_of(image.role, image.source) for target, image in images.items()}
    of_entry = {image.source: target for target, image in images.items() if image.recovered_from is None}
    raw = next((target for target in images if target.startswith("sub-")), None)
    by_role = {(found[0].role, found[1]): target for target, found in sorted(components.items()) if found is not None}
    sources = {}
    for target, image in images.items():
        source = raw
        if image.recovered_from is not None:
            source = of_entry.get(image.recovered_from)
        elif (found := components[target]) is not None:
            component, threshold = found
            keys = [(role, number) for role in ancestors(component) for number in (threshold, None)]
            source = next((by_role[key] for key in keys if key in by_role), raw)
        if target != raw and source is not None:
            sources[target] = [f"bids:raw:{source}" if source == raw else f"bids::{source.removeprefix(_DERIVATIVE)}"]
    return sources
