"""Tables of regions: the atlas tables that name label values, and CATNIP's counts of cells.

Invariant: a table never mixes ids of different atlases. With one atlas the table is ``dseg.tsv``, with several each has
its own ``atlas-<label>_dseg.tsv``. A label value that occurs and that no table names gets a row. The long table of
counts depends only on the tables in the dataset, not on the order in which animals were packaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import remove, write_text
from catnip2bids.bids.dataset_paths import DERIVATIVE, entities_of
from catnip2bids.bids.provenance import Provenance
from catnip2bids.bids.tables import UNKNOWN, Table, read_table
from catnip2bids.catnip.atlas import ATLAS_LABELS, AtlasTable, read_atlas_table
from catnip2bids.catnip.counts import counted_segmentation, read_counts
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.leftovers import without_leftovers
from catnip2bids.ome import color_of_label
from catnip2bids.paths import safe_path

_COUNTS = ("index", "name", "abbreviation", "cell_count", "label_volume")
"""Columns of a table of counts."""


def write_atlas_tables(dataset: Path, provenance: Provenance, tables: Mapping[str, AtlasTable]) -> list[str]:
    """Write the atlas tables of a dataset, record in provenance which run uses which, and return their names.

    `tables` has those of the runs that are packaged now, by the keys of the runs.
    """
    groups: list[tuple[AtlasTable, list[str]]] = []
    for key, run in sorted(provenance.runs.items()):
        earlier = _read_written_table(dataset / DERIVATIVE / run.atlas_table) if run.atlas_table else None
        table = tables.get(key, earlier)
        if table is not None and earlier is not None and table.same_atlas_as(earlier):
            table = table.merged_with(earlier)
        if table is not None and (table.regions or _occurring(provenance, [key])):
            _join(groups, table, key)
    before = {run.atlas_table for run in provenance.runs.values() if run.atlas_table}
    versions = [[provenance.runs[key].atlas_version for key in keys] for _, keys in groups]
    names = _file_names([next(filter(None, of_group), "") for of_group in versions])
    for (table, keys), name in zip(groups, names, strict=True):
        write_text(safe_path(dataset, DERIVATIVE / name), _dseg(table, _occurring(provenance, keys)).to_tsv())
        for key in keys:
            provenance.runs[key].atlas_table = name
    for gone in before - set(names):
        table_file = DERIVATIVE / gone
        remove(safe_path(dataset, table_file))
        remove(safe_path(dataset, table_file.with_suffix(".json")))
    return names


def atlas_of(counts: Iterable[Path], given: AtlasTable | None, dataset: Path) -> AtlasTable:
    """Return the given table, or the one of the counts of a run, merged with that of the same atlas in the dataset."""
    if given is not None:
        return given
    tables = [AtlasTable.from_counts(read_counts(table)) for table in counts]
    counted = max(tables, key=lambda table: len(table.regions), default=AtlasTable({}))
    written = [table for table in read_atlas_tables(dataset) if table.same_atlas_as(counted)]
    return written[0].merged_with(counted) if written else counted


def read_atlas_tables(dataset: Path) -> list[AtlasTable]:
    """Read the atlas tables of a dataset, without generated colours and names."""
    found = (_read_written_table(path) for path in sorted(without_leftovers((dataset / DERIVATIVE).glob("*dseg.tsv"))))
    return [table for table in found if table is not None]


def _read_written_table(path: Path) -> AtlasTable | None:
    if not path.is_file():
        return None
    try:
        table = read_atlas_table(path)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    known = {
        index: replace(region, color=None) if region.color == color_of_label(index) else region
        for index, region in table.regions.items()
        if not region.is_unlisted
    }
    return AtlasTable(known, table.version)


def _join(groups: list[tuple[AtlasTable, list[str]]], table: AtlasTable, key: str) -> None:
    for position, (other, keys) in enumerate(groups):
        if other.same_atlas_as(table):
            groups[position] = (other.merged_with(table), [*keys, key])
            return
    groups.append((table, [key]))


def _file_names(versions: list[str]) -> list[str]:
    """Name the table of each atlas; the version of one may be unknown, and is empty then."""
    if len(versions) == 1:
        return ["dseg.tsv"]
    names: list[str] = []
    for version in versions:
        label = f"CATNIP{version}"
        alike = tuple(f"atlas-{label}{end}".casefold() for end in "_x")  # the same name on macOS and Windows
        n_alike = sum(name.casefold().startswith(alike) for name in names)
        names.append(f"atlas-{label}{f'x{n_alike + 1}' if n_alike else ''}_dseg.tsv")
    return names


def _occurring(provenance: Provenance, keys: list[str]) -> set[int]:
    return {
        value
        for key in keys
        for image in provenance.runs[key].images.values()
        if image.role in ATLAS_LABELS
        for value in image.label_values or ()
    }


def _dseg(table: AtlasTable, occurring: set[int]) -> Table:
    regions = [*table.regions.values(), *map(table.region_of, table.unlisted_values(occurring))]
    extra = tuple(dict.fromkeys(column for region in regions for column in region.extra))
    rows = [
        {
            "index": str(region.index),
            "name": region.name,
            "abbreviation": region.abbreviation or UNKNOWN,
            "color": region.color or color_of_label(region.index),
            **region.extra,
        }
        for region in sorted(regions, key=lambda region: region.index)
    ]
    return Table(("index", "name", "abbreviation", "color", *extra), tuple(rows))


def write_counts(dataset: Path, file: Path, target: PurePosixPath) -> bool:
    """Write one table of counts, with ``n/a`` for regions that CATNIP excluded; return whether it changed."""
    rows = [
        {column: UNKNOWN if (value := getattr(count, column)) is None else str(value) for column in _COUNTS}
        for count in read_counts(file)
    ]
    return write_text(safe_path(dataset, target), Table(_COUNTS, tuple(rows)).to_tsv())


def write_long_table(dataset: Path, folder: PurePosixPath) -> tuple[str, ...]:
    """Join all tables of counts below a folder in its ``counts.tsv``; return its columns, or none without tables."""
    tables = sorted(without_leftovers((dataset / folder).glob("sub-*/micr/*_counts.tsv")))
    if not tables:
        for name in ("counts.tsv", "counts.json"):
            remove(safe_path(dataset, folder / name))
        return ()
    entities = {path: entities_of(path.name.removesuffix("_counts.tsv")) for path in tables}
    rows = []
    for path, found in entities.items():
        counted = counted_segmentation(found.get("desc", ""))
        if counted is None:
            continue  # not a table of ours
        threshold, is_corrected = counted
        which = {
            "participant_id": f"sub-{found['sub']}",
            "sample_id": f"sample-{found['sample']}",
            "stain": found.get("stain", UNKNOWN),
            "threshold": str(threshold),
            "corrected": "true" if is_corrected else "false",
        }
        rows += [which | dict(row) for row in read_table(path).rows]
    stains = {found.get("stain", UNKNOWN) for found in entities.values()}
    stain = ("stain",) if len(stains) > 1 else ()
    columns = ("participant_id", "sample_id", *stain, "threshold", "corrected", *_COUNTS)
    write_text(safe_path(dataset, folder / "counts.tsv"), Table(columns, tuple(rows)).to_tsv())
    return columns
