"""Tables of regions: the atlas tables that name label values, the parents of regions, and CATNIP's counts of cells.

Invariant: a table never mixes ids of different atlases. With one atlas the table is ``dseg.tsv``, with several each
has its own ``atlas-<label>_dseg.tsv``; ``regions.tsv``, with the parents, is named alike. A label value that occurs
and that no table names gets a row. The long table of counts depends only on the tables in the dataset, not on the
order in which animals were packaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from itertools import count, islice
from pathlib import Path, PurePosixPath

from catnip2bids.atomic_write import make_folder, publish, remove, write_text
from catnip2bids.bids.dataset_paths import DERIVATIVE, entities_of, tables_of_counts
from catnip2bids.bids.provenance import Provenance
from catnip2bids.bids.tables import UNKNOWN, Table, read_table
from catnip2bids.catnip.atlas import ATLAS_LABELS, AtlasTable, Region, may_have_same_table, read_atlas_table
from catnip2bids.catnip.atlas_parents import region_tree
from catnip2bids.catnip.counts import RegionCount, counted_segmentation, read_counts
from catnip2bids.errors import DatasetError, SourceError
from catnip2bids.leftovers import without_leftovers
from catnip2bids.ome import color_of_label
from catnip2bids.paths import safe_path
from catnip2bids.region_hierarchy import depths_of

_OF_CATNIP = ("index", "name", "abbreviation", "cell_count", "label_volume")
_COMPUTED = ("volume_mm3", "density_per_mm3")
_COUNTS = (*_OF_CATNIP, *_COMPUTED)
"""Columns of a table of counts."""
_REGION = ("index", "name", "abbreviation", "color")
_WITH_PARENTS = ("index", "name", "abbreviation", "parent", "depth", "color")
_ROUNDED = Context(prec=9)


def write_atlas_tables(
    dataset: Path, provenance: Provenance, tables: Mapping[str, AtlasTable]
) -> dict[str, list[Region]]:
    """Write the atlas tables of a dataset and record in provenance which run uses which; return their regions by name.

    `tables` holds the tables of the runs that are packaged now, by run key. Even if this is killed, provenance on disk
    names a table of its atlas for each run: it is saved after new tables are written, before old ones are removed.
    """
    groups: list[tuple[AtlasTable, list[str]]] = []
    for key, run in sorted(provenance.runs.items()):
        earlier = None
        if run.atlas_table is not None:
            earlier = read_written_table(dataset / DERIVATIVE / run.atlas_table)
            earlier = earlier or stored_regions(tables_of_counts(dataset, run=key))  # of a table that is gone
        table = tables.get(key, earlier)
        if table is not None and earlier is not None and table.same_atlas_as(earlier):
            table = table.merged_with(earlier)
        if table is not None and (table.regions or _occurring(provenance, [key])):
            _join(groups, table, key)
    before = _recorded(provenance)
    for key in provenance.runs.keys() - {key for _, keys in groups for key in keys}:
        provenance.runs[key].atlas_table = None
    versions = [[provenance.runs[key].atlas_version for key in keys] for _, keys in groups]
    names = _file_names([next(filter(None, of_group), "") for of_group in versions])
    free = _names_without_another_atlas(dataset, [table for table, _ in groups], names)
    for chosen in dict.fromkeys((free, tuple(names))):
        written = {}
        for (table, keys), name in zip(groups, chosen, strict=True):
            written[name] = _with_unlisted(table, _occurring(provenance, keys))
            write_text(safe_path(dataset, DERIVATIVE / name), _dseg(written[name]).to_tsv())
            for key in keys:
                provenance.runs[key].atlas_table = name
        if _recorded(provenance) != before:
            provenance.save(dataset)
    for gone in {*filter(None, before.values()), *free} - written.keys():
        _remove_with_sidecar(dataset, DERIVATIVE / gone)
    return written


def _recorded(provenance: Provenance) -> dict[str, str | None]:
    return {key: run.atlas_table for key, run in provenance.runs.items()}


def _names_without_another_atlas(dataset: Path, tables: Sequence[AtlasTable], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, and others instead of those that the table of another atlas still has."""
    chosen: list[str] = []
    for table, name in zip(tables, names, strict=True):
        there = read_written_table(dataset / DERIVATIVE / name)
        if table.regions and there is not None and there.regions and not table.same_atlas_as(there):
            others = (f"atlas-CATNIPx{number}_dseg.tsv" for number in count(2))
            name = next(
                other
                for other in others
                if other not in names and other not in chosen and not os.path.lexists(dataset / DERIVATIVE / other)
            )
        chosen.append(name)
    return tuple(chosen)


def move_unused_descriptions(dataset: Path) -> list[str]:
    """Move what a person wrote about an atlas whose table is gone to ``code/``; return a message for each file.

    BIDS allows ``atlas-X_description.json`` only beside files of that atlas.
    """
    messages = []
    for path in sorted((dataset / DERIVATIVE).glob("atlas-CATNIP*_description.json")):
        stem = path.name.removesuffix(".json")
        table = f"{stem.removesuffix('_description')}_dseg.tsv"
        if path.is_symlink() or path.with_name(table).exists():
            continue
        names = (f"code/{stem}{'' if number == 1 else f'-{number}'}.json" for number in count(1))
        new = next(name for name in names if not os.path.lexists(dataset / name))
        described = safe_path(dataset, DERIVATIVE / path.name)
        make_folder(safe_path(dataset, "code"))
        publish(described, safe_path(dataset, new), described)
        messages.append(f"{DERIVATIVE / path.name}: moved to {new}, because BIDS allows it only beside {table}")
    return messages


@dataclass(frozen=True)
class AtlasTables:
    """The atlas tables from which runs get the names of their regions."""

    dataset: Path
    provenance: Provenance  # of earlier commands
    given: AtlasTable | None  # the user's table

    def of_run(self, run: str, version: str | None, counts: Sequence[Path]) -> AtlasTable:
        """Return the given table, or that of the counts of a run, merged with that of the same atlas in the dataset.

        A given table is only for runs whose counts, or else whose `version` of the atlas, do not contradict it. A run
        that has no counts now keeps the table that it was packaged with, if its atlas has the same version.
        """
        counted = counted_regions(counts)
        if self.given is not None and fits(self.given, version, counted):
            return self.given.merged_with(counted)
        if not counts:
            record = self.provenance.runs.get(run)
            if record is None or record.atlas_table is None or not may_have_same_table(record.atlas_version, version):
                return AtlasTable({})
            return read_written_table(self.dataset / DERIVATIVE / record.atlas_table) or AtlasTable({})
        written = [table for table in atlas_tables(self.dataset).values() if table.same_atlas_as(counted)]
        return written[0].merged_with(counted) if written else counted


def fits(table: AtlasTable, version: str | None, counted: AtlasTable) -> bool:
    """Tell whether a table can be that of a run: the regions in its counts decide, or else the version of its atlas."""
    return table.contradiction(counted) is None if counted.regions else may_have_same_table(table.version, version)


def counted_regions(counts: Iterable[Path]) -> AtlasTable:
    """Return the regions of the longest of some tables of counts of one run; none without tables."""
    tables = [AtlasTable.from_counts(read_counts(table)) for table in counts]
    return max(tables, key=lambda table: len(table.regions), default=AtlasTable({}))


def stored_regions(counts: Iterable[Path]) -> AtlasTable:
    """Return the regions of the first of some stored tables of counts; none without one, or if it is damaged."""
    try:
        return counted_regions(islice(counts, 1))
    except SourceError:
        return AtlasTable({})


def atlas_tables(dataset: Path) -> dict[Path, AtlasTable]:
    """Read the atlas tables of a dataset, without generated colours and names."""
    paths = sorted(without_leftovers((dataset / DERIVATIVE).glob("*dseg.tsv")))
    return {path: table for path in paths if (table := read_written_table(path)) is not None}


def read_written_table(path: Path) -> AtlasTable | None:
    """Read an atlas table of the dataset, without generated colours and names; None if it does not exist.

    Raises DatasetError if it cannot be read.
    """
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


def _with_unlisted(table: AtlasTable, occurring: set[int]) -> list[Region]:
    """Return all regions by ascending index, with those that no table lists; each has a colour."""
    regions = [*table.regions.values(), *map(table.region_of, table.unlisted_values(occurring))]
    colored = (replace(region, color=region.color or color_of_label(region.index)) for region in regions)
    return sorted(colored, key=lambda region: region.index)


def _dseg(regions: Sequence[Region]) -> Table:
    extra = tuple(dict.fromkeys(column for region in regions for column in region.extra))
    return Table((*_REGION, *extra), tuple({**_row(region), **region.extra} for region in regions))


def _row(region: Region) -> dict[str, str]:
    cells = (str(region.index), region.name, region.abbreviation, region.color)
    return {column: text or UNKNOWN for column, text in zip(_REGION, cells, strict=True)}


def write_region_tables(
    dataset: Path, folder: PurePosixPath, provenance: Provenance, atlases: Mapping[str, Iterable[Region]]
) -> dict[str, bool]:
    """Write the regions of each atlas with their parents into a folder, and record in provenance which run uses which.

    `atlases` has the regions of each atlas table, by its name. Returns for each written table whether it has parents.
    """
    before = {run.region_table for run in provenance.runs.values() if run.region_table}
    names = {atlas: f"{atlas.removesuffix('dseg.tsv')}regions.tsv" for atlas in atlases}
    have_parents = {}
    for atlas, regions in atlases.items():
        tree = region_tree(regions)
        depths = depths_of(tree.parents)
        rows = [
            _row(region)
            | {"parent": str(tree.parents.get(region.index, UNKNOWN)), "depth": str(depths.get(region.index, 0))}
            for region in tree.regions
        ]
        write_text(safe_path(dataset, folder / names[atlas]), Table(_WITH_PARENTS, tuple(rows)).to_tsv())
        have_parents[names[atlas]] = bool(tree.parents)
    for run in provenance.runs.values():
        name = names.get(run.atlas_table or "")
        run.region_table = str(folder / name) if name else None
    for gone in before - {run.region_table for run in provenance.runs.values()}:
        _remove_with_sidecar(dataset, PurePosixPath(gone))
    return have_parents


def _remove_with_sidecar(dataset: Path, table: PurePosixPath) -> None:
    for path in (table, table.with_suffix(".json")):
        remove(safe_path(dataset, path))


def write_counts(dataset: Path, file: Path, target: PurePosixPath, voxel_size_um: tuple[float, float, float]) -> bool:
    """Write one table of counts, with ``n/a`` for regions that CATNIP excluded; return whether it changed.

    `voxel_size_um` is that of the images in which CATNIP counted, X Y Z.
    """
    x, y, z = (Decimal(str(size)) for size in voxel_size_um)
    voxel_mm3 = (x * y * z).scaleb(-9)
    rows = [
        {column: UNKNOWN if (value := getattr(count, column)) is None else str(value) for column in _OF_CATNIP}
        | dict(zip(_COMPUTED, _volume_and_density(count, voxel_mm3), strict=True))
        for count in read_counts(file)
    ]
    return write_text(safe_path(dataset, target), Table(_COUNTS, tuple(rows)).to_tsv())


def _volume_and_density(count: RegionCount, voxel_mm3: Decimal) -> tuple[str, str]:
    """Return the volume of a region in mm3 and its cells per mm3, both to 9 digits, or as unknown."""
    if count.label_volume is None:
        return UNKNOWN, UNKNOWN
    volume_mm3 = count.label_volume * voxel_mm3
    if count.cell_count is None or not volume_mm3:
        return _decimal(volume_mm3), UNKNOWN
    return _decimal(volume_mm3), _decimal(count.cell_count / volume_mm3)


def _decimal(value: Decimal) -> str:
    """Write a number without an exponent, as all readers of tables understand it."""
    return format(value.normalize(_ROUNDED), "f")


def write_long_table(dataset: Path, folder: PurePosixPath) -> tuple[str, ...]:
    """Join all tables of counts below a folder in its ``counts.tsv``; return its columns, or none without tables."""
    tables = tables_of_counts(dataset, folder)
    if not tables:
        remove(safe_path(dataset, folder / "counts.tsv"))
        return ()
    entities = {path: entities_of(path.name) for path in tables}
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
