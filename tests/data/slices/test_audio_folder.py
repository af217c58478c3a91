"""Raw audio in: the same slices as cached codes give, folders mixed by weight, one gain for input and target."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.heads import NativeHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Augment, Loss
from snac_exp.data.loader import make_loader
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.slices.audio_folder import AudioFolder
from snac_exp.data.slices.augmenting import UNCHANGED
from snac_exp.data.slices.batch import collate
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.mixing import mix
from snac_exp.data.slices.sampling import SliceSampler, place
from snac_exp.data.slices.splits import Splits
from snac_exp.errors import ConfigError, DataError
from snac_exp.training.codec.decoder_task import DecoderTask
from tests.data.conftest import write_noise
from tests.helpers.codes import assert_same_codes

HEADS = {"head_24k": 24000, "head_48k": 48000}
OCTAVES_DB = [-8.01, -3.21, 0.0, -12.546]
LEVELS = Augment(gain_db=(-12.0, -3.0))


@pytest.fixture(scope="module")
def corpora(corpus_dir: Path, cache_dir: Path, codec: LoadedCodec) -> tuple[Splits, Splits]:
    """The same folder as raw audio and as cached codes."""
    raw = AudioFolder(path=str(corpus_dir / "prepared"), validation_seconds=0.5).open(codec, HEADS, seed=0)
    return raw, CachedCodes(str(cache_dir), validation_seconds=0.5).open(codec, HEADS, seed=0)


@pytest.fixture(scope="module")
def task(codec: LoadedCodec) -> DecoderTask:
    model = MultiRateSnac.from_codec(codec, {"head_24k": NativeHead})
    return DecoderTask(model, Loss({"l1": 1.0}, {"head_24k": 1.0}, {"head_24k": [512]}))


def same_row(raw: Splits, cached: Splits, row: int) -> int:
    return [cached.train.path(i) for i in range(len(cached.train))].index(raw.train.path(row))


def test_audio_of_a_slice_is_that_of_cached_codes(corpora: tuple[Splits, Splits], codec: LoadedCodec) -> None:
    raw, cached = corpora
    assert (len(raw.train), len(raw.validation)) == (15, 5)
    assert {spec.num_tokens for spec in raw.validation_specs} == {5}
    for row in range(len(raw.train)):
        twin = same_row(raw, cached, row)
        length = int(raw.train.coarse_lengths[row])
        assert length == cached.train.coarse_lengths[twin]
        start = max(length - 5, 0) // 2
        one = raw.train[place(row, start, length, 5, 2, codec.geometry)]
        other = cached.train[place(twin, start, length, 5, 2, codec.geometry)]
        for head in HEADS:
            np.testing.assert_allclose(one.audio[head], other.audio[head], atol=1e-6)
        assert (one.valid_samples, one.slice_offset, one.window_tokens_valid) == (
            other.valid_samples,
            other.slice_offset,
            other.window_tokens_valid,
        )
        assert one.codes == []
        assert one.source.shape == (9 * 2048,)
        begin = one.slice_offset * 2048
        assert torch.equal(one.source[begin : begin + 5 * 2048], one.audio["head_24k"])


@pytest.mark.slow
def test_whole_utterances_encode_in_the_step_to_their_cached_codes(
    corpora: tuple[Splits, Splits], codec: LoadedCodec, task: DecoderTask
) -> None:
    raw, cached = corpora
    for row in range(0, len(raw.train), 4):
        twin, length = same_row(raw, cached, row), int(raw.train.coarse_lengths[row])
        one = collate([raw.train[place(row, 0, length, length, 0, codec.geometry)]])
        other = collate([cached.train[place(twin, 0, length, length, 0, codec.geometry)]])
        assert_same_codes(task.codes(one), other.codes)
        assert_same_codes(raw.train.whole(row)[0], cached.train.whole(twin)[0])


def test_tokens_differ_at_the_edges_of_a_slice_and_context_mends_it(
    corpora: tuple[Splits, Splits], codec: LoadedCodec, task: DecoderTask
) -> None:
    """The encoder sees silence beyond the window; what lies further in is as in the whole utterance."""
    raw, cached = corpora
    row = int(np.argmax(raw.train.coarse_lengths))
    twin, length = same_row(raw, cached, row), int(raw.train.coarse_lengths[row])

    def latents(context: int) -> tuple[torch.Tensor, torch.Tensor]:
        specs = [place(i, 8, length, 6, context, codec.geometry) for i in (row, twin)]
        batches = [collate([corpus.train[spec]]) for corpus, spec in zip(corpora, specs, strict=True)]
        offset = 4 * specs[0].offset
        one, other = (task.latent(batch)[0, :, offset : offset + 24] for batch in batches)
        return one, other

    bare, expected = latents(0)
    assert not torch.equal(bare[:, :4], expected[:, :4])
    inner, expected = latents(4)
    assert torch.equal(inner, expected)


@pytest.mark.slow
def test_a_step_trains_the_decoder_and_leaves_encoder_and_codebooks_alone(
    corpora: tuple[Splits, Splits], codec: LoadedCodec, task: DecoderTask
) -> None:
    train = corpora[0].train
    sampler = SliceSampler(train.coarse_lengths, codec.geometry, 0, 5, 4, 1, epoch=1)
    batch = next(iter(make_loader(train, sampler)))
    assert batch.source.shape == (5, 1, 6 * 2048)
    measured = task(batch.to("cpu"), {"head_24k": 1.0})
    measured["head_24k/l1"].backward()
    assert all(parameter.grad is None for parameter in task.model.encoder.parameters())
    assert all(parameter.grad is None for parameter in task.model.quantizer.parameters())
    assert any(float(parameter.grad.abs().max()) > 0 for parameter in task.model.trunk.parameters())
    expected = task.codes(batch)
    with torch.autocast("cpu", torch.bfloat16):  # encoded in float32 whatever the precision of training
        assert all(torch.equal(one, other) for one, other in zip(task.codes(batch), expected, strict=True))


def test_folders_are_mixed_by_weight_and_no_row_is_left_out() -> None:
    rows = [np.arange(0, 100), np.arange(100, 110), np.arange(110, 140)]
    mixed = mix(rows, [2.0, 1.0, 1.0], seed=3)
    counts = Counter(mixed.tolist())
    assert set(counts) == set(range(140))
    assert [sum(counts[row] for row in found.tolist()) for found in rows] == [100, 50, 50]
    assert {counts[row] for row in range(100, 110)} == {5}
    assert Counter(counts[row] for row in range(110, 140)) == {1: 10, 2: 20}
    assert np.array_equal(mix(rows, [2.0, 1.0, 1.0], seed=3), mixed)
    assert not np.array_equal(mix(rows, [2.0, 1.0, 1.0], seed=4), mixed)
    assert np.array_equal(mix(rows[:1], [7.0], seed=0), rows[0])
    with pytest.raises(ConfigError, match="weight=0 must be greater than 0"):
        mix(rows, [1, 0, 1], seed=0)


@pytest.mark.slow
def test_several_folders_give_batches_by_their_weights_that_resume(
    corpus_dir: Path, codec: LoadedCodec, tmp_path: Path
) -> None:
    for i in range(6):
        write_noise(tmp_path / "audio" / f"other{i % 3}" / f"{i}.wav", 0.6, seed=100 + i)
        target = tmp_path / "targets" / f"other{i % 3}" / f"{i}.flac"
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, np.full(28800, 0.25), 48000)
    prepare(tmp_path / "audio", tmp_path / "prepared", validation_speakers=["other2"])
    sources = [
        {"path": str(corpus_dir / "prepared"), "weight": 1},
        {"path": str(tmp_path / "prepared"), "weight": 3, "target_dir": str(tmp_path / "targets")},
    ]
    corpus = AudioFolder(sources=sources, validation_seconds=0.5, context_tokens=1).open(codec, HEADS, seed=0)
    train = corpus.train
    assert (len(train), len(corpus.validation)) == (15 + 45, 5 + 2)
    names = [train.path(row) for row in range(60)]
    assert sum(name.startswith("other") for name in names) == 45
    assert max(Counter(names[15:]).values()) == 12
    assert train[place(59, 0, 8, 4, 0, codec.geometry)].audio["head_48k"].unique().tolist() == [0.25]
    assert train[place(0, 0, 8, 4, 0, codec.geometry)].audio["head_48k"].abs().max() > 0.25

    def batches(start: int, epoch: int = 2) -> list[list[int]]:
        sampler = SliceSampler(train.coarse_lengths, codec.geometry, 7, 8, 4, 1, epoch, start_batch=start)
        return [batch.rows.tolist() for batch in make_loader(train, sampler)]

    whole = batches(0)
    assert batches(5) == whole[5:]
    assert sorted(row for rows in whole for row in rows) == list(range(60))
    assert batches(0, epoch=3) != whole


def test_one_gain_for_input_and_targets_by_seed_epoch_and_position(
    corpora: tuple[Splits, Splits], codec: LoadedCodec
) -> None:
    train = corpora[0].train

    def specs(batch_size: int, epoch: int = 1, start: int = 0, augment: Augment = LEVELS) -> list:
        sampler = SliceSampler(
            train.coarse_lengths, codec.geometry, 5, batch_size, 4, 0, epoch, start_batch=start, augment=augment
        )
        return [spec for batch in sampler for spec in batch]

    gains = [spec.change.gain_db for spec in specs(4)]
    assert len(set(gains)) == 15
    assert -12 <= min(gains) < -10
    assert -5 < max(gains) <= -3
    assert [spec.change.gain_db for spec in specs(5)] == gains
    assert specs(4, start=2) == specs(4)[8:]
    assert [spec.change.gain_db for spec in specs(4, epoch=2)] != gains
    plain = specs(4, augment=Augment())
    assert {spec.change for spec in plain} == {UNCHANGED}
    assert [(spec.row, spec.start) for spec in plain] == [(spec.row, spec.start) for spec in specs(4)]
    for spec, loud in zip(specs(4)[:3], plain[:3], strict=True):
        changed, as_it_is, factor = train[spec], train[loud], 10 ** (spec.change.gain_db / 20)
        torch.testing.assert_close(changed.source, as_it_is.source * factor)
        for head in HEADS:
            torch.testing.assert_close(changed.audio[head], as_it_is.audio[head] * factor)


def test_input_and_targets_of_every_rate_get_one_equalizer(corpora: tuple[Splits, Splits], codec: LoadedCodec) -> None:
    """Drawn by seed, epoch and position alone: the figures may never change, as a resumed run draws them again."""
    train = corpora[0].train
    options = {"augment": Augment(equalizer_db=6.0), "start_batch": 1}
    specs = next(iter(SliceSampler(train.coarse_lengths, codec.geometry, 5, 4, 4, 0, 1, **options)))
    assert [round(level, 3) for level in specs[0].change.octaves_db[:4]] == OCTAVES_DB
    for spec in specs[:2]:
        changed, as_it_is = train[spec], train[replace(spec, change=UNCHANGED)]
        assert changed.source is not None
        assert as_it_is.source is not None
        torch.testing.assert_close(changed.source, spec.change.applied(as_it_is.source, 24_000))
        for head, rate in HEADS.items():
            assert not torch.allclose(changed.audio[head], as_it_is.audio[head], atol=1e-3)
            torch.testing.assert_close(changed.audio[head], spec.change.applied(as_it_is.audio[head], rate))
        torch.testing.assert_close(changed.source[: len(changed.audio["head_24k"])], changed.audio["head_24k"])


def test_what_is_missing_or_contradictory_is_named(corpus_dir: Path, codec: LoadedCodec, tmp_path: Path) -> None:
    prepared = str(corpus_dir / "prepared")
    for options in ({}, {"path": prepared, "sources": [{"path": prepared}]}):
        with pytest.raises(ConfigError, match=r"data\.path=FOLDER, or several with data\.sources"):
            AudioFolder(**options).open(codec, HEADS, 0)
    with pytest.raises(ConfigError, match=r"unknown key 'data\.sources\[0\]\.wieght'; did you mean 'weight'"):
        AudioFolder(sources=[{"path": prepared, "wieght": 2}]).open(codec, HEADS, 0)
    with pytest.raises(DataError, match="no manifest there"):
        AudioFolder(path=str(tmp_path)).open(codec, HEADS, 0)
    with pytest.raises(DataError, match=r"no target for 15 of 15 files"):
        AudioFolder(path=prepared, target_dir=str(tmp_path)).open(codec, HEADS, 0)
    limited = AudioFolder(path=prepared, limit=4, validation_seconds=0.5).open(codec, HEADS, 0)
    assert len(limited.train) == 4


@pytest.mark.slow
def test_the_groups_compose_and_gain_needs_raw_audio() -> None:
    experiment, _ = compose_experiment(["data=audio_folder", "data.path=/x y", "augment=gain"])
    assert experiment.augment.gain_db == (-12.0, 0.0)
    assert experiment.data.options["path"] == "/x y"
    assert compose_experiment([])[0].augment.gain_db is None
