"""The dataset's memory: what was packaged, from what, with which settings, and why; what was left out, and why.

Invariant: everything in the dataset that is not an image or a copy can be made again from this document and
from the tables that are there. It names no absolute path, no user and no machine, because it gets published. What it
says is checked when it is read: a path of the dataset is one that packaging could have made for that run.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from catnip2bids.atomic_write import partial_path, write_text
from catnip2bids.bids.dataset_paths import SOURCEDATA, copy_of
from catnip2bids.bids.evidence import ITEM_AFTER_ITEM, checked_evidence
from catnip2bids.bids.names import LABEL, run_name
from catnip2bids.documents import json_parts, read_json
from catnip2bids.errors import DatasetError, WriteError
from catnip2bids.leftovers import leave_out_leftovers
from catnip2bids.locks import FOLDER_LOCK
from catnip2bids.paths import inside, leads_out, safe_path

FOLDER = Path("code/catnip2bids")
"""Where it is kept, below the dataset."""
PROVENANCE = FOLDER / "provenance.json"
PLAN = FOLDER / "plan.toml"
VERSION = 1
"""Of the provenance that is written, and the newest that is read."""
MOST_BYTES, MOST_PARTS = 32 * 2**20, 1_400_000
"""The largest provenance, of about 900 runs. Reading it takes 150 MiB of memory, and 400 MiB if it was made to take
much (measured)."""
_MOST_FAULTS = 1000
_IMAGE = r"\.ome\.(zarr|tif|btf)"
_ATLAS_TABLE = rf"(atlas-{LABEL}_)?dseg\.tsv"

_Texts = Annotated[dict[str, str], ITEM_AFTER_ITEM]
Label = Annotated[str, Field(pattern=f"^{LABEL}$")]
_Length = Annotated[int, Field(gt=0, le=2**31)]
_Size = Annotated[float, Field(ge=1e-9, le=1e9)]
RunKey = Annotated[str, Field(pattern=f"^sub-{LABEL}_sample-{LABEL}_stain-{LABEL}$")]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Decision(_Document):
    """What was done with one source entry, and why.

    Attributes
    ----------
    run
        Key of the run in `Provenance.runs`.
    source
        POSIX path below the SOURCE that was given.
    action
        ``convert``, ``copy`` or ``exclude``.
    target
        POSIX path below the dataset; None if there is none.
    reason
        Why.
    problem
        What is wrong, if that is why; None if it is as planned.
    evidence
        What was found out about the pixels, if anything.
    slice_number
        The pattern that the plan gave for the slice number in the names of its files.
    n_bytes, written
        Bytes of the entry, and when the last of them was written (UTC); None from versions that did not say.
    """

    run: str
    source: str
    action: Literal["convert", "copy", "exclude"]
    target: str | None = None
    reason: str
    problem: str | None = None
    evidence: Annotated[dict[str, Any] | None, AfterValidator(checked_evidence)] = None
    slice_number: str | None = None
    n_bytes: int | None = None
    written: str | None = None


class ImageRecord(_Document):
    """An image of the dataset.

    Attributes
    ----------
    source
        POSIX path below the run folder.
    recovered_from
        The same of the entry without its mask, where the image is the mask that turns that one into `source`.
    role
        What it is in the pipeline, see `catnip2bids.catnip.components`.
    shape, dtype
        Voxels of level 0 along (z, y, x), and the type of the values.
    voxel_size_um
        Voxel size X Y Z in micrometers.
    value_range
        Smallest and largest finite value.
    label_values
        The values that occur in labels and masks.
    how
        How the pixels got into the image, where there is more than one way.
    fingerprint
        Hash of everything that decides what the image is: source files, settings, version.
    n_files, n_bytes
        Files of the image and their bytes, labels that were put into it left out; None from versions that did not say.
    description_sha256
        Hash of the OME-XML of an OME-TIFF.
    embedded
        Fingerprints of the label images inside the image, by name.
    """

    source: str
    recovered_from: str | None = None
    role: str
    shape: tuple[_Length, _Length, _Length]
    dtype: Annotated[str, Field(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))$")]
    voxel_size_um: tuple[_Size, _Size, _Size]
    value_range: tuple[float, float]
    label_values: Annotated[list[int], Field(fail_fast=True)] | None = None
    how: str | None = None
    fingerprint: str
    n_files: int | None = None
    n_bytes: int | None = None
    description_sha256: str | None = None
    embedded: _Texts = Field(default_factory=dict)


def _checked_source(source: str) -> str:
    if source != "." and leads_out(source):
        raise ValueError(f"the path {source!r} leads out of its folder; the dataset was tampered with")
    return source


class RunRecord(_Document):
    """One packaged run.

    Attributes
    ----------
    name
        Name of the run folder.
    source
        POSIX path of the run folder below the SOURCE that was given.
    source_id
        Id of the animal as the source names it; None if somebody said the subject in so many words.
    subject, sample, stain
        BIDS labels.
    layout
        Layout of CATNIP's output.
    atlas_version, atlas_table
        Version of the atlas, and the file in ``derivatives/catnip`` that names its labels.
    log
        Fields of CATNIP's log, without folders of the machine.
    images
        Image records by POSIX path below the dataset.
    sidecars
        Fields that were generated for the sidecars of the images, by the POSIX paths of the sidecars.
    """

    name: str
    source: Annotated[str, AfterValidator(_checked_source)]
    source_id: str | None
    subject: Label
    sample: Label
    stain: Label
    layout: str
    atlas_version: str | None = None
    atlas_table: str | None = None
    log: _Texts = Field(default_factory=dict)
    images: Annotated[dict[str, ImageRecord], ITEM_AFTER_ITEM] = Field(default_factory=dict)
    sidecars: Annotated[dict[str, dict[str, Any]], ITEM_AFTER_ITEM] = Field(default_factory=dict)


class Invocation(_Document):
    """One time the program was run on the dataset.

    Attributes
    ----------
    command
        The command with the options that decide what the dataset is, also where a call from Python did the same; of
        SOURCE, the dataset and other files the names alone.
    time
        When it began to write, ISO 8601 with the zone.
    versions
        Of the program, Python, the system, BIDS and the libraries that were there, by name.
    settings
        Choices that decide what the dataset is, by the names of `catnip2bids.Settings`.
    """

    command: str
    time: str
    versions: _Texts
    settings: dict[str, Any]


class Provenance(_Document):
    """Everything that is known about how the dataset came about.

    Attributes
    ----------
    version
        Version of this document, which a newer program may raise.
    command, settings, versions
        Of the last invocation.
    history
        All invocations, oldest first.
    runs
        Packaged runs; the key is ``sub-..._sample-..._stain-...``.
    decisions
        One for each source entry of each run.
    """

    version: Annotated[int, Field(ge=1, le=VERSION)] = VERSION
    command: str = ""
    versions: _Texts = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    history: Annotated[list[Invocation], Field(fail_fast=True)] = Field(default_factory=list)
    runs: Annotated[dict[RunKey, RunRecord], ITEM_AFTER_ITEM] = Field(default_factory=dict)
    decisions: Annotated[list[Decision], Field(fail_fast=True)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        for key, run in self.runs.items():
            if key != f"sub-{run.subject}_sample-{run.sample}_stain-{run.stain}":
                raise ValueError(f"runs.{key}: has other labels than its key")
            for image in run.images:
                _refuse_other_path(image, _file_of(key, run, _IMAGE), f"runs.{key}.images")
            for sidecar in run.sidecars:
                _refuse_other_path(sidecar, _file_of(key, run, r"\.json"), f"runs.{key}.sidecars")
            if run.atlas_table is not None:
                _refuse_other_path(run.atlas_table, _ATLAS_TABLE, f"runs.{key}.atlas_table")
        for number, decision in enumerate(self.decisions):
            field, key = f"decisions.{number}", decision.run
            if key not in self.runs:
                raise ValueError(f"{field}.run: {key!r} is not one of the runs")
            if decision.target is not None:
                made = _file_of(key, self.runs[key], rf"({_IMAGE}|_counts\.tsv)")
                _refuse_other_path(decision.target, rf"{made}|{SOURCEDATA}/(?s:.+)", f"{field}.target")
        return self

    def decisions_of(self, run: str) -> dict[str, Decision]:
        """Return the decisions about all entries of a run, by their POSIX paths below the run folder."""
        folder = self.runs[run].source
        return {
            os.path.relpath(decision.source, folder): decision for decision in self.decisions if decision.run == run
        }

    def copies_of(self, run: str) -> dict[str, PurePosixPath]:
        """Return where files and folders of a run are kept as they are, by their POSIX paths below the run folder."""
        record, copies = self.runs[run], {}
        images = {image.source for image in record.images.values() if image.recovered_from is None}
        for path, decision in self.decisions_of(run).items():
            if path not in images and decision.action == "copy" and decision.target is not None:
                copies[path] = inside(decision.target, PROVENANCE.name)
            elif path not in images and decision.action == "convert":
                copies[path] = copy_of(run_name(record.subject, record.sample, record.stain), path)
        return copies

    def save(self, dataset: Path) -> None:
        """Write it into the dataset, whole or not at all.

        Raises
        ------
        WriteError
            If it would be too large to be read again.
        """
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
    """Return the pattern of the files of a run that are named after it."""
    return rf"(derivatives/catnip(-counts)?/)?sub-{re.escape(run.subject)}/micr/{re.escape(key)}[0-9a-zA-Z_+-]*{ending}"


def _refuse_other_path(path: str, pattern: str, field: str) -> None:
    if leads_out(path) or not re.fullmatch(pattern, path):
        raise ValueError(f"{field}: {path!r} is not a path that packaging writes: the dataset was tampered with")


def is_ours(dataset: Path) -> bool:
    """Tell whether a folder is a dataset that this program began, even if it was stopped at once."""
    if (dataset / PROVENANCE).is_file():
        return True
    begun = {partial_path(safe_path(dataset, PROVENANCE)), dataset / FOLDER_LOCK}
    for parent, folders, files in os.walk(dataset):
        leave_out_leftovers(folders, files)
        if any(Path(parent, name) not in begun for name in files):
            return False
    return True


def provenance_of(dataset: Path) -> Provenance:
    """Read the provenance of a dataset that was packaged.

    Raises
    ------
    DatasetError
        If it is not there, or cannot be read.
    """
    if not (dataset / PROVENANCE).is_file():
        what = (
            f"has no {PROVENANCE}" if dataset.is_dir() else "is not a folder" if dataset.exists() else "does not exist"
        )
        raise DatasetError(f"{dataset}: {what}; give a dataset that catnip2bids package made")
    return read_provenance(dataset)


def read_provenance(dataset: Path) -> Provenance:
    """Read the provenance of a dataset; a new dataset has an empty one.

    Raises
    ------
    DatasetError
        If it is there and cannot be read.
    """
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
        raise DatasetError(f"{path}: cannot be read: {error.strerror}; make it readable and run again") from error
