"""`prepare`, `pack` and `tokens export` killed again and again come to the files of an undisturbed run."""

import os
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.data.sources.kinds import parquet, utterances_of
from tests.helpers.commands import verb
from tests.helpers.killed import killed_at
from tests.helpers.variants import thorough
from tests.helpers.waiting import GUARD_SECONDS, until
from tests.helpers.warm import COLD

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Work:
    """A command, and kills of it one after the other: event, path, and the shards or rows that are finished then.

    aside: a file that says when another one was written.
    """

    command: str
    kills: tuple[tuple[str, str, int], ...]
    aside: str | None = None


_EXPORT = "tokens export cache={corpus}/prepared/codes_demo codec=demo rows_per_shard=2 format="
WORKS = {
    "prepare": Work(
        "prepare input={corpus}/audio validation_speakers=[val_*] num_workers=1",
        (
            ("open", "*/voice00/utt001.wav", 3),
            ("open", "*/voice02/utt000.wav", 6),
            ("os.rename", "*/rejected.parquet", 8),
            ("os.rename", "*/manifest.parquet", 8),
        ),
    ),
    "prepare tables": Work(
        "prepare input={tables} split=file num_workers=1",
        (("os.rename", "*/train-00001-*.tar", 1), ("os.rename", "*/manifest.parquet", 2 + 8)),
        "scan.jsonl",
    ),
    "pack": Work(
        "pack data={corpus}/prepared shard_gb=0.00015",
        (
            ("open", "*/voice00/utt001.wav", 1),
            ("os.rename", "*/audio-00002-*", 2),
            ("os.rename", "*/manifest.parquet", 5),
            ("os.rename", "*/rows.arrow", 5),
        ),
    ),
    "parquet": Work(f"{_EXPORT}parquet", (("os.rename", "*/train-00001-*", 1), ("os.rename", "*/export.json", 4))),
    "hf": Work(f"{_EXPORT}hf", (("os.rename", "*/train/data-00002-*", 2), ("os.rename", "*/out/train/state.json", 4))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prepare", "pack", *thorough("parquet", "prepare tables", "hf")])
def test_killed_again_and_again_it_comes_to_the_files_of_an_undisturbed_run(
    name: str, short_corpus_dir: Path, tmp_path: Path
) -> None:
    work, output = WORKS[name], tmp_path / "out"
    (tmp_path / "tables").mkdir()
    if "{tables}" in work.command:
        parquet(tmp_path / "tables", utterances_of(short_corpus_dir / "audio"))
    # Words first: a path may hold spaces.
    command = [word.format(corpus=short_corpus_dir, tables=tmp_path / "tables") for word in work.command.split()]
    verb(*command, f"output={output}").succeeded()
    whole = contents(output, work.aside)
    shutil.rmtree(output)
    kept: dict[str, int] = {}
    for event, pattern, num_finished in work.kills:
        killed_at(event, pattern, [*command, f"output={output}"])
        found = finished(output)
        assert len(found) + num_measured(output) == num_finished
        assert kept.items() <= found.items()
        kept = found
    verb(*command, f"output={output}").succeeded()
    assert contents(output, work.aside) == whole
    assert kept.items() <= finished(output).items()


def contents(folder: Path, aside: str | None) -> dict[str, bytes]:
    """What lies below a folder, half-written files among it, by relative path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != aside]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def finished(folder: Path) -> dict[str, int]:
    """The shards of a folder under their names, each with the number of its file: written anew it has another."""
    shards = [path for path in folder.rglob("*-of-*") if path.is_file() and not path.name.startswith(".")]
    return {str(path): path.stat().st_ino for path in shards}


def num_measured(folder: Path) -> int:
    """Rows that `prepare` need not measure again."""
    journal = folder / "scan.jsonl"
    return max(len(journal.read_bytes().splitlines()) - 1, 0) if journal.exists() else 0


@pytest.mark.slow
def test_workers_of_a_killed_command_end(tmp_path: Path) -> None:
    """They read what nobody writes, so that only the end of the command can end them."""
    files = [tmp_path / "in" / f"speaker{number // 16}" / f"{number:02d}.wav" for number in range(32)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(file)
    command = ["-m", "snac_exp.cli", "prepare", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"]
    process = subprocess.Popen([COLD, *command, "num_workers=2"], cwd=ROOT, stderr=subprocess.DEVNULL)
    with ExitStack() as pipes:
        for file in (files[0], files[16]):  # the first of each worker
            pipes.callback(os.close, until(lambda file=file: _read_pipe(file), f"{file} is read", process))
        children = psutil.Process(process.pid).children()
        process.kill()
        process.wait(GUARD_SECONDS)
        assert len(children) >= 2
        assert psutil.wait_procs(children, GUARD_SECONDS)[1] == []


def _read_pipe(file: Path) -> int:
    """A pipe that a process reads, open for writing; 0 if nobody reads it yet."""
    try:
        return os.open(file, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0
