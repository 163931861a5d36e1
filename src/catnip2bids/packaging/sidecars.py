"""The JSON sidecar of every image: voxel size, what it is, what it was made from.

Invariant: sources are images that are in the dataset, never ones that were to be made and failed. A field follows its
image as long as it has the value that was generated last, which provenance remembers; what a person changed stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids.bids.dataset_paths import DERIVATIVE, sidecar_of
from catnip2bids.bids.provenance import RunRecord
from catnip2bids.catnip.component_type import Content, VoxelGrid
from catnip2bids.catnip.log import template_uri
from catnip2bids.catnip.recognition import ancestors
from catnip2bids.packaging.small_files import read_json, write_json
from catnip2bids.packaging.tasks import ImageTask, RunTasks
from catnip2bids.paths import safe_path

_STAINS = {"cFos": "c-Fos"}
_BODY_PARTS = {"LeftHemisphere": "left hemisphere", "RightHemisphere": "right hemisphere", "WholeBrain": "whole brain"}


_ALWAYS_OURS = {"PixelSize", "PixelSizeUnits"}
"""Fields that must be those of the image, whatever a person wrote."""
_OURS_BEFORE = {*_ALWAYS_OURS, "Sources", "SpatialReference", "Threshold"}
"""Fields that were generated in any case, where provenance is of a version that did not remember the values."""


def write_sidecars(dataset: Path, run: RunTasks, record: RunRecord) -> None:
    """Write the sidecars of all images of a run that are in the dataset, and note in its record what was generated."""
    remaining = {str(sidecar_of(PurePosixPath(image))) for image in record.images}
    generated = {path: fields for path, fields in record.sidecars.items() if path in remaining}
    there = [task for task in run.images if (dataset / task.target).exists()]
    for task in there:
        sidecar: dict[str, Any] = {
            "PixelSize": list(task.spec.voxel_size_um),
            "PixelSizeUnits": "um",
            "Description": task.spec.description,
        }
        if task.raw:
            sidecar["BodyPartDetails"] = _BODY_PARTS.get(run.sample, run.sample)
            sidecar["SampleStaining"] = _STAINS.get(run.planned.stain, run.planned.stain)
        else:
            sidecar |= _derivative_fields(run, task, there)
        before = read_json(dataset / task.sidecar)
        ours = record.sidecars.get(str(task.sidecar), {key: before.get(key) for key in _OURS_BEFORE})
        by_person = {
            key: value for key, value in before.items() if key not in _ALWAYS_OURS and (key, value) not in ours.items()
        }
        write_json(safe_path(dataset, task.sidecar), {**sidecar, **by_person})
        generated[str(task.sidecar)] = sidecar
    record.sidecars = dict(sorted(generated.items()))


def _derivative_fields(run: RunTasks, task: ImageTask, there: Sequence[ImageTask]) -> dict[str, Any]:
    on_atlas = task.component.grid == VoxelGrid.ATLAS
    fields: dict[str, Any] = {
        "SpatialReference": template_uri(run.run.log, run.planned.atlas_version) if on_atlas else "orig",
    }
    source = _made_from(task, there)
    if source is not None:
        fields["Sources"] = [f"bids:raw:{source.target}" if source.raw else _uri_in_derivative(source)]
    if task.entry.threshold is not None:
        fields["Threshold"] = task.entry.threshold
    if task.component.content in {Content.LABELS, Content.MASK, Content.CELL_MAP}:
        fields["Manual"] = False
    return fields


def _uri_in_derivative(task: ImageTask) -> str:
    return f"bids::{task.target.relative_to(DERIVATIVE)}"


def _made_from(task: ImageTask, there: Sequence[ImageTask]) -> ImageTask | None:
    """Find the nearest image of the dataset that this one was computed from."""
    if task.recovered_from is not None:
        return next((other for other in there if other.entry is task.recovered_from), None)
    by_role = {(other.component.role, other.entry.threshold): other for other in there}
    for role in ancestors(task.component):
        for threshold in (task.entry.threshold, None):
            if found := by_role.get((role, threshold)):
                return found
    return next((other for other in there if other.raw), None)
