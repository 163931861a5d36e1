"""Provenance: what was packaged and excluded, from which sources, with which settings, and why.

Invariant: all files of the dataset except images and copies can be made again from this document and the tables of the
dataset. It has no absolute path, user or machine, because it gets published. It is checked when it is read: all paths
must be ones that packaging could have made for that run, and evidence names planes and files that a comparison could
have found.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from catnip2bids.atomic_write import partial_path, write_text
from catnip2bids.bids.dataset_paths import LABEL, SOURCEDATA, copy_of, run_name
from catnip2bids.bids.evidence import FAIL_FAST, checked_evidence
from catnip2bids.documents import json_parts, read_json
from catnip2bids.enums import LARGEST_UM, SMALLEST_UM, Naming
from catnip2bids.errors import DatasetError, WriteError, unreadable
from catnip2bids.leftovers import leave_out_leftovers
from catnip2bids.locks import FOLDER_LOCK
from catnip2bids.paths import DEEPEST_FOLDER, inside, leads_out, safe_path

FOLDER = PurePosixPath("code/catnip2bids")
"""The folder of provenance and checksums, below the dataset."""
PROVENANCE = FOLDER / "provenance.json"
PLAN = FOLDER / "plan.toml"
VERSION = 1
"""The version that is written, and the newest that is read."""
MOST_BYTES, MOST_PARTS = 32 * 2**20, 1_400_000
"""The largest provenance, of about 900 runs. Reading it takes 150 MiB of memory, or 400 MiB if it is malicious
(measured)."""
_MOST_FAULTS = 1000
_IMAGE = r"\.ome\.(zarr|tif|btf)"
_ATLAS_TABLE = rf"(atlas-{LABEL}_)?dseg\.tsv"
_REGION_TABLE = rf"derivatives/catnip(-counts)?/(atlas-{LABEL}_)?regions\.tsv"


_Texts = Annotated[dict[str, str], FAIL_FAST]
Label = Annotated[str, Field(pattern=f"^{LABEL}$")]
_Length = Annotated[int, Field(gt=0, le=2**31)]
_Size = Annotated[float, Field(ge=SMALLEST_UM, le=LARGEST_UM)]
RunKey = Annotated[str, Field(pattern=f"^sub-{LABEL}_sample-{LABEL}_stain-{LABEL}$")]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Choice(_Document):
    """What a person wants to be done with an entry, and why."""

    action: Literal["convert", "copy", "exclude"]  # in the plan
    reason: str  # likewise


class Decision(_Document):
    """What was done with one source entry, and why."""

    run: str  # key of the run in `Provenance.runs`
    source: str  # POSIX path below SOURCE
    action: Literal["convert", "copy", "exclude"]  # what was done
    target: str | None = None  # POSIX path below the dataset
    reason: str  # of the action, published in the README
    chosen: Choice | None = None  # None if no person chose the action or the reason
    problem: str | None = None  # None if the action is the planned one
    evidence: Annotated[dict[str, Any] | None, AfterValidator(checked_evidence)] = None  # about the pixels
    slice_number: str | None = None  # the plan's pattern of the slice number in names of files
    n_bytes: int | None = None  # None from versions that did not record it
    written: str | None = None  # newest modification time in UTC; None from versions that did not record it


class ImageRecord(_Document):
    """An image of the dataset."""

    source: str  # POSIX path below the run folder
    recovered_from: str | None = None  # the unmasked entry, if the image is the mask between it and `source`
    role: str  # see `catnip2bids.catnip.components`
    shape: tuple[_Length, _Length, _Length]  # (z, y, x) of level 0
    dtype: Annotated[str, Field(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))$")]  # as NumPy names it
    voxel_size_um: tuple[_Size, _Size, _Size]  # X Y Z
    value_range: tuple[float, float]  # of finite values
    label_values: Annotated[list[int], Field(fail_fast=True)] | None = None  # that occur in labels and masks
    how: str | None = None  # how pixels were written, if there is more than one way
    fingerprint: str  # hash of everything that decides the content: source files, settings, version
    n_files: int | None = None  # without embedded labels; None from versions that did not record it
    n_bytes: int | None = None  # of these files
    description_sha256: str | None = None  # of the OME-XML of an OME-TIFF
    embedded: _Texts = Field(default_factory=dict)  # fingerprints of embedded label images, by name


class CountDifference(_Document):
    """A region of which another number of cells was found than CATNIP counted."""

    index: int  # label value
    catnip: int  # number of cells that CATNIP counted
    found: int  # number of cells that were found
    reason: str | None = None  # the likely one; None if there is none


class CellsRecord(_Document):
    """A table of cells of the dataset."""

    origin: Literal["cell list", "filtered", "segmentation"]  # what the cells were found in
    fingerprint: str  # hash of everything that decides the content
    list_problem: str | None = None  # what is wrong with CATNIP's list of cells
    n_cells: NonNegativeInt  # that a region counts
    # components of the segmentation that no region counts
    n_outside: NonNegativeInt  # uncounted: outside of all regions
    n_no_region: NonNegativeInt  # uncounted: no region has more than half of their voxels
    n_too_large: NonNegativeInt  # uncounted: larger than the range of sizes, and not divided by CATNIP
    n_too_small: NonNegativeInt  # uncounted: smaller than it
    n_regions: NonNegativeInt  # of CATNIP's table of counts; 0 without one
    n_regions_proven: NonNegativeInt  # whose count is the number of cells in the table
    differences: Annotated[list[CountDifference], Field(fail_fast=True)] = Field(default_factory=list)  # all others


def _checked_source(source: str) -> str:
    if source != "." and leads_out(source):
        raise ValueError(f"the path {source!r} leads out of its folder; the dataset was tampered with")
    return source


def _checked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    if (naming := settings.get("naming", Naming.BIDS)) not in [*Naming]:
        raise ValueError(f"naming {naming!r} is unknown; it is one of {', '.join(Naming)}")
    return settings


class RunRecord(_Document):
    """One packaged run."""

    name: str  # of the run folder
    source: Annotated[str, AfterValidator(_checked_source)]  # POSIX path of the run folder below SOURCE
    source_id: str | None  # id of the animal in the names of the source; None if a person gave the subject
    subject: Label  # of BIDS, as the next two
    sample: Label  # such as LeftHemisphere
    stain: Label  # such as cFos
    layout: str  # of CATNIP's output
    atlas_version: str | None = None  # such as v2; None if it is unknown
    atlas_table: str | None = None  # the file in derivatives/catnip that names the labels
    region_table: str | None = None  # regions and parents, path below the dataset; None from versions without it
    unfinished: bool = False  # whether packaging was interrupted, so that its files may not fit each other
    earlier_files: Annotated[list[str], Field(fail_fast=True)] = Field(default_factory=list)  # while it is unfinished
    log: _Texts = Field(default_factory=dict)  # fields of CATNIP's log, without folders of the machine
    images: Annotated[dict[str, ImageRecord], FAIL_FAST] = Field(default_factory=dict)  # by path below the dataset
    sidecars: Annotated[dict[str, dict[str, Any]], FAIL_FAST] = Field(default_factory=dict)  # generated fields
    cells: Annotated[dict[str, CellsRecord], FAIL_FAST] = Field(default_factory=dict)  # tables of cells, by path

    def embedded_images(self) -> list[str]:
        """Return the paths of label images inside other images, of which `images` has the originals."""
        known = {image.fingerprint for image in self.images.values()}
        return [
            f"{path}/labels/{name}"
            for path, image in self.images.items()
            for name, fingerprint in image.embedded.items()
            if fingerprint in known
        ]


class Invocation(_Document):
    """One run of the program on the dataset."""

    command: str  # with the options that affect the dataset, also for calls from Python; only the names of files
    time: str  # when it began to write, ISO 8601 with the zone
    versions: _Texts  # of the program, Python, the system, BIDS and the libraries, by name
    settings: dict[str, Any]  # that affect the dataset, by the names of `catnip2bids.Settings`


class Provenance(_Document):
    """The content of provenance.json."""

    version: Annotated[int, Field(ge=1, le=VERSION)] = VERSION  # of this format
    command: str = ""  # of the last invocation, as the next two
    versions: _Texts = Field(default_factory=dict)  # see `Invocation`
    settings: Annotated[dict[str, Any], AfterValidator(_checked_settings)] = Field(default_factory=dict)  # likewise
    history: Annotated[list[Invocation], Field(fail_fast=True)] = Field(default_factory=list)  # oldest first
    runs: Annotated[dict[RunKey, RunRecord], FAIL_FAST] = Field(default_factory=dict)  # by entities of their files
    # this list is replaced, never changed in place
    decisions: Annotated[list[Decision], Field(fail_fast=True)] = Field(default_factory=list)  # one for each entry
    _by_run: tuple[list[Decision], dict[str, list[Decision]]] = PrivateAttr(default=([], {}))  # of the list it names

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        for key, run in self.runs.items():
            if key != f"sub-{run.subject}_sample-{run.sample}_stain-{run.stain}":
                raise ValueError(f"runs.{key}: has other labels than its key")
            for image in run.images:
                _refuse_other_path(image, _file_of(key, run, _IMAGE), f"runs.{key}.images")
            for sidecar in run.sidecars:
                _refuse_other_path(sidecar, _file_of(key, run, r"\.json"), f"runs.{key}.sidecars")
            for path in run.earlier_files:
                made = _file_of(key, run, rf"({_IMAGE}|_counts\.tsv)")
                _refuse_other_path(path, rf"{made}|{SOURCEDATA}/(?s:.+)", f"runs.{key}.earlier_files")
            for table in run.cells:
                _refuse_other_path(table, _file_of(key, run, r"_cells\.tsv\.gz"), f"runs.{key}.cells")
            if run.atlas_table is not None:
                _refuse_other_path(run.atlas_table, _ATLAS_TABLE, f"runs.{key}.atlas_table")
            if run.region_table is not None:
                _refuse_other_path(run.region_table, _REGION_TABLE, f"runs.{key}.region_table")
        for number, decision in enumerate(self.decisions):
            field, key = f"decisions.{number}", decision.run
            if key not in self.runs:
                raise ValueError(f"{field}.run: {key!r} is not one of the runs")
            if decision.target is not None:
                made = _file_of(key, self.runs[key], rf"({_IMAGE}|_counts\.tsv)")
                _refuse_other_path(decision.target, rf"{made}|{SOURCEDATA}/(?s:.+)", f"{field}.target")
        return self

    def __eq__(self, other: object) -> bool:
        """Compare the fields, not what was derived from them."""
        return isinstance(other, Provenance) and self.__dict__ == other.__dict__

    def all_images(self) -> dict[str, ImageRecord]:
        """Return the images of all runs, by POSIX path below the dataset."""
        return {target: image for run in self.runs.values() for target, image in run.images.items()}

    @property
    def unfinished_runs(self) -> list[str]:
        """The runs of which packaging was interrupted."""
        return [key for key, run in sorted(self.runs.items()) if run.unfinished]

    def decisions_of(self, run: str) -> dict[str, Decision]:
        """Return the decisions about all entries of a run, by their POSIX paths below the run folder."""
        if self._by_run[0] is not self.decisions:
            by_run: dict[str, list[Decision]] = {}
            for decision in self.decisions:
                by_run.setdefault(decision.run, []).append(decision)
            self._by_run = self.decisions, by_run
        folder = self.runs[run].source
        return {os.path.relpath(decision.source, folder): decision for decision in self._by_run[1].get(run, ())}

    def copies_of(self, run: str) -> dict[str, PurePosixPath]:
        """Return the paths of copies in the dataset, by the POSIX paths of the originals below the run folder."""
        record, copies = self.runs[run], {}
        images = {image.source for image in record.images.values() if image.recovered_from is None}
        for path, decision in self.decisions_of(run).items():
            if path not in images and decision.action == "copy" and decision.target is not None:
                copies[path] = inside(decision.target, PROVENANCE.name)
            elif path not in images and decision.action == "convert":
                copy = copy_of(run_name(record.subject, record.sample, record.stain), path)
                copies[path] = inside(copy.as_posix(), PROVENANCE.name)
        return copies

    def save(self, dataset: Path) -> None:
        """Write provenance.json atomically; raise WriteError if it would be too large to be read again."""
        runs = dict(sorted(self.runs.items()))
        decisions = sorted(self.decisions, key=lambda decision: (decision.run, decision.source))
        document = self.model_copy(update={"runs": runs, "decisions": decisions}).model_dump(mode="json")
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        if len(content := text.encode()) > MOST_BYTES or json_parts(content) > MOST_PARTS:
            raise WriteError(
                f"{dataset / PROVENANCE}: would be too large to be read again; package more runs into another dataset"
            )
        write_text(safe_path(dataset, PROVENANCE), text)


def _file_of(key: str, run: RunRecord, ending: str) -> str:
    """Return the pattern of the paths of files that are named after a run."""
    return rf"(derivatives/catnip(-counts)?/)?sub-{re.escape(run.subject)}/micr/{re.escape(key)}[0-9a-zA-Z_+-]*{ending}"


def _refuse_other_path(path: str, pattern: str, field: str) -> None:
    if leads_out(path) or not re.fullmatch(pattern, path):
        raise ValueError(f"{field}: {path!r} is not a path that packaging writes: the dataset was tampered with")


def is_ours(dataset: Path) -> bool:
    """Tell whether a folder is a dataset that this program began, even if it was stopped at once."""
    if os.path.lexists(dataset / PROVENANCE):
        return True
    own_files = {partial_path(safe_path(dataset, PROVENANCE)), dataset / FOLDER_LOCK}
    for parent, folders, files in os.walk(dataset):
        leave_out_leftovers(folders, files)
        is_too_deep = len(Path(parent).relative_to(dataset).parts) > DEEPEST_FOLDER
        if is_too_deep or any(Path(parent, name) not in own_files for name in files):
            return False
    return True


def provenance_of(dataset: Path) -> Provenance:
    """Read the provenance of a dataset that was packaged; raise DatasetError if it does not exist or is damaged."""
    if not (dataset / PROVENANCE).is_file():
        what = "is not a folder" if dataset.exists() else "does not exist"
        if dataset.is_dir():
            what = f"has no {PROVENANCE}"
        raise DatasetError(f"{dataset}: {what}; give a dataset that catnip2bids package made")
    return read_provenance(dataset)


def read_provenance(dataset: Path) -> Provenance:
    """Read the provenance of a dataset; return an empty one for a new dataset, raise DatasetError for a damaged one."""
    path = dataset / PROVENANCE
    if not path.is_file():
        return Provenance()
    try:
        return Provenance.model_validate_json(read_json(path, MOST_BYTES, MOST_PARTS))
    except ValidationError as error:
        if (n_faults := error.error_count()) > _MOST_FAULTS:  # the list of them may take gigabytes
            raise DatasetError(f"{path}: is damaged in {n_faults:,} places; bring it back from a copy") from None
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        where = f"field {field}: {what}" if field else what
        raise DatasetError(f"{path}: is damaged ({where}); bring it back from a copy") from error
    except OSError as error:
        raise DatasetError(unreadable(path, error)) from error
