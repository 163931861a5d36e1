"""The plan as a pydantic model: the action for every source entry, and its reason."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from catnip2bids.catnip.component_type import Action
from catnip2bids.enums import DEFAULT_STAIN, LARGEST_UM, SMALLEST_UM
from catnip2bids.errors import UsageError
from catnip2bids.formatting import format_count
from catnip2bids.short_repr import ReprSummary, ShortRepr
from catnip2bids.volume import slice_pattern


def _empty_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _valid_pattern(text: str | None) -> str | None:
    if text is not None:
        try:
            slice_pattern(text)
        except UsageError as error:
            raise ValueError(str(error)) from error
    return text


_OWN_KEYS = {
    "Name": "write name = ... under [dataset]",
    "Authors": "write authors = [...] under [dataset]",
    "License": "write license = ... under [dataset]",
    **dict.fromkeys(
        ("BIDSVersion", "DatasetType", "GeneratedBy", "SourceDatasets", "DatasetLinks"), "catnip2bids writes it"
    ),
}
"""Fields of dataset_description.json that have a key of their own in the plan, or are generated; what to do."""


def _without_own_fields(description: dict[str, Any]) -> dict[str, Any]:
    """Refuse fields of dataset_description.json that have a key of their own in the plan, or are generated."""
    if found := sorted(_OWN_KEYS.keys() & description.keys()):
        details = {"field": found[0], "remedy": _OWN_KEYS[found[0]]}
        raise PydanticCustomError("own_field", "{field} does not belong here; {remedy}", details)
    return description


def _not_blank(reason: str) -> str:
    if not reason.strip():
        raise PydanticCustomError("no_reason", "reason is empty; say why, because it is published")
    return reason


MaybeText = Annotated[str | None, BeforeValidator(_empty_is_none)]
Size = Annotated[float, Field(ge=SMALLEST_UM, le=LARGEST_UM)]
VoxelSize = tuple[Size, Size, Size]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class PlannedEntry(_Document):
    """The action for one source entry.

    Attributes
    ----------
    source
        POSIX path below the run folder; ``../NAME.log.txt`` for a log that lies beside it.
    action, reason
        What to do with it, and why; the reason cannot be empty.
    slice_number
        Pattern for the slice number in the names of a slice folder, such as ``brain_Z#_*.tif``; needed only where more
        than one number varies.
    by_pixels
        The action that a comparison of pixels led to. As long as `action` is the same, pixels decide again.
    """

    source: str
    action: Action
    reason: Annotated[str, AfterValidator(_not_blank)]
    slice_number: Annotated[str | None, BeforeValidator(_empty_is_none), AfterValidator(_valid_pattern)] = None
    by_pixels: Action | None = None


class Participant(_Document):
    """The animal; an empty text means unknown.

    Attributes
    ----------
    species
        Its Latin name, such as ``mus musculus``.
    sex
        ``M`` or ``F``, as BIDS wants it.
    age
        In weeks.
    strain, genotype
        Free text.
    """

    species: MaybeText = None
    sex: MaybeText = None
    age: Annotated[float | None, BeforeValidator(_empty_is_none)] = None
    strain: MaybeText = None
    genotype: MaybeText = None


class PlannedRun(_Document):
    """The part of the plan for one run.

    Attributes
    ----------
    name
        Name of the run folder.
    source
        POSIX path of the run folder below the SOURCE that was given; tells runs of one name apart.
    source_id
        Id of the animal as the source names it. Runs of one animal share it.
    subject, sample, stain
        BIDS labels; a missing subject or sample has to be filled in.
    acquired
        Time of acquisition, ISO 8601 without zone.
    atlas_version
        Version of CATNIP's atlas, such as ``v2``.
    voxel_size_um
        Voxel size X Y Z of the run's images in micrometers; by default that of the dataset.
    participant
        The animal.
    entries
        Everything in the run folder.
    """

    name: str
    source: MaybeText = None
    source_id: MaybeText = None
    subject: MaybeText = None
    sample: MaybeText = None
    stain: Annotated[str, AfterValidator(str.strip)] = DEFAULT_STAIN
    acquired: MaybeText = None
    atlas_version: MaybeText = None
    voxel_size_um: VoxelSize | None = None
    participant: Participant = Field(default_factory=Participant)
    entries: list[PlannedEntry]


class AboutDataset(_Document):
    """Metadata of the dataset; empty fields keep the values of an existing dataset.

    Attributes
    ----------
    name, authors, license
        For dataset_description.json; a new dataset needs no name to get a title.
    voxel_size_um
        Voxel size X Y Z in micrometers, of all runs that have none of their own.
    description
        More fields of dataset_description.json, such as Funding.
    acquisition
        Sidecar fields that hold for all raw images, such as Manufacturer.
    """

    name: str = ""
    authors: list[str] = Field(default_factory=list)
    license: MaybeText = None
    voxel_size_um: VoxelSize | None = None
    description: Annotated[dict[str, Any], AfterValidator(_without_own_fields)] = Field(default_factory=dict)
    acquisition: dict[str, Any] = Field(default_factory=dict)

    @property
    def in_description(self) -> dict[str, Any]:
        """The fields of dataset_description.json that it states."""
        named = {"Name": self.name, "License": self.license, "Authors": self.authors}
        return {key: value for key, value in named.items() if value} | self.description


class Plan(ShortRepr, _Document):
    """The plan for a dataset, to be corrected and passed to `catnip2bids.package`.

    Attributes
    ----------
    dataset
        Metadata of the dataset.
    runs
        The runs, with an action for each of their entries.
    """

    dataset: AboutDataset = Field(default_factory=AboutDataset)
    runs: list[PlannedRun] = Field(min_length=1)

    __str__ = ShortRepr.__repr__  # pydantic has one of its own

    def _summary(self) -> ReprSummary:
        counts = [Counter(entry.action for entry in run.entries) for run in self.runs]
        facts = (
            format_count(len(self.runs), "run"),
            *(f"{sum(count[action] for count in counts)} to {action.value}" for action in Action),
        )
        rows = [
            {"run": run.name, "subject": run.subject, "sample": run.sample, "stain": run.stain}
            | {action.value: count[action] for action in Action}
            for run, count in zip(self.runs, counts, strict=True)
        ]
        return ReprSummary(self.dataset.name or "of a dataset without a name", facts, rows)
