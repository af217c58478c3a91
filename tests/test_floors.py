"""A file imports only from its own floor or below; the package imports nothing above it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "snac_exp"
FLOORS = {
    "config": 0, "errors": 0, "files": 0, "machine": 0, "torchaudio_shim": 0, "__init__": 0,
    "codec": 1, "losses": 1, "lm": 1,
    "data": 2, "tracking": 2,
    "training": 3, "evaluation": 3, "release": 3, "report": 3,
    "runs": 4,
    "verbs": 5, "cli": 5,
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def floor_of(parts: tuple[str, ...]) -> int:
    return FLOORS[parts[0].removesuffix(".py")]


def imported(path: Path) -> set[str]:
    """Modules of this package that a file imports when it is imported, or inside its functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(item.name for item in node.names)
    return {name for name in names if name.startswith("snac_exp.")}


def test_every_part_of_the_package_has_a_floor() -> None:
    assert {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path: Path) -> None:
    own = floor_of(path.relative_to(PACKAGE).parts)
    too_high = {name for name in imported(path) if floor_of(tuple(name.split(".")[1:])) > own}
    # The lazily loaded entry of the package and of the command line are doors, not floors.
    assert not too_high or path.name == "__init__.py", too_high
