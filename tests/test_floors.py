"""Packages lie on floors of their own, import only downwards, and no two files import each other, not even late."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "snac_exp"
FLOORS = (
    "errors", "system", "config", "codec", "lm", "losses", "metrics", "data", "tracking", "checkpoints", "lineage",
    "release", "evaluation", "training", "report", "runs", "sweeps", "status", "cleaning", "board", "doctor", "verbs",
    "cli",
)  # fmt: skip
MOST_FILES = 14
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 50  # its docstring included
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_of(path) for path in MODULES}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """Modules of this package that a file imports, at its top or inside its functions, for types too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("snac_exp"):
            yield from ({node.module} | {f"{node.module}.{item.name}" for item in node.names}) & NAMES
        elif isinstance(node, ast.Import):
            yield from {item.name for item in node.names} & NAMES


@cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of this package that it imports."""
    return {module_of(path): set(imported(path)) - {module_of(path), "snac_exp"} for path in MODULES}


def package_of(module: str) -> str:
    return module.split(".")[1]


def test_every_package_has_a_floor_of_its_own() -> None:
    assert {package_of(name) for name in NAMES - {"snac_exp"}} == set(FLOORS)
    assert len(set(FLOORS)) == len(FLOORS)


@pytest.mark.slow
def test_imports_go_down() -> None:
    floors = {name: FLOORS.index(package_of(name)) for name in NAMES - {"snac_exp"}}
    up = {(name, below) for name in floors for below in imports()[name] if floors[below] > floors[name]}
    assert up == set()


def test_no_two_files_import_each_other() -> None:
    """Not even by way of others."""
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for name in sorted(imports()[module]):
                visit(name, (*above, module))
            done.add(module)

    for module in sorted(NAMES):
        visit(module, ())


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in MODULES}
    crowded = {str(folder.relative_to(PACKAGE)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: number for name, number in crowded.items() if number > MOST_FILES} == {}


def test_no_file_and_no_function_is_long() -> None:
    files = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in files.items() if lines > MOST_LINES_OF_A_FILE} == {}
    functions = {
        f"{module_of(path)}.{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


# Importing these takes longer than a help text may: what needs them is imported once the config has passed.
SLOW = {"torch", "torchaudio", "numpy", "pyarrow", "soundfile", "matplotlib", "scipy"}
# Files that import modules of this package late, and why; nowhere else, and only modules that need a slow library.
LATE = {
    "snac_exp": "`import snac_exp` is instant; load_codec is fetched when it is used",
    "snac_exp.metrics.table": "pages and `compare` read names and units of metrics without torch",
    "snac_exp.metrics.waveform.*": "as the table, which collects them",
    "snac_exp.metrics.quality.*": "as the table, which collects them",
    "snac_exp.sweeps.jobs": "a sweep with a mistake in its config is refused before torch is imported",
    "snac_exp.verbs.*": "help and mistakes on the command line are answered before torch is imported",
}


def outer_and_late(path: Path) -> tuple[set[str], set[str]]:
    """What a file imports as it is imported itself, and what inside its functions; both without imports for types."""
    outer: set[str] = set()
    late: set[str] = set()

    def visit(node: ast.AST, found: set[str]) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{item.name}" for item in node.names} & NAMES
        elif isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, late if inside else found)

    visit(parsed(path), outer)
    return outer, late


@cache
def all_outer_and_late() -> dict[str, tuple[set[str], set[str]]]:
    return {module_of(path): outer_and_late(path) for path in MODULES}


def libraries(module: str, seen: set[str]) -> set[str]:
    """The libraries that come with a module, those of its packages and of what it imports included."""
    if module in seen:
        return set()
    if module == "snac_exp.system.torchaudio":
        return {"torchaudio"}  # through importlib
    if module not in NAMES:
        return {module.split(".")[0]}
    seen.add(module)
    parts = module.split(".")
    above = {".".join(parts[:number]) for number in range(1, len(parts))}
    return set().union(*(libraries(name, seen) for name in above | all_outer_and_late()[module][0]))


@pytest.mark.slow
def test_own_modules_are_imported_late_only_to_start_fast() -> None:
    late = {module: names & NAMES - {"snac_exp"} for module, (_, names) in all_outer_and_late().items()}
    allowed = {module for module in NAMES for pattern in LATE if fnmatchcase(module, pattern)}
    assert {module for module, names in late.items() if names} <= allowed
    rooms = {name for name in NAMES if any(other.startswith(f"{name}.") for other in NAMES)}
    light = {
        (module, name) for module, names in late.items() for name in names - rooms if not libraries(name, set()) & SLOW
    }
    assert light == set()
