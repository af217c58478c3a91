"""Prepare, pack, cache codes, train, evaluate: packed audio gives what the folder gives, bit for bit."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.commands import train, verb
from tests.helpers.tiny_runs import one_thread, tiny  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow


@pytest.fixture
def corpus_dir(short_corpus_dir: Path) -> Path:
    return short_corpus_dir


@pytest.fixture
def packed(corpus_dir: Path, tmp_path: Path) -> Path:
    """The corpus, packed by the verb in shards of 200 kB in another order."""
    folder = tmp_path / "packed"
    done = verb(
        "pack", f"data={corpus_dir / 'prepared'}", f"output={folder}", "shard_gb=0.0002", "order=shuffled", "check=true"
    ).succeeded()
    assert "files are as they were packed" in done.out
    assert len(list(folder.glob("audio-*.arrow"))) > 2
    return folder


SHORT = ("trainer.max_steps_per_epoch=1", "trainer.validate_every_epochs=2")


def first_losses(tmp_path: Path, name: str, *arguments: str) -> list[float]:
    """Of a step of the warm-up and one with the trunk."""
    train(*arguments, *SHORT, f"output_dir={tmp_path / name}").succeeded()
    (run,) = (tmp_path / name / "tiny").iterdir()
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    first, second = [line["train/loss"] for line in lines if "train/loss" in line]
    return [first, second]


def shards(folder: Path) -> dict[str, object]:
    return {
        path.name: pq.read_table(path).select(["path", "codes_0", "codes_1", "codes_2"]).to_pylist()
        for path in sorted(folder.glob("codes-*.parquet"))
    }


def test_codes_losses_and_evaluations_are_those_of_the_folder(
    tiny: list[str],  # noqa: F811
    packed: Path,
    corpus_dir: Path,
    tmp_path: Path,
) -> None:
    prepared = corpus_dir / "prepared"
    verb("cache-codes", f"data={packed}", "codec=demo").succeeded()
    assert shards(packed / "codes_demo") == shards(prepared / "codes_demo")
    cached = [item for item in tiny if not item.startswith("data.cache_dir=")]
    losses = first_losses(tmp_path, "here", *tiny)
    assert losses == first_losses(tmp_path, "packed", *cached, f"data.cache_dir={packed / 'codes_demo'}")
    # Codes of the prepared folder are codes of the packed one.
    assert losses == first_losses(tmp_path, "mixed", *tiny, f"data.audio_root={packed}")
    raw = [*cached, "data=audio_folder"]
    one, other = (first_losses(tmp_path, f"raw{i}", *raw, f"data.path={it}") for i, it in enumerate((prepared, packed)))
    assert one == other
    for name, folder in (("one", prepared), ("other", packed)):
        arguments = ("codec=demo", f"output={tmp_path / name}", "num_utterances=1", "max_seconds=1.0", "baselines=[]")
        verb("evaluate", f"data={folder}", *arguments).succeeded()
    tables = [pq.read_table(tmp_path / name / "files.parquet").to_pylist() for name in ("one", "other")]
    assert tables[0] == tables[1]


def test_targets_are_made_of_packed_audio(packed: Path, corpus_dir: Path, tmp_path: Path) -> None:
    for name, folder in (("one", corpus_dir / "prepared"), ("other", packed)):
        verb("targets", f"data={folder}", "kind=resample", f"output={tmp_path / name}", "num_workers=1").succeeded()
    one, other = (sorted((tmp_path / name).rglob("*.flac")) for name in ("one", "other"))
    assert len(one) == len(other) > 0
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


@pytest.mark.thorough
def test_targets_pack_beside_sources(
    tiny: list[str],  # noqa: F811
    corpus_dir: Path,
    tmp_path: Path,
) -> None:
    prepared, targets, packed = corpus_dir / "prepared", tmp_path / "targets", tmp_path / "packed"
    verb("targets", f"data={prepared}", "kind=resample", f"output={targets}", "num_workers=1").succeeded()
    arguments = (
        "pack",
        f"data={prepared}",
        f"output={packed}",
        f"target_dir={targets}",
        "order=shuffled",
        "check=true",
    )
    assert verb(*arguments).succeeded().out.count("files are as they were packed") == 2
    assert len(list((packed / "targets").glob("audio-*.arrow"))) == 1
    losses = [
        first_losses(tmp_path, name, *tiny, f"data.target_dir={folder}", f"data.audio_root={audio}")
        for name, folder, audio in (("here", targets, corpus_dir / "audio"), ("there", packed / "targets", packed))
    ]
    assert losses[0] == losses[1]
    for name, folder in (("one", targets), ("other", packed / "targets")):
        arguments = ("codec=demo", f"output={tmp_path / name}", "num_utterances=1", "max_seconds=1.0", "baselines=[]")
        verb("evaluate", f"data={prepared}", f"target_dir={folder}", *arguments).succeeded()
    tables = [pq.read_table(tmp_path / name / "files.parquet").to_pylist() for name in ("one", "other")]
    assert tables[0] == tables[1]
    # A row without a target is left out when targets are packed, and refused when it is to be trained on.
    next(path for path in sorted(targets.rglob("*.flac"))).unlink()
    verb("pack", f"data={prepared}", f"output={tmp_path / 'fewer'}", f"target_dir={targets}").succeeded()
    done = train(*tiny, f"data.target_dir={tmp_path / 'fewer' / 'targets'}", f"output_dir={tmp_path / 'none'}")
    assert done.status == 2
    assert "no target for 1 of" in done.err
