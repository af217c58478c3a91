"""A run beside the same recipe in plain PyTorch (plain.py): every logged number, the weights, averages and choices.

Files of other lengths, so that slices are padded; 48 kHz targets that are not the sources; clipping, decay and averages
strong enough to be seen.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from plain import COARSE, RATES, Utterance, context_of, distance, lsd_high, terms, without_noise
from plain_run import (
    BUNDLED,
    N_FFTS,
    RECIPE,
    STAGES,
    VALIDATION_TOKENS,
    Both,
    Material,
    batches,
    validated,
    write_files,
)
from snac import SNAC

from snac_exp import cli
from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.verbs.training.train import main
from tests.helpers.variants import thorough

pytestmark = pytest.mark.slow  # the runs that all look at take longest


@pytest.fixture(scope="module")
def material(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    root = tmp_path_factory.mktemp("plain")
    config = json.loads((BUNDLED / "config.json").read_text())
    bundled = SNAC(**config)
    bundled.load_state_dict(torch.load(BUNDLED / "pytorch_model.bin", weights_only=True))
    codec = without_noise(bundled, config)
    (root / "codec").mkdir()
    (root / "codec" / "config.json").write_text(json.dumps(config | {"noise": False}))
    torch.save(codec.state_dict(), root / "codec" / "pytorch_model.bin")
    write_files(sorted((corpus_dir / "audio").rglob("*.flac")), root)
    prepare = ["prepare", f"input={root / 'audio'}", f"output={root / 'prepared'}", "validation_speakers=[val]"]
    assert cli.run([*prepare, "num_workers=1", "min_seconds=0.2"]) == 0
    command = ["cache-codes", f"data={root / 'prepared'}", "codec=demo", f"codec.path={root / 'codec'}"]
    assert cli.run(command) == 0
    rows = {}
    for split, speaker in (("train", "ann"), ("validation", "val")):
        found = [
            Utterance.read(codec, path, root / "targets" / path.relative_to(root / "audio"))
            for path in sorted((root / "audio" / speaker).glob("*.flac"))
        ]
        rows[split] = sorted(found, key=lambda item: len(item.audio["head_24k"]))  # as manifests have them
    return Material(root, codec, rows["train"], rows["validation"])


@pytest.fixture(
    scope="module", params=["null", *thorough("1")], ids=["context as the decoder sees", "context of one token"]
)
def both(request: pytest.FixtureRequest, material: Material, tmp_path_factory: pytest.TempPathFactory) -> Both:
    output, root = tmp_path_factory.mktemp("run"), material.root
    cache = next(path for path in (root / "prepared").iterdir() if path.is_dir())
    arguments = [f"data.cache_dir={cache}", f"data.target_dir={root / 'targets'}", f"output_dir={output}"]
    assert main([*RECIPE, *arguments, f"codec.path={root / 'codec'}", f"data.context_tokens={request.param}"]) == 0
    (folder,) = (output / "plain").iterdir()
    return Both(material, folder, context_of(material.codec) if request.param == "null" else 1)


def test_every_step_is_plain_pytorchs(both: Both) -> None:
    """S9, S11, S16, S25: what is scored. S27: how its gradients are used."""
    steps = both.lines["train"]
    assert len(steps) == len(both.trained.steps) == 6
    for line, expected in zip(steps, both.trained.steps, strict=True):
        for name, value in expected.items():
            assert line[f"train/{name}"] == pytest.approx(value, rel=5e-4), (line["step"], name)


def test_s27_the_weights_have_gone_the_same_way(both: Both) -> None:
    end = read_checkpoint(both.folder / "checkpoints" / "checkpoint_epoch3.pt").model
    assert distance(both.trained.weights.items(), dict(end), both.start) < 0.02


def test_s10_s18_s28_every_validation_is_of_the_averaged_weights_on_the_same_slices(both: Both) -> None:
    specs = validated(both)
    for line, average in zip(both.lines["validation"], both.trained.averages, strict=True):
        model = both.model(both.start | average)
        with torch.no_grad():
            pairs = [
                model.scored(both.material.validation[row], first, VALIDATION_TOKENS, both.context)
                for row, first in specs
            ]
        found = {name: float(value) for name, value in terms(pairs, N_FFTS, VALIDATION_TOKENS).items()}
        for head in RATES:
            found[f"{head}/objective"] = found[f"{head}/l1"] + found[f"{head}/stft_complex"]
        # The same weights of heads in every phase: in the warm-up the 24 kHz head counts as it does later.
        found["objective"] = 0.3 * found["head_24k/objective"] + found["head_48k/objective"]
        for name, value in found.items():
            assert line[f"val/{name}"] == pytest.approx(value, rel=5e-4), (line["epoch"], name)


def test_s18_s28_each_best_model_holds_the_averaged_weights_of_its_own_best_epoch(both: Both) -> None:
    keys = {"best_model": "objective", "best_model_24k": "head_24k/objective", "best_model_48k": "head_48k/objective"}
    for file, key in keys.items():
        values = [line[f"val/{key}"] for line in both.lines["validation"]]
        best = read_checkpoint(both.folder / "checkpoints" / f"{file}.pt")
        epoch = values.index(min(values))
        expected = both.trained.averages[epoch]
        own = {name: tensor for name, tensor in best.model.items() if name in expected}
        if epoch == 0:
            assert all(torch.equal(own[name], both.start[name]) for name in own)
        else:
            assert distance(own.items(), expected, both.start) < 0.02, file


def test_s11_s15_s28_the_summary_is_of_averaged_weights_against_each_heads_own_file(both: Both) -> None:
    summary = json.loads((both.folder / "summary.json").read_text())
    model = both.model(both.start | both.trained.averages[-1])
    raw = both.model(both.start | both.trained.weights)
    values: dict[str, list[float]] = {}
    high = []
    for item in both.material.validation:
        with torch.no_grad():
            for of, outputs in (("", model(item.codes, item.num_tokens)), ("raw/", raw(item.codes, item.num_tokens))):
                for head, output in outputs.items():
                    target = item.audio[head]
                    values.setdefault(of + head, []).append(float((output[: len(target)] - target).abs().mean()))
                if not of:
                    target = item.audio["head_48k"]
                    high.append(lsd_high(target, outputs["head_48k"][: len(target)]))
    for head in RATES:
        averaged, own = np.mean(values[head]), np.mean(values[f"raw/{head}"])
        assert summary[f"{head}/l1"] == pytest.approx(averaged, rel=5e-4)
        assert abs(own - averaged) > 4e-3 * averaged  # so that the one is not taken for the other
    assert summary["count/native_high_band"] == len(high)
    assert summary["head_48k/lsd_high_db"] == pytest.approx(np.mean(high), rel=2e-3)


def test_s09_s11_s25_evaluate_scores_every_sample_of_each_heads_own_file(both: Both, tmp_path: Path) -> None:
    root = both.material.root
    command = ["evaluate", f"data={root / 'prepared'}", f"checkpoint={both.folder}", f"output={tmp_path / 'out'}"]
    assert cli.run([*command, f"target_dir={root / 'targets'}", "baselines=[]"]) == 0
    rows = pq.read_table(tmp_path / "out" / "files.parquet").to_pylist()
    best = read_checkpoint(both.folder / "checkpoints" / "best_model.pt")
    model = both.model(dict(best.model))
    for item in both.material.validation:
        with torch.no_grad():
            outputs = model(item.codes, item.num_tokens)
        for head, output in outputs.items():
            target = item.audio[head]
            expected = float((output[: len(target)] - target).abs().mean())
            assert any(row["l1"] == pytest.approx(expected, rel=1e-3) for row in rows), head


def test_s11_s16_samples_are_the_slices_that_were_validated(both: Both) -> None:
    model = both.model(both.start | both.trained.averages[-1])
    for index, (row, first) in enumerate(validated(both)[:2]):
        item = both.material.validation[row]
        with torch.no_grad():
            pairs = model.scored(item, first, VALIDATION_TOKENS, both.context)
        for head, label in (("head_24k", "24k"), ("head_48k", "48k")):
            output, _ = pairs[head]
            samples, rate = soundfile.read(both.folder / "samples" / "epoch003" / f"clip{index}_{label}.wav")
            assert rate == RATES[head]
            np.testing.assert_allclose(samples, output, atol=5e-3 * float(output.abs().max()) + 1e-4)
        reference, _ = soundfile.read(both.folder / "samples" / "epoch003" / f"clip{index}_reference_48k.wav")
        np.testing.assert_allclose(reference, pairs["head_48k"][1], atol=1e-4)


def test_padding_and_context_were_there_to_be_got_wrong(both: Both) -> None:
    """What the numbers above would not tell if every slice were whole."""
    ends = [
        (item.num_tokens - first, len(item.audio["head_24k"]) - first * COARSE)
        for epoch, length in STAGES.items()
        for batch in batches(both, epoch, length)
        for item, first in ((both.material.train[row], first) for row, first in batch)
    ]
    assert sum(samples < STAGES[3] * COARSE for _, samples in ends) > 3
    assert context_of(both.material.codec) > 1
