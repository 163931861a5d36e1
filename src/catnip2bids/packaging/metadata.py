"""Files of a dataset that are neither images nor copies: descriptions, tables, sidecars, READMEs.

Invariant: they depend only on provenance and on their earlier content, not on the order in which animals were packaged.
Rows, keys and texts that a person added stay. A field of a sidecar is updated as long as it has the value that was
generated last, which provenance records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from catnip2bids._version import __version__
from catnip2bids.atomic_write import make_folder, remove, write_json, write_text
from catnip2bids.bids.dataset_paths import (
    COUNTS,
    DERIVATIVE,
    SOURCEDATA,
    entities_of,
    image_stem,
    tables_folder,
    tables_of_counts,
)
from catnip2bids.bids.provenance import PLAN, Provenance
from catnip2bids.bids.schema import bids_version, recommended_image_metadata
from catnip2bids.bids.tables import UNKNOWN, Row, Table, read_table
from catnip2bids.catnip.atlas import COLUMNS_OF_CATNIP, UNLISTED, Region
from catnip2bids.catnip.components import COMPONENTS, component_of
from catnip2bids.catnip.run_name import SAMPLES
from catnip2bids.enums import Naming
from catnip2bids.formatting import format_list
from catnip2bids.leftovers import without_leftovers
from catnip2bids.packaging import readme_texts
from catnip2bids.packaging.dataset_readme import dataset_readme
from catnip2bids.packaging.existing_dataset import read_json
from catnip2bids.packaging.licenses import license_text
from catnip2bids.packaging.participants import COLUMNS, PARTICIPANTS, GivenParticipants, merged_participants
from catnip2bids.packaging.readme_recipes import recipes
from catnip2bids.packaging.region_tables import (
    move_unused_descriptions,
    write_atlas_tables,
    write_long_table,
    write_region_tables,
)
from catnip2bids.packaging.sidecars import write_sidecars
from catnip2bids.packaging.tasks import RunTasks
from catnip2bids.paths import SafePath, beside, exists, safe_path
from catnip2bids.plan import AboutDataset

_SELF = {"Name": "catnip2bids", "Version": __version__, "Description": "Packaging of CATNIP output as BIDS"}
_CATNIP = {
    "Name": "catnip",
    "Version": "unknown",
    "Description": "CATNIP, whole brain cellular activity estimation",
    "CodeURL": "https://github.com/SNIR-NIMH/CATNIP",
}
_TITLE = "Light-sheet images of cleared brains, processed with CATNIP"
_OF_DERIVATIVE = ": CATNIP's results"
"""The end of the title of the derivative; a person may have written another title."""
_HEMISPHERES = {label: letter for letter, label in SAMPLES.items()}


@dataclass(frozen=True)
class Metadata:
    """The sources of the metadata files of a dataset."""

    dataset: Path
    about: AboutDataset  # from the plan
    explicit: bool  # whether a person gave the plan; otherwise the dataset wins over guesses from names
    naming: Naming
    provenance: Provenance
    runs: Sequence[RunTasks] = ()  # the runs that are packaged now
    participants: GivenParticipants | None = None  # the user's table

    def write(self) -> list[str]:
        """Write all metadata files; return what a person should know."""
        atlas_tables = write_atlas_tables(
            self.dataset, self.provenance, {str(run.name): run.atlas for run in self.runs}
        )
        messages = self._descriptions()
        self._raw_tables()
        self._desc_labels()
        self._atlas_sidecars(atlas_tables)
        without_parents = self._counts(atlas_tables)
        self._readmes(without_parents)
        for run in self.runs:
            write_sidecars(self.dataset, run, self.provenance.runs[str(run.name)])
        return [*messages, *move_unused_descriptions(self.dataset)]

    def _path(self, path: PurePosixPath | str) -> SafePath:
        return safe_path(self.dataset, path)

    # ---- dataset_description.json, SPIM.json, LICENSE

    def _descriptions(self) -> list[str]:
        """Write the descriptions; return what the dataset's own plan brought back."""
        path = self._path("dataset_description.json")
        by_person = {"Name": read_json(path).get("Name") or _TITLE} | self.about.in_description
        of_derivative = self._path(DERIVATIVE / "dataset_description.json")
        # a person may have edited one of them since the licence was written
        licenses_before = {read_json(file).get("License") for file in (path, of_derivative)}
        generated: dict[str, Any] = {
            "BIDSVersion": bids_version(),
            "DatasetType": "raw",
            "GeneratedBy": [_SELF],
            "SourceDatasets": [{"URL": f"bids::{SOURCEDATA}"}],
        }
        before = read_json(path)
        root = self._merged_json(path, by_person, generated)
        messages = self._brought_back(path, self.about.in_description, before)
        shared = {key: value for key, value in root.items() if key in {"License", "Authors"}}
        generated = {
            "BIDSVersion": bids_version(),
            "DatasetType": "derivative",
            "GeneratedBy": [_CATNIP, _SELF],
            "SourceDatasets": [{"URL": "bids:raw:"}],
            "DatasetLinks": {"raw": "../..", "catnip-source": f"../../{SOURCEDATA}"},
        }
        name = str(read_json(of_derivative).get("Name", _OF_DERIVATIVE))
        if name.endswith(_OF_DERIVATIVE):
            name = f"{root['Name']}{_OF_DERIVATIVE}"
        self._merged_json(of_derivative, {}, {"Name": name, **shared, **generated})
        acquisition: dict[str, Any] = dict.fromkeys(recommended_image_metadata(), UNKNOWN)
        acquisition |= {"BodyPart": "BRAIN", "SampleEnvironment": "ex vivo"}
        for of_image in ("BodyPartDetails", "SampleStaining"):  # these are in the sidecar of each image
            acquisition.pop(of_image, None)
        path = self._path("SPIM.json")
        if any(target.startswith("sub-") for target in self.provenance.all_images()):
            before = read_json(path)
            messages += self._brought_back(path, self.about.acquisition, before)
            write_json(path, acquisition | self._with_edits(self.about.acquisition, before))
        else:
            remove(path)  # a sidecar that no image uses is an error
        self._license(licenses_before, root.get("License"))
        return messages

    def _brought_back(self, path: Path, by_plan: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
        """Say which keys that a person may have removed from a file it gets from the stored plan."""
        added = [] if self.explicit or not before else [key for key in by_plan if key not in before]
        what = f"has {format_list(added)} as in {PLAN}; if this is not wanted, remove it from both files"
        return [f"{path}: {what}"] if added else []

    def _license(self, before: Collection[str | None], now: str | None) -> None:
        """Write LICENSE, unless a person wrote it."""
        path = self._path("LICENSE")
        ours = [text.encode() for name in filter(None, before) for text in (license_text(name), f"{name}\n")]
        is_ours = path.is_file() and path.stat().st_size <= max(map(len, ours), default=0) and path.read_bytes() in ours
        if now and (is_ours or not list(without_leftovers(self.dataset.glob("LICENSE*")))):
            write_text(path, license_text(now))

    def _merged_json(
        self, path: SafePath, by_person: Mapping[str, Any], generated: Mapping[str, Any]
    ) -> dict[str, Any]:
        before = read_json(path)
        merged = {**self._with_edits(by_person, before), **generated}
        for key, name in (("GeneratedBy", "Name"), ("SourceDatasets", "URL")):
            known = {entry.get(name) for entry in merged[key]}
            merged[key] = [*merged[key], *(entry for entry in before.get(key, []) if entry.get(name) not in known)]
        write_json(path, merged)
        return merged

    def _with_edits(self, by_plan: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        """Merge what the plan says into the content of a file; a plan that was not given does not replace edits."""
        return {**before, **by_plan} if self.explicit else {**by_plan, **before}

    # ---- tables

    def _raw_tables(self) -> None:
        path = self._path(PARTICIPANTS)
        table = merged_participants(read_table(path, COLUMNS), self.runs, self.participants, explicit=self.explicit)
        given = self.participants.table.columns if self.participants else ()
        self._table(path, table, readme_texts.PARTICIPANTS, given)
        columns = ("sample_id", "participant_id", "sample_type", "pathology", "derived_from", "hemisphere")
        samples: list[Row] = [
            {
                "sample_id": f"sample-{run.sample}",
                "participant_id": f"sub-{run.subject}",
                "sample_type": "tissue",
                "hemisphere": _HEMISPHERES.get(run.sample, UNKNOWN),
            }
            for run in self.runs
        ]
        for folder in (PurePosixPath(), DERIVATIVE):
            path = self._path(folder / "samples.tsv")
            key, before = ["participant_id", "sample_id"], read_table(path, columns)
            self._table(path, before.merged(samples, key, keep_known=not self.explicit), readme_texts.SAMPLES)
        for subject in sorted({run.subject for run in self.runs}):
            make_folder(self._path(f"sub-{subject}/micr"))  # an animal without its folder is an error
            self._scans(self.dataset / f"sub-{subject}", [run for run in self.runs if run.subject == subject])

    def _scans(self, folder: Path, runs: Sequence[RunTasks]) -> None:
        """Write the table of a subject's raw images that exist, also if their format has changed."""
        scans: list[Row] = [
            {"filename": raw.partition("/")[2], "acq_time": run.planned.acquired or UNKNOWN}
            for run in runs
            for raw in self.provenance.runs[str(run.name)].images
            if raw.startswith("sub-") and exists(self.dataset / raw)
        ]
        names = {_stem(scan["filename"]): scan["filename"] for scan in scans}
        path = self._path(f"{folder.name}/{folder.name}_scans.tsv")
        before = read_table(path, ("filename", "acq_time"))
        rows = [{**row, "filename": names.get(_stem(row["filename"]), row["filename"])} for row in before.rows]
        kept = [row for row in rows if exists(folder / row["filename"])]
        keep_known = not self.explicit
        table = Table(before.columns, tuple(kept)).merged(scans, ["filename"], keep_known=keep_known)
        sidecar = beside(path, f"{path.stem}.json")
        if table.rows:
            described = read_json(sidecar)
            acquired = readme_texts.SCANS["acq_time"]
            if described.get("acq_time") == {"Description": acquired["Description"]}:  # of an earlier version
                write_json(sidecar, {**described, "acq_time": acquired})
            self._table(path, table, readme_texts.SCANS)
        else:
            for left in (path, sidecar):
                remove(left)

    def _desc_labels(self) -> None:
        """Write descriptions.tsv of the derivative, which explains ``desc-`` labels."""
        # counts have the label of the segmentation that was counted; images come last, so their text wins
        counted = [(task.component, task.entry.threshold) for run in self.runs for task in run.counts]
        images = self.provenance.all_images().items()
        shown = [component_of(image.role, image.source) for path, image in images if not path.startswith("sub-")]
        texts = {
            f"desc-{component.desc_label(threshold)}": component.described(threshold)
            for component, threshold in (*counted, *filter(None, shown))
        }
        rows: list[Row] = [{"desc_id": desc, "description": text} for desc, text in texts.items()]
        path = self._path(DERIVATIVE / "descriptions.tsv")
        table = read_table(path, ("desc_id", "description"))
        used = texts.keys() | {f"desc-{desc}" for desc in self._used_descs()}
        kept = [
            {**row, "description": texts.get(row["desc_id"], row["description"])}
            if row["description"] in _catnip_texts(row["desc_id"])
            else row
            for row in table.rows
            if row["desc_id"] in used or not _catnip_texts(row["desc_id"])
        ]
        write_text(path, Table(table.columns, tuple(kept)).merged(rows, ["desc_id"], keep_known=True).to_tsv())
        _add_keys(beside(path, f"{path.stem}.json"), {"Description": "Meaning of the desc- labels of this dataset"})

    def _atlas_sidecars(self, atlas_tables: Iterable[str]) -> None:
        for name in atlas_tables:
            document = {
                "Description": f"Regions by their values in the atlas label images; {UNLISTED}_* stands for values "
                "that occur and that CATNIP's table does not name",
                "SpatialReference": "orig",
                "Manual": False,
                **{
                    column: {"Description": f"{column} of CATNIP's atlas table"}
                    for column in read_table(self.dataset / DERIVATIVE / name).columns
                    if column in COLUMNS_OF_CATNIP
                },
            }
            _add_keys(self._path((DERIVATIVE / name).with_suffix(".json")), document)

    def _counts(self, atlas_tables: Mapping[str, Sequence[Region]]) -> list[str]:
        """Write counts.tsv, which joins all tables of counts, and the tables of regions, with their sidecars.

        A dataset may have tables of cells and none of counts. Returns the tables of regions in which no region has a
        parent.
        """
        folder = tables_folder(self.naming)
        columns = write_long_table(self.dataset, folder)
        if not columns and any(run.cells for run in self.provenance.runs.values()):
            columns = ("index", "name")
        region_tables = write_region_tables(self.dataset, folder, self.provenance, atlas_tables if columns else {})
        if columns:
            self._describe_counts(self._path(folder / "counts.json"), columns)
        else:
            remove(self._path(folder / "counts.json"))
        for name in region_tables:
            _add_keys(self._path((folder / name).with_suffix(".json")), readme_texts.REGIONS)
        return [name for name, has_parents in region_tables.items() if not has_parents]

    def _describe_counts(self, path: SafePath, columns: Iterable[str]) -> None:
        """Describe the columns of counts.tsv and of tables of cells; drop our descriptions of columns that are gone."""
        described = readme_texts.described_columns(readme_texts.COUNTS, columns) | readme_texts.CELLS
        before = read_json(path).items()
        kept = {key: text for key, text in before if key in described or text != readme_texts.COUNTS.get(key)}
        write_json(path, {**described, **kept})

    def _used_descs(self) -> set[str]:
        """Return the ``desc-`` labels of all images and tables of counts, also of images whose names have none."""
        images = self.provenance.all_images()
        roles, names = {image.role for image in images.values()}, [Path(target).name for target in images]
        without_threshold = {c.desc for c in COMPONENTS if c.role in roles and c.desc and "{" not in c.desc}
        names += [path.name for path in tables_of_counts(self.dataset)]
        return without_threshold | {entities_of(name).get("desc", "") for name in names}

    def _table(self, path: SafePath, table: Table, columns: Mapping[str, Any], given: Collection[str] = ()) -> None:
        write_text(path, table.to_tsv())
        described = readme_texts.described_columns(columns, table.columns, given)
        described = {"Description": columns["Description"], **described}
        _add_keys(beside(path, f"{path.stem}.json"), described)

    # ---- texts

    def _readmes(self, without_parents: Sequence[str]) -> None:
        description = read_json(self.dataset / "dataset_description.json")
        counts = tables_folder(self.naming)
        readme = dataset_readme(description, self.provenance, counts, recipes(self.dataset, self.provenance, counts))
        readme_texts.replace_marked_part(self._path("README.md"), readme)
        readme = readme_texts.derivative_readme(self.naming, without_parents)
        readme_texts.replace_marked_part(self._path(DERIVATIVE / "README.md"), readme)
        if (self.dataset / COUNTS).is_dir():
            readme = readme_texts.counts_readme(without_parents)
            readme_texts.replace_marked_part(self._path(COUNTS / "README.md"), readme)
        if not (self.dataset / "CHANGES").exists():
            write_text(self._path("CHANGES"), readme_texts.CHANGES.format(date=date.today().isoformat()))
        readme_texts.add_lines(self._path(".bidsignore"), readme_texts.BIDSIGNORE)
        if self.naming == Naming.DSEG:
            readme_texts.add_lines(self._path(DERIVATIVE / ".bidsignore"), readme_texts.DERIVATIVE_BIDSIGNORE)


def _add_keys(path: SafePath, document: Mapping[str, Any]) -> None:
    """Add keys to a JSON file; keys that it has already keep their values, and new ones come first."""
    write_json(path, {**document, **read_json(path)})


def _catnip_texts(desc_id: str) -> set[str]:
    """Return the descriptions that a ``desc-`` label of CATNIP's components may have; none for a person's label."""
    key, _, label = desc_id.partition("-")
    matches = [(component, found) for component in COMPONENTS if (found := component.match_desc(label))]
    thresholds = ((component, found.groupdict().get("threshold")) for component, found in matches)
    return {component.described(int(n) if n else None) for component, n in thresholds} if key == "desc" else set()


def _stem(filename: str) -> str:
    return image_stem(PurePosixPath(filename))
