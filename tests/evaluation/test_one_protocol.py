"""summary.json of a run and `snac-exp evaluate`: the same weights on the same utterances get the same values."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from snac_exp import cli
from snac_exp.codec.checkpoint import bundled_directory, load_directory
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.evaluation.summary import summarize
from snac_exp.release.loading import load_codec
from tests.evaluation.conftest import bursts, narrowed

NAMES = {"24k": "head_24k", "48k": "head_48k", "baseline": "baseline", "baseline_noise": "baseline_noise"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings at 48 kHz, one in training and one in validation without anything above 11 kHz; codes beside them."""
    folder = tmp_path_factory.mktemp("one protocol")
    for split, seed in (("train_a", 10), ("val_a", 20)):
        (folder / "audio" / split).mkdir(parents=True)
        for index in range(2):
            # Whole samples at 24 kHz: of an odd length a run's reference at 48 kHz has one more sample, a zero.
            soundfile.write(folder / "audio" / split / f"wide{index}.flac", bursts(62_000, seed + index), 48_000)
        samples = narrowed(bursts(60_000, seed + 2))
        soundfile.write(folder / "audio" / split / "narrow.wav", samples, 48_000, subtype="FLOAT")
    prepare(folder / "audio", folder / "prepared", validation_speakers=["val_*"], num_workers=1)
    assert cli.run(["cache-codes", f"data={folder / 'prepared'}", "codec=demo"]) == 0
    return folder / "prepared"


@pytest.mark.slow
def test_every_metric_of_every_candidate_agrees(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    codec = load_codec(checkpoint)
    demo = load_directory("demo", bundled_directory("demo_codec"))
    splits = CachedCodes(str(data / "codes_demo")).open(demo, dict(codec.heads), seed=7)
    kept: dict[str, Any] = {}
    summary = summarize(
        codec, codec, splits, keep=lambda utterances, scores: kept.update(utterances=utterances, scores=scores)
    )
    assert cli.run(["evaluate", f"data={data}", f"checkpoint={checkpoint}", f"output={tmp_path / 'out'}"]) == 0
    rows = pq.read_table(tmp_path / "out" / "files.parquet").to_pylist()
    assert len(rows) == 3 * len(NAMES)
    metrics = [name for name in rows[0] if f"head_48k/{name}" in kept["scores"]]
    assert {"stoi", "pesq_wb", "lsd_high_db", "lsd_low_db", "l1"} <= set(metrics)
    for row in rows:
        place = [path for path, _ in kept["utterances"]].index(row["path"])
        assert kept["utterances"][place][1] == pytest.approx(row["seconds"], abs=1e-3)
        for metric in metrics:
            scores = kept["scores"].get(f"{NAMES[row['output']]}/{metric}")
            value = None if scores is None else scores[place]
            where = (row["path"], row["output"], metric)
            assert (value is None) == (row[metric] is None), where
            assert value is None or value == pytest.approx(row[metric], rel=1e-4, abs=1e-6), where
    assert (summary["count/native_high_band"], summary["count/undefined_lsd_high_db"]) == (2, 1)


@pytest.mark.slow
def test_a_model_in_training_is_measured_as_it_will_be_released(checkpoint: Path) -> None:
    """The copy that is measured leaves the model that trains as it was."""
    import copy

    from snac_exp.release.codec import ReleasedCodec
    from snac_exp.release.loading import open_model

    opened = open_model(checkpoint)
    before = {name: tensor.clone() for name, tensor in opened.model.state_dict().items()}
    released = ReleasedCodec(copy.deepcopy(opened.model), opened.blueprint)
    assert released.fingerprint == load_codec(checkpoint).fingerprint
    after = opened.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
