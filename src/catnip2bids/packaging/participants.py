"""The table of animals that a user gives."""

from __future__ import annotations

from pathlib import Path

from catnip2bids.bids.names import as_label
from catnip2bids.bids.tables import Table, read_table
from catnip2bids.errors import UsageError


def read_participants(path: Path) -> Table:
    """Read a user's table of participants; ids may come with or without ``sub-``, hyphens and all.

    Raises
    ------
    UsageError
        If it cannot be read or has no column participant_id.
    """
    if not path.is_file():
        raise UsageError(f"{path}: is not a file; give a TSV table with a column participant_id")
    table = read_table(path)
    if "participant_id" not in table.columns:
        raise UsageError(
            f"{path}: has no column participant_id (columns: {', '.join(table.columns)}); give a TSV table that has one"
        )
    rows = [
        {**row, "participant_id": f"sub-{as_label(row['participant_id'].removeprefix('sub-'))}"} for row in table.rows
    ]
    ids = [row["participant_id"] for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(label for label in ids if ids.count(label) > 1)
        raise UsageError(f"{path}: two participants become {twice}, letters and digits only; give them other ids")
    return Table(table.columns, tuple(rows))
