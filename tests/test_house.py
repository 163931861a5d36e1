"""The structure that docs/design.md promises: what knows what, and that everything can be read at a glance."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import catnip2bids
from repo import REPO

PACKAGE = Path(catnip2bids.__file__).parent
LONGEST_MODULE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 6

LONG_MODULES: dict[str, str] = {}
"""Modules that may be longer, and why."""
LONG_FUNCTIONS = {
    **dict.fromkeys(
        ("conversion.convert", "verification.verify_dataset.verify"),
        "many arguments of the public functions, and each is described",
    ),
}
"""Functions that may be longer, and why."""
MANY_ARGUMENTS = {
    "conversion.convert": "all that can be chosen for one image; most of it by name",
    "comparison.compare_paths.compare": "two things, where to write, and by whom and with what it is done, by name",
    "verification.verify_dataset.verify": "the same",
    **dict.fromkeys(
        (
            *("cli.write_commands.package", "cli.write_commands.convert"),
            *("cli.read_commands.compare", "cli.read_commands.verify"),
        ),
        "typer makes an option of each argument",
    ),
}
"""Functions that may have more arguments, and why."""

PIXEL_PARTS = ("ome", "volume", "engine")
"""What is to be useful without CATNIP and without BIDS."""
MUST_NOT_IMPORT = {
    **{part: {"catnip", "bids", "scanning", "plan", "packaging"} for part in PIXEL_PARTS},
    "bids": {"catnip", "volume", "ome", "engine", "packaging"},
    "catnip": {"bids", "volume", "ome", "engine", "packaging"},
    "validation": {"bids", "catnip", "ome", "engine", "packaging", "plan"},
    "comparison": {"bids", "plan", "packaging"},
    "verification": {"packaging"},
    "restoration": {"packaging"},
}

WRITERS = {
    "atomic_write": "gives files their final names, and takes only safe paths",
    "locks": "makes lock files, and never follows a link",
    "ome.ome_zarr": "writes into the folder of a staged output",
    "ome.ome_zarr_metadata": "writes into the folder of a staged output",
    "engine.sequential_writer": "writes into the file of a staged output",
    "engine.dask_executor": "notes beside the locks of a staged output that its last step is done",
    "engine.executors": "shows workers a file, to see whether they have the same disk, and makes the folder for keys",
    "packaging.row_files": "writes what is not published yet",
    "packaging.copies": "writes what is not published yet",
    "packaging.images": "copies label images into a folder that is not published yet, and puts an image aside",
    "bids.checksums": "puts the checksums aside",
    "sharing.share_dataset": "writes what is not published yet",
    "restoration.restore_runs": "writes what is not published yet",
    "restoration.volumes": "writes what is not published yet",
    "demo.cohort": "writes a cohort that is not published yet",
    "demo.regions": "the same",
    "demo.cell_list": "the same",
}
"""Modules that write, rename or delete with functions of Python, and why; all others go through `atomic_write`."""
WRITING = {
    *("chmod", "copy2", "copyfile", "copytree", "hardlink_to", "link_to", "makedirs", "mkdir", "move", "rename"),
    *("rmdir", "rmtree", "symlink_to", "touch", "truncate", "unlink", "utime", "write_bytes"),
}


@cache
def modules() -> dict[str, ast.Module]:
    """Parse all modules, by their names below the package."""
    return {_name(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))}


def _name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(name: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports anywhere, also late or for types only."""
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            for alias in node.names:
                full = f"{node.module}.{alias.name}".removeprefix("catnip2bids.")
                whole = node.module.removeprefix("catnip2bids").removeprefix(".")
                if node.module.partition(".")[0] == "catnip2bids":
                    yield full if full in modules() else whole
        elif isinstance(node, ast.Import):
            yield from (alias.name[12:] for alias in node.names if alias.name.startswith("catnip2bids."))


def part_of(name: str) -> str:
    return name.partition(".")[0]


@cache
def parts() -> dict[str, set[str]]:
    """Return what each folder or module directly below the package imports."""
    found: dict[str, set[str]] = {}
    for name in modules():
        others = {part_of(other) for other in imported_by(name)} - {part_of(name), ""}
        found.setdefault(part_of(name), set()).update(others)
    return found


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}.{node.name}", node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_modules_are_read_in_one_sitting() -> None:
    lengths = {_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    assert {name for name, n_lines in lengths.items() if n_lines > LONGEST_MODULE} == set(LONG_MODULES)


def test_functions_fit_on_a_screen() -> None:
    assert {name for name, node in functions() if length(node) > LONGEST_FUNCTION} == set(LONG_FUNCTIONS)


def test_functions_have_few_arguments() -> None:
    found = {name for name, node in functions() if n_arguments(node) > MOST_ARGUMENTS}
    assert found == set(MANY_ARGUMENTS)


def n_arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([argument for argument in arguments if argument.arg not in ("self", "cls")])


def test_imports_are_absolute() -> None:
    relative = [
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert not relative


@pytest.mark.parametrize("part", sorted(MUST_NOT_IMPORT))
def test_a_part_imports_only_what_it_may(part: str) -> None:
    assert not parts()[part] & MUST_NOT_IMPORT[part]


def test_only_the_program_imports_the_command_line() -> None:
    assert {part for part, others in parts().items() if "cli" in others} == {"__main__"}


def test_parts_import_each_other_one_way() -> None:
    below = {part: others for part, others in parts().items() if part}  # `__init__` imports late, and by name
    assert_no_circle(below)


def test_modules_import_each_other_one_way() -> None:
    # a module may import from the `__init__` of a folder, which imports all modules of the folder
    assert_no_circle({name: set(imported_by(name)) - {""} for name in modules() if name})


def assert_no_circle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def writes(node: ast.AST) -> bool:
    """Tell whether something is a call of Python that writes, renames or deletes."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    name, constants = node.func.attr, [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    if name == "replace":  # of a Path; that of a string takes two
        return len(node.args) == 1 and not node.keywords
    opened_to_write = name == "open" and any(isinstance(mode, str) and set(mode) & set("wax+") for mode in constants)
    return name in WRITING or opened_to_write


def test_only_few_modules_write_and_all_others_go_through_those() -> None:
    assert {name for name, tree in modules().items() if any(map(writes, ast.walk(tree)))} == set(WRITERS)


def test_only_one_module_makes_safe_paths() -> None:
    made = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SafePath"
    }
    assert made == {"paths"}


def test_safe_paths_begin_at_the_folder_that_is_written_into() -> None:
    """The first argument is that folder: links below it would not be seen if it were one of its folders."""
    joined = [
        f"{name}:{node.lineno}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "safe_path"
        if not isinstance(node.args[0], ast.Name | ast.Attribute)
    ]
    assert joined == []


def test_every_module_says_what_it_is_responsible_for() -> None:
    assert not [name for name, tree in modules().items() if not ast.get_docstring(tree)]


def test_tests_have_a_folder_for_each_folder_of_the_package() -> None:
    of_tests = {folder.name for folder in Path(__file__).parent.iterdir() if list(folder.glob("test_*.py"))}
    assert of_tests == {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}


def test_the_design_names_every_part() -> None:
    table = [line for line in (REPO / "docs/design.md").read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    named = {name.rstrip("/") for line in table for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    private = ("__init__.py", "__main__.py", "_version.py")  # what users import, the program, one number
    there = {file.name for file in PACKAGE.glob("*.py")} | {
        folder.parent.name for folder in PACKAGE.glob("*/__init__.py")
    }
    assert named == there - {*private}
