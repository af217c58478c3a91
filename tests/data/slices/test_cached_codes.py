"""The data source: what it reads, what it refuses, and what it says about padding."""

import builtins
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes import mapped_codes
from snac_exp.data.files import reading as audio
from snac_exp.data.loader import make_loader
from snac_exp.data.slices.batch import Batch
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.sampling import SliceSampler, SliceSpec, place
from snac_exp.errors import DataError
from tests.helpers.codes import assert_same_codes

HEADS = {"head_24k": 24000, "head_48k": 48000}


def batches(dataset: object, tokens: int, context: int = 3, batch_size: int = 5, workers: int = 0) -> list[Batch]:
    sampler = SliceSampler(dataset.coarse_lengths, dataset.geometry, 0, batch_size, tokens, context, epoch=1)
    return list(make_loader(dataset, sampler, num_workers=workers))


def test_shapes_types_and_counts_of_a_batch(cache_dir: Path, codec: LoadedCodec) -> None:
    corpus = CachedCodes(str(cache_dir), context_tokens=3, validation_seconds=0.5).open(codec, HEADS, seed=0)
    assert (len(corpus.train), len(corpus.validation), corpus.context_tokens) == (15, 5, 3)
    batch = batches(corpus.train, tokens=11)[0]
    assert [tuple(codes.shape) for codes in batch.codes] == [(5, 17), (5, 34), (5, 68)]
    assert {codes.dtype for codes in batch.codes} == {torch.int64}
    assert {head: tuple(audio.shape) for head, audio in batch.audio.items()} == {
        "head_24k": (5, 1, 11 * 2048),
        "head_48k": (5, 1, 11 * 4096),
    }
    assert {audio.dtype for audio in batch.audio.values()} == {torch.float32}
    assert batch.audio_seconds == pytest.approx(5 * 11 * 2048 / 24000)
    assert {spec.num_tokens for spec in corpus.validation_specs} == {5}
    moved = batch.to("cpu")
    assert torch.equal(moved.rows, batch.rows)
    assert len(moved) == 5


def test_s07_codes_are_not_read_from_a_file_per_row(
    tmp_path: Path, cache_dir: Path, codec: LoadedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "codes"
    shutil.copytree(cache_dir, mine)
    (mine / "codes.arrow").unlink(missing_ok=True)
    reads: list[str] = []
    open_shard = pq.ParquetFile
    monkeypatch.setattr(mapped_codes.pq, "ParquetFile", lambda path: reads.append(str(path)) or open_shard(path))
    corpus = CachedCodes(str(mine), validation_seconds=0.5).open(codec, HEADS, seed=0)
    assert len(reads) == 3  # one per shard
    shutil.rmtree(mine)  # whoever needs the shards again fails from here on
    opened: list[str] = []
    original = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda path, *args, **kw: opened.append(str(path)) or original(path, *args, **kw)
    )
    audio_opened: list[str] = []
    open_audio = soundfile.SoundFile
    monkeypatch.setattr(soundfile, "SoundFile", lambda path: audio_opened.append(path) or open_audio(path))
    assert sum(len(batch) for batch in batches(corpus.train, tokens=4)) == 15
    assert not [path for path in opened if path.endswith(".parquet")]
    assert len(reads) == 3
    assert len(audio_opened) == 15  # per row only its audio, once for both heads


def test_s09_padding_is_masked(cache_dir: Path, codec: LoadedCodec) -> None:
    dataset = CachedCodes(str(cache_dir), validation_seconds=0.5).open(codec, HEADS, seed=0).train
    short = int(np.argmin(dataset.coarse_lengths))
    assert dataset.num_samples[short] == 7440  # 0.31 s
    assert dataset.coarse_lengths[short] == 4
    sample = dataset[place(short, 0, 4, num_tokens=11, context_tokens=3, geometry=codec.geometry)]
    assert sample.window_tokens_valid == 4  # of 17: the trainer zeroes the latent of the others
    assert sample.valid_samples == 7440  # of 22528: only these carry loss, though the codes reach 8192
    assert [int(codes[length:].abs().sum()) for codes, length in zip(sample.codes, (4, 8, 16), strict=True)] == [
        0,
        0,
        0,
    ]
    assert float(sample.audio["head_24k"][7440:].abs().max()) == 0
    assert float(sample.audio["head_48k"][2 * 7440 :].abs().max()) == 0
    assert float(sample.audio["head_24k"][7430:7440].abs().max()) > 0
    long = int(np.argmax(dataset.coarse_lengths))
    inner = dataset[place(long, 5, int(dataset.coarse_lengths[long]), 11, 3, codec.geometry)]
    assert (inner.window_tokens_valid, inner.valid_samples, inner.slice_offset) == (17, 11 * 2048, 3)


def test_s10_validation_specs_of_a_corpus_are_one_length_and_the_same_each_time(
    cache_dir: Path, codec: LoadedCodec
) -> None:
    source = CachedCodes(str(cache_dir), validation_seconds=0.5, validation_slices=4)
    first = source.open(codec, HEADS, seed=5)
    batches(first.train, tokens=2)
    batches(first.train, tokens=20)
    assert source.open(codec, HEADS, seed=5).validation_specs == first.validation_specs
    assert {spec.num_tokens for spec in first.validation_specs} == {codec.geometry.coarse_tokens_in(0.5)}


def test_s11_native_head_target_is_the_source(
    tmp_path: Path, corpus_dir: Path, cache_dir: Path, codec: LoadedCodec
) -> None:
    """Targets sound different from the sources; the head at the codec's rate must not hear them."""
    for source in (corpus_dir / "audio").rglob("*.*"):
        samples, rate = soundfile.read(source)
        target = (tmp_path / source.relative_to(corpus_dir / "audio")).with_suffix(".flac")
        target.parent.mkdir(exist_ok=True)
        soundfile.write(target, np.full(len(samples), 0.25), rate)
    with_targets = CachedCodes(str(cache_dir), target_dir=str(tmp_path), validation_seconds=0.5)
    dataset = with_targets.open(codec, HEADS, seed=0).train
    for row in range(len(dataset)):
        length = int(dataset.coarse_lengths[row])
        sample = dataset[place(row, 0, length, length, 0, codec.geometry)]
        source = audio.read_mono(corpus_dir / "audio" / dataset.path(row), 24000)
        np.testing.assert_array_equal(sample.audio["head_24k"][: len(source)], source)
        assert not sample.audio["head_24k"][len(source) :].any()
        assert set(sample.audio["head_48k"][: 2 * sample.valid_samples].tolist()) == {0.25}
        assert dataset.whole(row)[1]["head_48k"].unique().tolist() == [0.25]


def test_without_targets_the_source_file_must_reach_the_rate(
    tmp_path: Path, corpus_dir: Path, cache_dir: Path, codec: LoadedCodec
) -> None:
    for source in (corpus_dir / "audio").rglob("*.*"):
        copy = tmp_path / source.relative_to(corpus_dir / "audio")
        copy.parent.mkdir(exist_ok=True)
        soundfile.write(copy, audio.read_mono(source, 24000), 24000)
    source = CachedCodes(str(cache_dir), audio_root=str(tmp_path), validation_seconds=0.5)
    dataset = source.open(codec, HEADS, seed=0).train
    with pytest.raises(
        DataError, match=rf"{tmp_path}.*24000 Hz has no target for a head of 48000 Hz; set data.target_dir"
    ):
        dataset[place(0, 0, 4, 4, 0, codec.geometry)]
    only_native = source.open(codec, {"head_24k": 24000}, seed=0).train
    assert only_native[place(0, 0, 4, 4, 0, codec.geometry)].audio["head_24k"].any()


def test_missing_targets_are_counted_before_anything_is_trained(
    tmp_path: Path, cache_dir: Path, codec: LoadedCodec
) -> None:
    (tmp_path / "speaker0").mkdir()
    with pytest.raises(DataError, match=r"no target for 15 of 15 files \(first: speaker"):
        CachedCodes(str(cache_dir), target_dir=str(tmp_path)).open(codec, HEADS, seed=0)


def test_whole_utterances_are_what_the_codec_encodes(cache_dir: Path, codec: LoadedCodec) -> None:
    dataset = CachedCodes(str(cache_dir), validation_seconds=0.5).open(codec, HEADS, seed=0).validation
    for row in range(len(dataset)):
        codes, signals = dataset.whole(row)
        assert signals["head_24k"].shape == (1, 1, dataset.num_samples[row])
        assert signals["head_48k"].shape == (1, 1, 2 * dataset.num_samples[row])
        with torch.no_grad():
            again = codec.model.encode(signals["head_24k"])
        assert_same_codes(codes, again)


def test_a_cache_of_another_codec_is_refused_and_both_are_named(
    cache_dir: Path, codec: LoadedCodec, make_codec
) -> None:
    other = make_codec(seed=1)
    with pytest.raises(
        DataError,
        match=rf"tiny0 \(fingerprint {codec.fingerprint[:12]}\).*tiny1 \(fingerprint {other.fingerprint[:12]}\)",
    ):
        CachedCodes(str(cache_dir)).open(other, HEADS, seed=0)


def test_an_absent_or_incomplete_cache_names_the_command(tmp_path: Path, cache_dir: Path, codec: LoadedCodec) -> None:
    with pytest.raises(DataError, match=r"no code cache there; make one with: snac-exp cache-codes .* codec=tiny0"):
        CachedCodes(str(tmp_path)).open(codec, HEADS, seed=0)
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "manifest.parquet").touch()
    with pytest.raises(DataError, match=r"is a prepared folder; .*snac-exp cache-codes data=.*prepared codec=tiny0$"):
        CachedCodes(str(prepared)).open(codec, HEADS, seed=0)
    shutil.copytree(cache_dir, prepared / "codes_tiny0")
    with pytest.raises(DataError, match=r"is a prepared folder; give the folder of its codes: .*prepared/codes_tiny0$"):
        CachedCodes(str(prepared)).open(codec, HEADS, seed=0)
    partial = tmp_path / "codes"
    shutil.copytree(cache_dir, partial)
    (partial / "codes-00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match=r"1 of 3 shards are missing \(first: codes-00001-of-00003.parquet\)"):
        CachedCodes(str(partial)).open(codec, HEADS, seed=0)
    (partial / "codes-00001-of-00003.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"codes-00001-of-00003\.parquet: not a readable code shard"):
        CachedCodes(str(partial)).open(codec, HEADS, seed=0)
    with pytest.raises(DataError, match=r"data\.audio_root: no folder /nowhere"):
        CachedCodes(str(cache_dir), audio_root="/nowhere").open(codec, HEADS, seed=0)


def test_a_limit_draws_rows_of_all_lengths_and_nests(cache_dir: Path, codec: LoadedCodec) -> None:
    def paths(limit: int | None) -> set[str]:
        train = CachedCodes(str(cache_dir), limit=limit, validation_seconds=0.5).open(codec, HEADS, seed=0).train
        return {train.path(row) for row in range(len(train))}

    assert len(paths(None)) == 15
    assert paths(5) < paths(9) < paths(None)
    assert len(paths(5)) == 5
    with pytest.raises(DataError, match=r"data\.limit=0"):
        paths(0)


@pytest.mark.slow
def test_workers_give_the_same_batches_and_leave_the_global_generator_alone(
    cache_dir: Path, codec: LoadedCodec
) -> None:
    dataset = CachedCodes(str(cache_dir), validation_seconds=0.5).open(codec, HEADS, seed=0).train
    before = torch.get_rng_state()
    here, there = batches(dataset, 7), batches(dataset, 7, workers=2)
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.rows, other.rows)
        assert all(torch.equal(a, b) for a, b in zip(one.codes, other.codes, strict=True))
        assert all(torch.equal(one.audio[head], other.audio[head]) for head in HEADS)


def test_a_window_of_an_empty_context_is_the_slice(cache_dir: Path, codec: LoadedCodec) -> None:
    dataset = CachedCodes(str(cache_dir), validation_seconds=0.5).open(codec, HEADS, seed=0).train
    spec = SliceSpec(row=14, window_start=2, window_tokens=3, start=2, num_tokens=3)
    sample = dataset[spec]
    assert [codes.tolist() for codes in sample.codes] == [
        dataset.table.codes(int(dataset.rows[14]), i)[2 * n : 5 * n].tolist() for i, n in enumerate((1, 2, 4))
    ]
    assert replace(spec, row=3) != spec


@pytest.mark.slow
def test_workers_leave_ctrl_c_to_the_parent(cache_dir: Path, codec: LoadedCodec) -> None:
    """A SIGINT to the group must not kill a worker in the middle of the step the parent still finishes."""
    dataset = CachedCodes(str(cache_dir), validation_seconds=0.5).open(codec, HEADS, seed=0).train
    sampler = SliceSampler(dataset.coarse_lengths, dataset.geometry, 0, 1, 4, 0, epoch=1)
    iterator = iter(make_loader(dataset, sampler, num_workers=1))
    seen = len(next(iterator))
    for worker in iterator._workers:
        os.kill(worker.pid, signal.SIGINT)
    assert seen + sum(len(batch) for batch in iterator) == 15
