"""The files of a run and of a sweep are named in one place each."""

import ast
from pathlib import Path

import pytest

from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sweep_folder import SweepFolder

PACKAGE = Path(__file__).parents[2] / "snac_exp"
OWNERS = {"tracking/run_folder.py", "tracking/sweep_folder.py", "system/code_version.py"}
OF_OTHER_FOLDERS = {
    "evaluation/folder.py": {"summary.json"},  # of an evaluation
}
# As words these mean other things too: the kind of a line, a package, a folder of a snapshot, a launcher.
ALSO_WORDS = {"samples", "checkpoints", "wandb", "tensorboard", "code", "jobs", "slurm"}


def names_of(folder: RunFolder | SweepFolder) -> set[str]:
    paths = {value for value in vars(folder).values() if isinstance(value, Path)} - {folder.path}
    return {path.name for path in paths} - ALSO_WORDS


def texts_of(path: Path) -> set[str]:
    """All strings of a file that stand alone; not those within sentences."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.slow
@pytest.mark.parametrize("folder", [RunFolder(Path("RUN")), SweepFolder(Path("SWEEP"))])
def test_no_other_module_names_a_file_of(folder: RunFolder | SweepFolder) -> None:
    names = names_of(folder)
    assert len(names) > 5
    elsewhere = {
        name: found
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in [path.relative_to(PACKAGE).as_posix()]
        if name not in OWNERS and (found := texts_of(path) & names - OF_OTHER_FOLDERS.get(name, set()))
    }
    assert elsewhere == {}
