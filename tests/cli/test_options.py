"""Options that people write in more than one way."""

from __future__ import annotations

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from catnip2bids.cli.app import app
from catnip2bids.cli.options import refuse_repeated, split_voxel_sizes
from catnip2bids.errors import UsageError


@pytest.mark.parametrize(
    "given",
    [
        ["--voxel-size", "3.7", "3.7", "5"],
        ["--voxel-size", "3.7,3.7,5"],
        ["--voxel-size", "3.7x3.7x5"],
        ["--voxel-size", "3.7 3.7 5"],
        ["--voxel-size", "3.7,", "3.7,", "5"],
        ["--voxel-size=3.7,3.7,5"],
        ["--voxel-size=3.7", "3.7", "5"],
    ],
)
def test_a_voxel_size_is_three_numbers_however_it_is_written(given: list[str]) -> None:
    arguments = ["convert", "a,b,c", *given, "out.ome.zarr"]
    assert list(split_voxel_sizes(arguments)) == [*arguments[:2], "--voxel-size", "3.7", "3.7", "5", "out.ome.zarr"]


@pytest.mark.parametrize("given", [["5"], ["3.7", "3.7"], ["3,7", "3,7", "5"], ["3,7", "5", "2"], [], ["x", "y", "z"]])
def test_what_is_not_three_numbers_is_refused_with_an_example(given: list[str]) -> None:
    with pytest.raises(UsageError, match=r"--voxel-size 3\.7 3\.7 5"):
        list(split_voxel_sizes(["package", "--voxel-size", *given, "-o", "out"]))


@pytest.mark.parametrize(
    "given",
    [
        ["package", "-o", "out", "--remove", "a", "--remove", "b"],
        ["package", "-o", "out", "--remove=a", "--remove", "b"],
        ["restore", "out", "--subject", "a", "--subject=b", "-o", "new"],
        ["package", "runs", "--atlas-table", "a", "-o", "out", "--atlas-table", "b"],
        ["package", "runs", "--voxel-size=1,1,1", "-o", "out", "--voxel-size", "2", "2", "2"],
        ["package", "runs", "-o", "out", "--output=other"],
        ["convert", "slices", "out.ome.zarr", "--jobs", "1", "--jobs", "2"],
    ],
)
def test_an_option_that_would_lose_its_first_value_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^--[a-z-]+ is given 2 times; give it once$"):
        refuse_repeated(given, command(given[0]))


def test_options_with_several_values_flags_and_names_of_files_may_be_repeated() -> None:
    given = ["compare", "a", "b", "--slice-number", "a#", "--slice-number", "b#", "--quiet", "--quiet"]
    refuse_repeated(given, command("compare"))
    refuse_repeated(["verify", "dataset", "--source", "a", "--source", "b"], command("verify"))
    refuse_repeated(["package", "--output=x", "--", "--output", "--output"], command("package"))


def command(name: str) -> TyperCommand:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    found = group.commands[name]
    assert isinstance(found, TyperCommand)
    return found
