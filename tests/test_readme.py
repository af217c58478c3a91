"""The commands of the README work as they stand there, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def place(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `speech` in it, from which train.py can be called as in the checkout."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "speech").symlink_to(corpus_dir / "audio")
    (folder / "train.py").symlink_to(ROOT / "train.py")
    return folder


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 8


def test_every_command_runs_in_order(place: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in COMMANDS:
        trains = command.startswith("python train.py +")
        # Training is cut to two steps an epoch; everything else is typed as it stands.
        typed = f"{command} +debug=fast trainer.num_threads=1" if trains else command
        runs = sorted((place / "outputs").glob("*/*-*/config.yaml"))
        typed = re.sub(r"\bRUN\b", str(runs[-1].parent) if runs else "RUN", typed)
        done = subprocess.run(typed, shell=True, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_the_files_and_groups_it_names_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
    for group, choices in re.findall(r"^\| `(\w+)` \|.*\| (`.*`) \|$", text, flags=re.MULTILINE):
        for choice in re.findall(r"`(\w+)`", choices):
            assert (ROOT / "conf" / group / f"{choice}.yaml").exists(), (group, choice)
