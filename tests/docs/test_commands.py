"""The commands of the README and of docs/ work as they stand there, in order.

The README's first section begins with nothing but a folder of speech. Its other commands are also on pages of docs/,
where they run; each page begins with what the pages before it made, so what the first section types is typed once.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from tests.data.sources.kinds import utterances_of, written
from tests.docs.pages import PAGES, ROOT, blocks, commands, quoted_output, sections, text_of
from tests.helpers.browser import free_port
from tests.helpers.commands import Done, train, verb
from tests.helpers.shared import shared_folder
from tests.helpers.variants import thorough
from tests.helpers.waiting import GUARD_SECONDS, first_line

ON_SLURM = os.environ.get("SNAC_EXP_TEST_SLURM") == "1"
FIRST = "Your own speech"
PER_SPEAKER = 2  # files of speech
# What a page finds in its folder, beside `speech`, train.py and a pipe's input: prepared speech, a run.
PREPARED = ("training", "sweeps", "evaluation", "release", "token_models", "speech_llm")
WITH_RUN = ("training", "evaluation", "release", "cleaning")
TESTED = [page for page in PAGES if page not in ("README", "extending") and commands(text_of(page))]  # these: elsewhere
QUOTING = ("training", "release")  # pages that quote what their own commands print
NEEDS_A_PROCESS = re.compile(r"[<>|]| -m |background=|snac-exp sweep")
LITTLE_SPEECH = "data.num_minutes=0.3 data.num_train_voices=2 data.num_validation_voices=1"
SMALLER = (
    "trainer.preflight_rows=2 trainer.max_steps_per_epoch=1 trainer.summary_utterances=1 data.validation_slices=2 "
    "data.validation_seconds=0.5"
)
NONE = "trainer.summary_utterances=0"
NO_SOUND = f"trainer.num_sample_clips=0 {NONE}"  # a run of the README's first steps writes and measures both
# Training is cut to a few steps, a search to two trials and eight jobs to two; ONNX graphs, half a minute of work, are
# left to their own test. Everything else is typed as it stands.
SHORTER = {
    "python train.py": "+debug=fast trainer.num_threads=1 trainer.preflight=[start]",
    "init=average,first": NONE,
    "+experiment=demo": f"trainer.validate_every_epochs=2 trainer.num_sample_clips=0 {LITTLE_SPEECH} {SMALLER}",
    "python train.py +experiment=phase12": f"curriculum=demo lr=demo trainer.validate_every_epochs=4 {SMALLER}",
    "data=audio_folder": NO_SOUND,
    "python train.py +experiment=rvq_toy": NO_SOUND,
    "snac-exp check": "trainer.preflight_rows=2",
    "snac-exp evaluate data=": "max_seconds=1.0",
    "hydra/sweeper=optuna": f"hydra.sweeper.num_trials=2 {NONE}",
    "shard.count=8": "shard.count=2",
    "snac-exp serve": "port={port}",
    "snac-exp board": "port={port}",
    "snac-exp stop": f"wait_seconds={GUARD_SECONDS}",
    "hydra/launcher=slurm": "hydra.launcher.poll_seconds=0.5" + ("" if ON_SLURM else " hydra.launcher.cluster=local"),
}


@pytest.fixture
def place(corpus_dir: Path, tmp_path: Path) -> Path:
    """A folder with `speech` in it, from which train.py can be called as in the checkout."""
    make_place(tmp_path, corpus_dir)
    return tmp_path


def make_place(place: Path, corpus_dir: Path) -> None:
    for speaker in sorted((corpus_dir / "audio").iterdir()):
        (place / "speech" / speaker.name).mkdir(parents=True)
        for file in sorted(speaker.iterdir())[:PER_SPEAKER]:  # whole folders are put through codecs
            shutil.copy(file, place / "speech" / speaker.name)
    (place / "train.py").symlink_to(ROOT / "train.py")
    (place / "take.s16").write_bytes(bytes(2 * 24_000))


@pytest.fixture(scope="module")
def first_steps(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's first section was typed, once for all processes: with `prepared` and a run."""

    def make(folder: Path) -> None:
        make_place(folder, corpus_dir)
        typed = commands(sections(text_of("README"))[FIRST])
        run_in_order(folder, typed[:-1], here=True)
        run_in_order(folder, typed[-1:])

    return shared_folder(tmp_path_factory, "first steps", make)


def keep_first_second(speech: Path) -> None:
    for path in speech.rglob("*.flac"):
        samples, rate = soundfile.read(path, dtype="int16")
        soundfile.write(path, samples[:rate], rate)


def keep_speech_otherwise(place: Path) -> None:
    """Some of the speech in the other forms that are prepared; a list lies in the folder of the page."""
    rows = [row for row in utterances_of(place / "speech") if row.file.stem.endswith("0")]
    kinds = {"segments": "lists", "tsv": "clips", "tars": "shards", "parquet": "dataset", "kaldi": "kaldi"}
    for kind, name in (kinds | {"lhotse": "cuts"}).items():
        source = written(kind, place / name, rows)[0]
        if source.is_file():
            (place / {"list.tsv": "clips.tsv"}.get(source.name, source.name)).symlink_to(source)


def made(place: Path, pattern: str) -> list[str]:
    """Folders of the files that the pattern finds in outputs/, the one written last at the end."""
    found = sorted((place / "outputs").glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    return [str(path.parent) for path in found] or ["NONE"]


def shortened(command: str) -> str:
    """A command with what keeps it small, where it trains or encodes."""
    if re.search(r"resume=|--help|--cfg|snac-exp plan", command):
        return command
    command = command.replace(",onnx]", "]")
    added = [more for start, more in SHORTER.items() if start in command and more.split()[0] not in command.split()]
    return " ".join([command, *added])


def run_in_order(place: Path, typed: list[str], *, here: bool = False) -> str:
    """Run commands as a user would; returns what they printed.

    here: those that start nothing and need no shell run in this process, where they do not import everything again.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    printed = ""
    for command in typed:
        line = re.sub(r"\bRUN\b", made(place, "*/*-*/config.yaml")[-1], shortened(command))
        line = re.sub(r"\bSWEEP\b", made(place, "sweeps/debug*/*/sweep.json")[-1], line)
        if line.startswith(("snac-exp serve", "snac-exp board")):
            printed += served(f"exec {line.format(port=free_port())}", place, environment)
            continue
        if here and not NEEDS_A_PROCESS.search(line):
            with chdir(place):
                done_here = in_this_process(shlex.split(line))
            printed += done_here.succeeded().out + done_here.err
            continue
        done = subprocess.run(line, shell=True, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        printed += done.stdout + done.stderr
    return printed


def in_this_process(words: list[str]) -> Done:
    return train(*words[2:]) if words[:2] == ["python", "train.py"] else verb(*words[1:])


def served(line: str, place: Path, environment: dict[str, str]) -> str:
    """Start a page, look whether it is there, and stop it with Ctrl-C."""
    process = subprocess.Popen(line, shell=True, cwd=place, env=environment, stdout=subprocess.PIPE, text=True)
    printed = first_line(process)
    with urllib.request.urlopen(printed.split()[0], timeout=GUARD_SECONDS) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(GUARD_SECONDS) == 0
    return printed


@pytest.mark.slow
def test_the_first_steps_of_the_readme_run_in_order(first_steps: Path) -> None:
    assert len(commands(sections(text_of("README"))[FIRST])) == 5
    assert len(list(first_steps.glob("outputs/*/*-*/summary.json"))) == 1


def test_all_further_commands_of_the_readme_are_run_on_pages_in_the_same_order() -> None:
    on_pages = [line for page in PAGES if page != "README" for line in commands(text_of(page))]
    for name, text in sections(text_of("README")).items():
        if name != FIRST:
            places = [on_pages.index(line) for line in commands(text)]
            assert places == sorted(places), name
    (shown,), (whole,) = (blocks(text_of(page), "python") for page in ("README", "release"))
    lines = iter(whole.splitlines())  # the page shows more, between and behind
    assert [line for line in shown.splitlines() if line not in lines] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in TESTED if page != "sweeps"] + thorough("sweeps"))
def test_the_commands_of_a_page_run_in_order(
    page: str, place: Path, corpus_dir: Path, request: pytest.FixtureRequest
) -> None:
    """Those for SLURM as processes on this machine, or on a real SLURM where `make test-slurm` runs them."""
    typed = commands(text_of(page))
    if page == "release":
        for speaker in sorted((place / "speech").iterdir())[1:]:
            shutil.rmtree(speaker)
        keep_first_second(place / "speech")
    if page == "data":
        keep_speech_otherwise(place)
    if page in PREPARED:
        (place / "prepared").symlink_to(corpus_dir / "prepared")
    if page in WITH_RUN:
        shutil.copytree(request.getfixturevalue("first_steps") / "outputs", place / "outputs")
        done_before = commands(sections(text_of("README"))[FIRST])
        typed = [line for line in typed if line not in done_before]
    if ON_SLURM and page == "sweeps":
        typed = typed[next(number for number, item in enumerate(typed) if "hydra/launcher=slurm" in item) :]
    printed = run_in_order(place, typed, here=True)
    for pattern in quoted_output(text_of(page)) if page in QUOTING else ():
        if not pattern.startswith("onnx"):  # see SHORTER; tests/release/test_export.py looks for them
            assert re.search(pattern, printed), f"{pattern}\n{printed}"
    for code in blocks(text_of(page), "python") if page == "release" else ():
        use_the_python(code, made(place, "*/*-*/config.yaml")[0])
    ledgers = list((place / "outputs/sweeps").glob("*/*/ledger.jsonl"))
    assert bool(ledgers) == (page == "sweeps")
    for ledger in ledgers:
        assert {json.loads(line)["state"] for line in ledger.read_text().splitlines()} == {"finished"}, ledger


def use_the_python(code: str, run: str) -> None:
    """Run the lines for a program on a second of noise, with tokens that come one coarse step at a time."""
    code = code.replace("outputs/phase12_spectral/RUN", run)
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
    if "batch" in scope:  # one coarse token of a stream that ended, and of one that went on
        assert {stream.sample_rate: len(samples) for stream, samples in scope["heard"].items()} == {
            24_000: 0,
            48_000: 4096,
        }
