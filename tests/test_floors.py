"""Packages lie on floors of their own, import only downwards, and no two files import each other, not even late."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "snac_exp"
FLOORS = (
    "errors", "system", "config", "codec", "lm", "losses", "metrics", "data", "tracking", "checkpoints", "release",
    "evaluation", "training", "report", "runs", "sweeps", "status", "doctor", "verbs", "cli",
)  # fmt: skip
MOST_FILES = 14
MODULES = sorted(PACKAGE.rglob("*.py"))
# What still goes up or round, to be mended; nothing may be added.
DEBTS = {
    ("snac_exp.release.streaming.stream", "snac_exp.release.codec"),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_of(path) for path in MODULES}


def imported(path: Path) -> Iterator[str]:
    """Modules of this package that a file imports, at its top or inside its functions, for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("snac_exp"):
            yield from ({node.module} | {f"{node.module}.{item.name}" for item in node.names}) & NAMES
        elif isinstance(node, ast.Import):
            yield from {item.name for item in node.names} & NAMES


IMPORTS = {module_of(path): set(imported(path)) - {module_of(path), "snac_exp"} for path in MODULES}


def package_of(module: str) -> str:
    return module.split(".")[1]


def test_every_package_has_a_floor_of_its_own() -> None:
    assert {package_of(name) for name in NAMES - {"snac_exp"}} == set(FLOORS)
    assert len(set(FLOORS)) == len(FLOORS)


@pytest.mark.parametrize("module", sorted(NAMES - {"snac_exp"}))
def test_imports_go_down(module: str) -> None:
    own = FLOORS.index(package_of(module))
    too_high = {name for name in IMPORTS[module] if FLOORS.index(package_of(name)) > own}
    assert too_high - {above for below, above in DEBTS if below == module} == set()


def test_no_two_files_import_each_other() -> None:
    """Not even by way of others."""
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for name in sorted(IMPORTS[module]):
                if (module, name) not in DEBTS:
                    visit(name, (*above, module))
            done.add(module)

    for module in sorted(NAMES):
        visit(module, ())


def test_no_folder_is_crowded() -> None:
    folders = {path.parent for path in MODULES}
    crowded = {str(folder.relative_to(PACKAGE)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: number for name, number in crowded.items() if number > MOST_FILES} == {}
