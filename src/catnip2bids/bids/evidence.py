"""The evidence of a comparison of pixels, as provenance records it.

Invariant: the fields that the program reads are checked; others are for people, and stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, WrapValidator, model_validator

from catnip2bids.formatting import format_count
from catnip2bids.paths import leads_out


def _validate_one_by_one(items: Any, validated: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(items, dict):
        return validated(items)
    return {name: value for item in items.items() for name, value in validated(dict([item])).items()}


FAIL_FAST = WrapValidator(_validate_one_by_one)
"""Report only the first wrong item of a dictionary, as `fail_fast` does for lists: errors take a lot of memory."""


class EvidenceKind(Enum):
    """How an excluded entry follows from packaged images."""

    LINK = "a link to another entry of the run"
    SAME = "the same pixels as an image"
    MASKED = "an image times a mask"
    OTHER = "it does not"


def evidence_kind(evidence: Mapping[str, Any]) -> EvidenceKind:
    """Return how an entry follows from packaged images; the evidence of a link has no fingerprint of pixels."""
    match evidence:
        case {"relation": "identical", "compared_with": str()} if "fingerprint" not in evidence:
            return EvidenceKind.LINK
        case {"relation": "identical", "image": str()}:
            return EvidenceKind.SAME
        case {"relation": "2-is-1-masked", "image": str(), "mask": str()}:
            return EvidenceKind.MASKED
    return EvidenceKind.OTHER


class _Evidence(BaseModel):
    """The fields of evidence that the program reads; all others are for people."""

    model_config = ConfigDict(strict=True)

    relation: str | None = None
    compared_with: str | None = None
    fingerprint: str | None = None
    image: str | None = None
    mask: str | None = None
    pixels_sha256: str | None = None  # of the pixels of both, see `plane_hashes.pixels_sha256`
    product_with: str | None = None
    files: Annotated[list[str], Field(fail_fast=True)] | None = None
    layouts: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    planes: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    planes_compared: NonNegativeInt | None = None
    planes_without_partner: NonNegativeInt | None = None
    planes_unreadable: NonNegativeInt | None = None
    planes_different: Annotated[list[int], Field(fail_fast=True)] | None = None
    planes_emptied: Annotated[list[int], Field(fail_fast=True)] | None = None
    voxels_different: int | None = None
    voxels_zeroed: int | None = None
    voxels_not_the_product: int | None = None
    labels_lost: Annotated[dict[str, int], FAIL_FAST] | Annotated[list[int], Field(fail_fast=True)] | None = None

    @model_validator(mode="after")
    def _name_each_plane_once(self) -> Self:
        """Refuse planes that are named twice or were never compared: wrong slices would be restored."""
        for field in ("files", "layouts", "planes_different", "planes_emptied"):
            values = getattr(self, field) or []
            if twice := [value for value, n_times in Counter(values).items() if n_times > 1]:
                raise ValueError(f"{field} names {twice[0]!r} more than once")
        if no_names := [name for name in self.files or () if leads_out(name) or "/" in name]:
            raise ValueError(f"files names {no_names[0]!r}, which is not a file name: the dataset was tampered with")
        if self.planes is not None:
            first, last = self.planes
            if first > last or (self.planes_compared or 0) > last - first + 1:
                raise ValueError(f"planes names {first} and {last}, which are not the first and the last plane")
            for field in ("planes_different", "planes_emptied"):
                if beyond := [number for number in getattr(self, field) or () if not first <= number <= last]:
                    raise ValueError(f"{field} names {beyond[0]}, and planes are {first} to {last}")
        is_restored = self.relation in ("identical", "2-is-1-masked") and self.planes_compared is not None
        if is_restored and self.files and len(self.files) != self.planes_compared:
            planes = format_count(self.planes_compared or 0, "plane")
            raise ValueError(f"files names {format_count(len(self.files), 'file')} for {planes}")
        return self


def checked_evidence(evidence: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return evidence unchanged; raise ValidationError if a field that the program reads cannot be right."""
    _Evidence.model_validate(evidence or {})
    return evidence
