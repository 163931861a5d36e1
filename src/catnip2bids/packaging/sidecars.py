"""The JSON sidecar of every image: voxel size, description, sources.

Invariant: sources are images that exist in the dataset. A field is updated as long as it has the value that was
generated last, which provenance records; a value that a person changed stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.bids.dataset_paths import DERIVATIVE, sidecar_of
from catnip2bids.bids.provenance import RunRecord
from catnip2bids.catnip.component_type import Content, VoxelGrid
from catnip2bids.catnip.components import ancestors
from catnip2bids.catnip.log import template_uri
from catnip2bids.packaging.small_files import read_json, write_json
from catnip2bids.packaging.tasks import ImageTask, RunTasks
from catnip2bids.paths import safe_path

_STAINS = {"cFos": "c-Fos"}
_BODY_PARTS = {"LeftHemisphere": "left hemisphere", "RightHemisphere": "right hemisphere", "WholeBrain": "whole brain"}


_ALWAYS_OURS = {"PixelSize", "PixelSizeUnits"}
"""Fields that must describe the image, whatever a person wrote."""
_OURS_BEFORE = {*_ALWAYS_OURS, "Sources", "SpatialReference", "Threshold"}
"""Fields that are generated if provenance comes from a version that did not record their values."""


def write_sidecars(dataset: Path, run: RunTasks, record: RunRecord) -> None:
    """Write the sidecars of all existing images of a run, and record the generated fields."""
    remaining = {str(sidecar_of(PurePosixPath(image))) for image in record.images}
    generated = {path: fields for path, fields in record.sidecars.items() if path in remaining}
    existing = [task for task in run.images if (dataset / task.target).exists()]
    for task in existing:
        sidecar: dict[str, Any] = {
            "PixelSize": list(task.spec.voxel_size_um),
            "PixelSizeUnits": "um",
            "Description": task.spec.description,
        }
        if task.raw:
            sidecar["BodyPartDetails"] = _BODY_PARTS.get(run.sample, run.sample)
            sidecar["SampleStaining"] = _STAINS.get(run.planned.stain, run.planned.stain)
        else:
            sidecar |= _derivative_fields(run, task, existing)
        before = read_json(dataset / task.sidecar)
        ours = record.sidecars.get(str(task.sidecar), {key: before.get(key) for key in _OURS_BEFORE})
        by_person = {
            key: value for key, value in before.items() if key not in _ALWAYS_OURS and (key, value) not in ours.items()
        }
        write_json(safe_path(dataset, task.sidecar), {**sidecar, **by_person})
        generated[str(task.sidecar)] = sidecar
    record.sidecars = dict(sorted(generated.items()))


def _derivative_fields(run: RunTasks, task: ImageTask, existing: Sequence[ImageTask]) -> dict[str, Any]:
    on_atlas = task.component.grid == VoxelGrid.ATLAS
    fields: dict[str, Any] = {
        "SpatialReference": template_uri(run.run.log, run.planned.atlas_version) if on_atlas else "orig",
    }
    source = _made_from(task, existing)
    if source is not None:
        fields["Sources"] = [f"bids:raw:{source.target}" if source.raw else _uri_in_derivative(source)]
    if task.entry.threshold is not None:
        fields["Threshold"] = task.entry.threshold
    if task.component.content in {Content.LABELS, Content.MASK, Content.CELL_MAP}:
        fields["Manual"] = False
    return fields


def _uri_in_derivative(task: ImageTask) -> str:
    return f"bids::{task.target.relative_to(DERIVATIVE)}"


def _made_from(task: ImageTask, existing: Sequence[ImageTask]) -> ImageTask | None:
    """Return the nearest existing image from which this one was computed."""
    if task.recovered_from is not None:
        return next((other for other in existing if other.entry is task.recovered_from), None)
    by_role = {(other.component.role, other.entry.threshold): other for other in existing}
    for role in ancestors(task.component):
        for threshold in (task.entry.threshold, None):
            if found := by_role.get((role, threshold)):
                return found
    return next((other for other in existing if other.raw), None)
