"""Issues of the BIDS validator, and what they mean to a person: what is wrong, and what to do.

Invariant: an issue has an explanation only if its code is known and its details were understood; all others keep the
validator's own words.

The codes, and the texts that details are taken from, were read in the source of bids-validator-deno 3.0.2
(`src/issues/list.ts`, `src/validators`, `src/schema/applyRules.ts`) and in the BIDS schema 1.2.7 (`rules.checks`).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from catnip2bids.validation.tree import DESCRIPTION, ROOT

_LINK = re.compile(r"\[([^]]*)\]\(SPEC_ROOT[^)]*\)")
_ADDRESS = re.compile(r"SPEC_ROOT\S*")


class ValidatorOutput(BaseModel):
    """A part of the validator's JSON output, whose keys are in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Issue(ValidatorOutput):
    """One issue, in the words of the validator."""

    code: str
    severity: Literal["error", "warning", "ignore"]
    sub_code: str = ""  # the JSON key, the column of a table, or the place in CITATION.cff
    location: str = ""  # begins with a slash, and may end with one
    issue_message: str = ""
    line: int | None = None
    affects: tuple[str, ...] | str = ()

    @property
    def others(self) -> tuple[str, ...]:
        """The other files of the issue, relative to the dataset that was validated."""
        affects = (self.affects,) if isinstance(self.affects, str) else self.affects
        return tuple(path.strip("/") for path in affects)

    def file(self, part: PurePosixPath) -> PurePosixPath:
        """Return the file of the issue, relative to the whole dataset, if `part` of it was validated."""
        return part / (self.location.strip("/") or next(iter(self.others), ""))

    def raw_message(self, general: str) -> str:
        """Return the words of the validator; `general` is what it says about the code."""
        line = f"line {self.line}" if self.line is not None else ""
        others = f"see also {', '.join(self.others)}" if self.location and self.others else ""
        said = (self.sub_code, line, general, self.issue_message, others)
        return without_links("; ".join(text.strip() for text in said if text.strip()))


_PLAN_KEYS = {"Name": "dataset.name", "Authors": "dataset.authors", "License": "dataset.license"}
"""Keys of dataset_description.json that have a key of their own in the plan."""

_TEXTS = {
    # files and their names
    "NOT_INCLUDED": "is not a file that BIDS knows here; move it to code/, docs/ or sourcedata/, or list it in "
    "{ignore}",
    "FILENAME_MISMATCH": "its name is not as BIDS orders it; rename it {expected}",
    "INVALID_LOCATION": "its name and its folder do not fit together ({said}); move or rename it",
    "EXTENSION_MISMATCH": "BIDS does not allow this file type here: images are .ome.zarr, .ome.tif, .ome.btf, .tif or "
    ".png; convert it, or list it in {ignore}",
    "MISSING_REQUIRED_ENTITY": "its name lacks what BIDS requires: {entities}; rename it, as in "
    "sub-45670ko_sample-LeftHemisphere_SPIM.ome.zarr",
    "ENTITY_NOT_IN_RULE": "BIDS does not allow {entities} in the name of such a file; rename it, or list it in "
    "{ignore}",
    "INVALID_ENTITY_LABEL": "{entity}-{label} in its name is not valid: labels are letters and digits only; rename it",
    "ENTITY_WITH_NO_LABEL": "{said} in its name has no label; rename it, as in sample-LeftHemisphere",
    "DATATYPE_MISMATCH": "is in the wrong folder for its suffix: microscopy images such as _SPIM are in micr/; move it",
    "ALL_FILENAME_RULES_HAVE_ISSUES": "BIDS has no such file name; rename it, or list it in {ignore}",
    "CASE_COLLISION": "differs only in case from {others}, and they are one file on macOS and Windows; rename one",
    "EMPTY_FILE": "is empty; bring it back from a copy, package its run again, or delete it",
    "FILE_READ": "cannot be read; bring it back from a copy",
    "INVALID_FILE_ENCODING": "is not UTF-8 text; save it as UTF-8",
    "SYMLINK_BROKEN": "is a link to something that does not exist; put the file itself in its place, or delete it",
    "SYMLINK_CYCLE": "is a link that leads to itself; put the file itself in its place, or delete it",
    "SYMLINK_OUT_OF_TREE": "is a link that leads out of the dataset; put the file itself in its place",
    # JSON
    "JSON_INVALID": "is not valid JSON; correct it, or bring it back from a copy",
    "JSON_NOT_AN_OBJECT": "must be a JSON object, in curly brackets; correct it, or bring it back from a copy",
    "INVALID_JSON_ENCODING": "is not UTF-8 text; save it as UTF-8",
    "JSON_SCHEMA_VALIDATION_ERROR": "{key} {must}; correct it in {place}",
    "JSON_KEY_REQUIRED": "has no {key}, which BIDS requires; add it to {place}",
    "JSON_KEY_RECOMMENDED": "has no {key}, which BIDS recommends; add it to {place}",
    "SIDECAR_KEY_REQUIRED": "its sidecar has no {key}, which BIDS requires; package its run again, or add it to the "
    ".json file beside it",
    "SIDECAR_KEY_RECOMMENDED": "its sidecar has no {key}, which BIDS recommends; add it to {sidecar_place}",
    "SIDECAR_FIELD_OVERRIDE": "{key} is in {outer} too; keep it in one of them (SPIM.json has what the plan says under "
    "dataset.acquisition)",
    "MULTIPLE_INHERITABLE_FILES": "this and another JSON file beside it apply to the same image ({others}); put the "
    "fields of both into one",
    "SIDECAR_WITHOUT_DATAFILE": "describes a file that does not exist; bring that back from a copy, package its run "
    "again, or delete this one",
    # tables
    "TSV_VALUE_INCORRECT_TYPE": "line {line}: {value} is not allowed in the column {key}{wanted}; correct it, or write "
    "n/a if it is unknown",
    "TSV_COLUMN_HEADER_DUPLICATE": "has two columns of one name ({said}); rename or remove one",
    "TSV_EQUAL_ROWS": "line {line} has more or fewer values than the header; put one tab between two values",
    "TSV_EMPTY_LINE": "line {line} is empty; remove it",
    "TSV_COLUMN_MISSING": "has no column {key}, which BIDS requires; add it",
    "TSV_COLUMN_ORDER_INCORRECT": "{key} must be column {number}; move it there",
    "TSV_ADDITIONAL_COLUMNS_UNDEFINED": "nothing says what the column {key} means; add its Description to {json}",
    "TSV_ADDITIONAL_COLUMNS_MUST_DEFINE": "nothing says what the column {key} means; add its Description to {json}",
    "TSV_ADDITIONAL_COLUMNS_NOT_ALLOWED": "has a column {key}, which BIDS does not allow here; remove it",
    "TSV_INDEX_VALUE_NOT_UNIQUE": "line {line_of_row} repeats the id of an earlier line ({repeated}); remove one",
    "TSV_COLUMN_TYPE_REDEFINED": "describes the column {key} otherwise than BIDS does ({said}); correct it",
    "TSV_PSEUDO_AGE_DEPRECATED": "line {line}: write the age 89 instead of 89+",
    "PARTICIPANT_ID_MISMATCH": "its animals are not those of the folders sub-*; correct the rows, or bring the folders "
    "back",
    "SAMPLES_TSV_MISSING": "samples.tsv does not exist; package again, which writes it",
    "SCANS_FILENAME_NOT_MATCH_DATASET": "lists an image that does not exist; bring it back from a copy, or package its "
    "run again",
    "AGE_89": "has an age of 89 or more, which matters for people only; ages of animals are in weeks",
    "ATLAS_DESCRIPTION_RECOMMENDED": "nothing describes this atlas; write its Name and License into "
    "{atlas}_description.json beside this file and package again, which keeps it",
    # the whole dataset
    "NO_AUTHORS": "names no authors; add them to the plan (dataset.authors) and package again",
    "TOO_FEW_AUTHORS": "names fewer than two authors; if somebody is missing, complete the plan (dataset.authors) and "
    "package again",
    "EMPTY_DATASET_NAME": "has no Name; add it to the plan (dataset.name) and package again",
    "UNKNOWN_BIDS_VERSION": "names a BIDSVersion that the validator does not know; package again, which corrects it",
    "SUBJECT_FOLDERS": "the dataset has no animal; package one",
    "README_FILE_MISSING": "the dataset has no README; package again, which writes it",
    "README_FILE_SMALL": "is very short; say in it what the experiment was, how it was done, and whom to ask",
    "MULTIPLE_README_FILES": "is one of several READMEs; keep one",
    "AUTHORS_AND_CITATION_FILE_MUTUALLY_EXCLUSIVE": "BIDS allows no Authors in dataset_description.json beside "
    "a CITATION.cff; delete CITATION.cff, or delete the authors there and in the plan (dataset.authors)",
    "SINGLE_SOURCE_CITATION_FIELDS": "there is a CITATION.cff, so BIDS wants License, HowToAcknowledge and "
    "ReferencesAndLinks only in it; delete CITATION.cff, or delete them in dataset_description.json and in the plan",
    "CITATION_CFF_VALIDATION_ERROR": "{key} {said}; correct it as https://citation-file-format.github.io describes",
    # images
    "PIXEL_SIZE_INCONSISTENT": "its sidecar has another PixelSize than the OME-XML of the image; package its run again",
    "INCONSISTENT_TIFF_EXTENSION": "a classic TIFF ends in .ome.tif, a BigTIFF in .ome.btf; rename the image and its "
    "files, or package its run again",
}
"""What is wrong, and what to do, by the code of the issue."""

_DETAILS = {
    "FILENAME_MISMATCH": r"Expected filename: (?P<expected>\S+)",
    "MISSING_REQUIRED_ENTITY": r"(?P<entities>.+) missing from rule",
    "ENTITY_NOT_IN_RULE": r"(?P<entities>.+) not in rule",
    "INVALID_ENTITY_LABEL": r"entity: (?P<entity>\S+) label: (?P<label>.*) pattern:",
    "SIDECAR_FIELD_OVERRIDE": r"defined in /?(?P<outer>.+) overrides previous value",
    "TSV_VALUE_INCORRECT_TYPE": r"(?P<value>'.*')(?:, did you mean .*)?$",
    "TSV_COLUMN_ORDER_INCORRECT": r"Initial column (?P<number>\d+)",
    "TSV_INDEX_VALUE_NOT_UNIQUE": r"Row: (?P<line_of_row>\d+), Value: (?P<repeated>.*)",
}
"""Where the details of a text stand in the words of the validator."""

_DESCRIPTION_KEYS = {
    "HEDVersion": "has no HEDVersion; ignore this unless you added HED tags to the dataset",
    **{
        key: f"has no {key}; package again, which writes it"
        for key in ("BIDSVersion", "DatasetType", "GeneratedBy", "SourceDatasets", "DatasetLinks")
    },
}
"""Keys of dataset_description.json that no person has to write."""

_MUST = {
    "must be number": "must be a number",
    "must be integer": "must be a whole number",
    "must be string": "must be text in quotes",
    "must be array": "must be a list",
    "must be object": "must be a table",
    "must be boolean": "must be true or false",
    'must match format "uri"': "must be an address, such as https://doi.org/...",
}
"""What a value must be, by the words of the JSON Schema checker."""
_ALLOWED = re.compile(r"MUST be one of:?\s+(?P<values>.+?)\.\s", re.DOTALL)

_WANTED = {
    "age": ": ages are numbers, in weeks",
    "sex": ": it is M, F or O",
    "handedness": ": it is L, R or A",
    "strain_rrid": ": an RRID is like RRID:IMSR_JAX:000664",
    "sample_type": ": it is tissue for a hemisphere or a brain",
    "acq_time": ": times are like 2021-08-10T14:48:50",
}
"""What BIDS allows in a column."""


def explain(issue: Issue, part: PurePosixPath) -> str | None:
    """Say what is wrong and what to do, or return None if that is unknown.

    `part` is the folder that was validated, relative to the whole dataset.
    """
    file, key, said = issue.file(part), issue.sub_code, _first_paragraph(issue.issue_message)
    if issue.code.startswith("JSON_KEY_") and file.name == DESCRIPTION and key in _DESCRIPTION_KEYS:
        return _DESCRIPTION_KEYS[key]
    details = re.search(_DETAILS.get(issue.code, ""), said, re.DOTALL)
    if (text := _TEXTS.get(issue.code)) is None or details is None:
        return None
    return text.format(
        **details.groupdict(),
        key=key,
        said=said,
        line=issue.line,
        others=", ".join(issue.others),
        must=_must(issue.issue_message),
        wanted=_WANTED.get(key, ""),
        ignore=part / ".bidsignore",
        json=f"{file.stem}.json",
        atlas=file.name.partition("_")[0],
        place=_place(file, key),
        sidecar_place=_sidecar_place(file),
    ).strip()


def without_links(text: str) -> str:
    """Write links into the BIDS specification, which the validator leaves unresolved, as their text."""
    return _ADDRESS.sub("the BIDS specification", _LINK.sub(r"\1", text))


def _first_paragraph(text: str) -> str:
    """Leave out the description of the field, which follows after an empty line."""
    return text.partition("\n\n")[0].strip()


def _must(message: str) -> str:
    said = _first_paragraph(message)
    allowed = _ALLOWED.search(f"{message} ")
    if said == "must be equal to one of the allowed values" and allowed:
        return f"must be one of {' '.join(allowed['values'].replace('`', '').split())}"
    return _MUST.get(said, said)


def _place(file: PurePosixPath, key: str) -> str:
    """Say where a person writes a key of a JSON file so that packaging again keeps it."""
    if file.name == DESCRIPTION and (file.parent == ROOT or key in _PLAN_KEYS):
        return f"the plan ({_PLAN_KEYS.get(key, 'dataset.description')}) and package again"
    if file == PurePosixPath("SPIM.json"):
        return "the plan (dataset.acquisition) and package again"
    return "the file, packaging again keeps it"


def _sidecar_place(image: PurePosixPath) -> str:
    if image.parts[:1] == ("derivatives",):
        return "the .json file beside it, packaging again keeps it"
    return "the plan (dataset.acquisition) and package again"
