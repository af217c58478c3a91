"""Every kind of source to the end: prepared, cached, trained and evaluated like the folder of the same audio."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.evaluation.folder import Evaluation
from tests.data.sources.kinds import MAKE, Utterance, copied, parquet, utterances_of, written
from tests.data.sources.stand_in_hub import StreamingHub
from tests.helpers.commands import train, verb
from tests.helpers.variants import thorough

pytestmark = pytest.mark.slow
RECIPE = [
    "+experiment=phase12_dual_head", "codec=demo", "name=tiny", "tracker.mode=off", "loss.n_ffts.head_24k=[256]",
    "loss.n_ffts.head_48k=[256]", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0",
    "trainer.batch_size=1", "trainer.max_steps_per_epoch=1", "trainer.log_every_steps=1",
    "trainer.num_sample_clips=0", "trainer.preflight=[codes]", "trainer.preflight_rows=1",
    "trainer.summary_utterances=1", "data.validation_slices=1", "data.validation_seconds=0.3",
    "curriculum.stages={a: {epochs: [1, 2], segment_seconds: 0.2}}", "~curriculum.stages.b",
    "~curriculum.stages.c", "~curriculum.stages.d", "lr.phases.main.epochs=[2,2]",
]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of a source: its manifest, codes, logged losses, and the figures of an evaluation."""

    manifest: Manifest
    codes: CodeTable
    losses: list[float]
    scores: list[dict[str, Any]]


def through(source: str, more: list[str], folder: Path) -> Outcome:
    """A source through every verb, two steps of training included."""
    prepared, codes = folder / "prepared", folder / "prepared" / "codes_demo"
    validate = "validation_speakers=['val_*']"
    verb("prepare", f"input={source}", f"output={prepared}", validate, "num_workers=1", *more).succeeded()
    verb("cache-codes", f"data={prepared}", "codec=demo").succeeded()
    train(*RECIPE, f"data.cache_dir={codes}", f"output_dir={folder / 'outputs'}").succeeded()
    (metrics,) = (folder / "outputs").rglob("metrics.jsonl")
    logged = [json.loads(line) for line in metrics.read_text().splitlines()]
    losses = [row["train/loss"] for row in logged if "train/loss" in row]
    scores = folder / "evaluation"
    verb("evaluate", f"data={prepared}", "codec=demo", f"output={scores}", "num_utterances=1").succeeded()
    return Outcome(Manifest.read(prepared), CodeTable.open(codes), losses, Evaluation.load(scores).rows)


@pytest.fixture(scope="module")
def rows(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    return utterances_of(copied(corpus_dir / "audio", tmp_path_factory.mktemp("own") / "audio", 2))


@pytest.fixture(scope="module")
def of_folder(rows: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return through(str(rows[0].file.parents[1]), [], tmp_path_factory.mktemp("folder"))


def _without_path(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "path"} for row in scores]


def _of_recording(score: dict[str, Any]) -> list[Any]:
    return [score[name] for name in ("speaker", "seconds", "output", "cutoff_hz", "hf_energy_ratio", "hf_dynamics_db")]


ONE_OF_A_KIND = ("parquet", "segments")  # bytes within rows, and samples within files


@pytest.mark.parametrize("kind", [*ONE_OF_A_KIND, *thorough(*(kind for kind in MAKE if kind not in ONE_OF_A_KIND))])
def test_a_source_is_like_the_folder(kind: str, rows: list[Utterance], of_folder: Outcome, tmp_path: Path) -> None:
    source, more = written(kind, tmp_path / "source", rows)
    assert_alike(through(str(source), more, tmp_path / "out"), of_folder, rows)


@pytest.mark.thorough
@pytest.mark.parametrize("stream", ["hub.stream=false", "hub.stream=true"])
def test_a_data_set_of_the_hub_is_like_the_folder(
    stream: str, rows: list[Utterance], of_folder: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub").mkdir()
    StreamingHub(parquet(tmp_path / "hub", rows), tmp_path / "cache").installed(monkeypatch)
    assert_alike(through("hf://me/speech", [stream], tmp_path / "out"), of_folder, rows)


def assert_alike(found: Outcome, of_folder: Outcome, rows: list[Utterance]) -> None:
    """Codes, losses and figures are those of the folder, bit for bit; text and speaker stay with the row."""
    assert len(found.manifest.rows) == len(rows)
    assert found.losses == of_folder.losses
    assert len(found.losses) >= 2
    if len({row["sha1"] for row in found.scores} & {row["sha1"] for row in of_folder.scores}):
        assert _without_path(found.scores) == _without_path(of_folder.scores)
    else:  # of a segment: the decoder's noise has another seed
        assert [_of_recording(row) for row in found.scores] == [_of_recording(row) for row in of_folder.scores]
    said = {row.text: row.speaker for row in rows}
    for row in range(len(rows)):
        assert all(map(torch.equal, found.codes.tensors(row), of_folder.codes.tensors(row)))
        text = found.codes.more["text"][row].as_py()
        assert said.pop(text) == found.codes.speaker(row) == of_folder.codes.speaker(row)
