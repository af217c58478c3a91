"""What docs/extending.md shows works as it stands: its files, in a copy of the checkout, and its commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, commands, sections, text_of
from tests.helpers.warm import COLD

CHAPTERS = {name: text for name, text in sections(text_of("extending")).items() if commands(text)}
TOUCHED = {  # files, tests included, that each of these takes
    "A head": 3,
    "A data source": 3,
    "A loss term with a feature model": 3,
    "A metric": 2,
    "A change of the checkpoint format": 2,
}
COPIED = ("snac_exp", "conf", "hydra_plugins", "dashboards", "tests")
SMALL = (
    "+debug=fast curriculum=demo lr=demo trainer.num_threads=1 trainer.validate_every_epochs=4 "
    "trainer.max_steps_per_epoch=1 trainer.preflight=[start] trainer.summary_utterances=0 data.validation_slices=2"
)


def files_of(text: str) -> list[tuple[str, str, str]]:
    """(language, path, content) of every block that names a file."""
    return re.findall(r"^```(\w+) (\S+)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with all files of the page written into it."""
    folder = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        # Loops in machine code stay in their caches: compiling them costs ten seconds.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("train.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for language, path, content in files_of(text_of("extending")):
        if language == "diff":
            subprocess.run(["git", "apply", "-"], cwd=folder, input=content, text=True, check=True)
        else:
            assert not (folder / path).exists(), path
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
    return folder


def run(checkout: Path, line: str) -> str:
    """Run a command in the copy, with its package before the installed one; returns what it printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "PATH": f"{Path(sys.executable).parent}:{Path(COLD).parent}:/usr/bin:/bin",
    }
    line = re.sub(r"^snac-exp ", "python -m snac_exp.cli ", line)
    done = subprocess.run(line, shell=True, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_chapter_touches_few_files() -> None:
    assert {name: len(files_of(text)) for name, text in CHAPTERS.items()} == TOUCHED


@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_commands_of_a_chapter_run(chapter: str, checkout: Path, corpus_dir: Path) -> None:
    shutil.copytree(corpus_dir / "prepared", checkout / "PREPARED", dirs_exist_ok=True)
    for line in commands(CHAPTERS[chapter]):
        printed = run(checkout, f"{line} {SMALL}" if line.startswith("python train.py") else line)
        if "pytest" in line:
            assert re.search(r"\d passed", printed), printed


@pytest.mark.thorough
def test_the_files_keep_the_rules_of_the_project(checkout: Path) -> None:
    written = [path for _, path, _ in files_of(text_of("extending")) if path.endswith(".py")]
    judged = run(checkout, f"ruff check {' '.join(written)} && ruff format --check {' '.join(written)}")
    assert f"{len(written)} files already formatted" in judged
    choices = [Path(path) for _, path, _ in files_of(text_of("extending")) if path.endswith(".yaml")]
    chosen = " or ".join(f"{path.parent.name}-{path.stem} or {path.parent.name}/{path.name}" for path in choices)
    tested = "tests/test_floors.py tests/config/test_conf_files.py"
    assert re.search(r"\d passed", run(checkout, f"python -m pytest -n0 {tested} -k 'floors or {chosen}'"))
