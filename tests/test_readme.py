"""The commands of the README work as they stand there, in order."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.browser import free_port
from tests.helpers.waiting import GUARD_SECONDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SWEEPS = ["From one run to a hundred", "See and hear it"]  # in a folder of their own
ON_SLURM = os.environ.get("SNAC_EXP_TEST_SLURM") == "1"
SMALLER = "trainer.max_steps_per_epoch=1 trainer.summary_utterances=1 data.validation_slices=2"
# Training is cut to a few steps, a search to two trials and shares to two; everything else is typed as it stands.
SHORTER = {
    "python train.py": "+debug=fast trainer.num_threads=1",
    "+experiment=demo": "trainer.validate_every_epochs=2 trainer.num_sample_clips=0 " + SMALLER,
    "+experiment=phase12": "trainer.validate_every_epochs=15 " + SMALLER,
    "hydra/sweeper=optuna": "hydra.sweeper.num_trials=2",
    "shard.count=8": "shard.count=2",
    "snac-exp serve": "port={port}",
    "hydra/launcher=slurm": "hydra.launcher.poll_seconds=0.5" + ("" if ON_SLURM else " hydra.launcher.cluster=local"),
}


def commands(text: str) -> list[str]:
    """The lines of all blocks of shell commands."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def sections() -> dict[str, str]:
    """The text under each heading."""
    parts = re.split(r"^## (.*)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def place(corpus_dir: Path, tmp_path: Path) -> Path:
    """A folder with `speech` in it, from which train.py can be called as in the checkout."""
    (tmp_path / "speech").symlink_to(corpus_dir / "audio")
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    (tmp_path / "take.s16").write_bytes(bytes(2 * 24_000))
    return tmp_path


def made(place: Path, pattern: str) -> list[str]:
    """Folders of the files that the pattern finds in outputs/, the one written last at the end."""
    found = sorted((place / "outputs").glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    return [str(path.parent) for path in found] or ["NONE"]


def run_in_order(place: Path, typed: list[str]) -> str:
    """Run commands as a user would; returns what they printed."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = ""
    for command in typed:
        shortened = not re.search(r"resume=|--help|--cfg|snac-exp (plan|check)", command)
        line = " ".join([command, *(more for start, more in SHORTER.items() if start in command and shortened)])
        line = re.sub(r"\bRUN\b", made(place, "*/*-*/config.yaml")[-1], line)
        line = re.sub(r"\bSWEEP\b", made(place, "sweeps/debug*/*/sweep.json")[-1], line)
        if line.startswith("snac-exp serve"):
            line = line.format(port=free_port())
            printed += served(f"exec {line}", place, environment)
            continue
        done = subprocess.run(line, shell=True, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        printed += done.stdout + done.stderr
    return printed


def served(line: str, place: Path, environment: dict[str, str]) -> str:
    """Start a page, look whether it is there, and stop it with Ctrl-C."""
    process = subprocess.Popen(line, shell=True, cwd=place, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.readline()
    with urllib.request.urlopen(printed.split()[0], timeout=GUARD_SECONDS) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(GUARD_SECONDS) == 0
    return printed


def quoted_output(text: str) -> list[str]:
    """Patterns of the output lines that a section quotes: any figures and names of audio files will do."""
    lines = re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return [r"\s+".join(map(_any_figures, line.split())) for line in lines if line.strip() != "…"]


def _any_figures(word: str) -> str:
    if word.endswith(".flac"):
        return r"\S+\.flac"
    parts = re.split(r"\d[\d.,]*(?:e-\d+)?", word)
    return r"\d[\d.,]*(?:e-\d+)?".join(map(re.escape, parts))


def test_the_readme_has_commands() -> None:
    assert len(commands(TEXT)) >= 20
    assert len(commands(sections()[SWEEPS[0]])) == 12


def test_every_command_runs_in_order(place: Path) -> None:
    printed = run_in_order(
        place, [item for name, text in sections().items() if name not in SWEEPS for item in commands(text)]
    )
    for pattern in quoted_output(sections()["Take it home"]):
        assert re.search(pattern, printed), f"{pattern}\n{printed}"
    use_the_python(place)


def use_the_python(place: Path) -> None:
    """Run the lines for a program on a second of noise, with tokens that come one coarse step at a time."""
    (code,) = re.findall(r"```python\n(.*?)```", sections()["Take it home"], flags=re.DOTALL)
    code = code.replace("outputs/phase12_dual_head/RUN", made(place, "*/*-*/config.yaml")[0])
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 44_100)
    played: list[torch.Tensor] = []

    class Model:
        """Gives the tokens of the codes that the lines above made."""

        def __iter__(self) -> Iterator[list[torch.Tensor]]:
            tokens = scope["codes"].tokens
            for step in range(tokens[0].shape[-1]):
                yield [row[0, step * 2**level : (step + 1) * 2**level] for level, row in enumerate(tokens)]

    scope: dict[str, Any] = {"audio": noise, "sample_rate": 44_100, "language_model": Model(), "play": played.append}
    exec(code, scope)
    assert scope["audio"].shape == (1, 1, 48_000)
    assert (torch.cat(played, dim=-1)[..., :48_000] - scope["audio"]).abs().max() <= 1e-6


def test_every_command_about_sweeps_runs_in_order(place: Path, corpus_dir: Path) -> None:
    """Those for SLURM as processes on this machine, or on a real SLURM where `make test-slurm` runs them."""
    (place / "prepared").symlink_to(corpus_dir / "prepared")
    typed = [commands(sections()[name]) for name in SWEEPS]
    first = next(number for number, item in enumerate(typed[0]) if "hydra/launcher=slurm" in item)
    run_in_order(place, typed[0][first:] if ON_SLURM else [*typed[0], *typed[1]])
    ledgers = list((place / "outputs/sweeps").glob("*/*/ledger.jsonl"))
    assert ledgers
    for ledger in ledgers:
        assert {json.loads(line)["state"] for line in ledger.read_text().splitlines()} == {"finished"}, ledger


def test_the_files_and_groups_it_names_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    for group, choices in re.findall(r"^\| `(\w+)` \|.*\| (`.*`) \|$", TEXT, flags=re.MULTILINE):
        for choice in re.findall(r"`(\w+)`", choices):
            assert (ROOT / "conf" / group / f"{choice}.yaml").exists(), (group, choice)
