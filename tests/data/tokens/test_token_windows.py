"""Token windows: splits by file, every window once, resumable by arithmetic, nothing bad read silently."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.data.codes.shards import CacheSpec
from snac_exp.data.tokens.batch import TokenWindows, make_window_loader
from snac_exp.data.tokens.encoding import export_cache
from snac_exp.data.tokens.files import CachedTokens, NpqFiles
from snac_exp.data.tokens.npq import NpqError, write_npq
from snac_exp.data.tokens.sources import NpqTokens
from snac_exp.data.tokens.windows import (
    WindowIndex,
    WindowSampler,
    split_files,
    validation_windows,
)
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.frames import repeat_streams, stack_coarse

VOCAB = (64, 32)


def write_files(folder: Path, lengths: Sequence[int], rate: float = 50.0) -> list[np.ndarray]:
    """Files 0000.npq, ...; every frame says which file and which frame it is."""
    tokens = []
    for i, length in enumerate(lengths):
        frames = np.stack([np.arange(length) % 64, np.full(length, i % 32)], axis=1)
        write_npq(folder / f"speaker{i % 3}" / f"{i:04d}.npq", frames, VOCAB, rate)
        tokens.append(frames)
    return tokens


lengths_of_files = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@pytest.mark.slow
@given(
    lengths=lengths_of_files, num_frames=st.integers(1, 12), step=st.integers(1, 12), alignment=st.sampled_from([1, 4])
)
def test_windows_cover_every_frame_and_never_reach_beyond_a_file(
    lengths: list[int], num_frames: int, step: int, alignment: int
) -> None:
    num_frames, step = num_frames * alignment, min(step, num_frames) * alignment
    aligned = np.array(lengths) * alignment
    index = WindowIndex(np.arange(len(lengths)), aligned, num_frames, step, alignment)
    specs = index.specs(np.arange(len(index)))
    assert len(set(specs)) == len(specs)
    seen = [np.zeros(length, bool) for length in aligned]
    for spec in specs:
        assert spec.start % alignment == 0
        assert spec.start == 0 or spec.start + num_frames <= aligned[spec.file]
        seen[spec.file][spec.start : spec.start + num_frames] = True
    assert all(part.all() for part in seen)


def test_windows_of_the_recipe_in_numbers() -> None:
    index = WindowIndex(np.array([7, 9, 4]), np.array([1280, 3000, 100]), 1280, 640)
    specs = index.specs(np.arange(len(index)))
    assert [(spec.file, spec.start) for spec in specs] == [(7, 0), (9, 0), (9, 640), (9, 1280), (9, 1720), (4, 0)]


@given(
    lengths=lengths_of_files,
    batch_size=st.integers(1, 7),
    epoch=st.integers(1, 3),
    start=st.integers(0, 9),
    world_size=st.integers(1, 3),
)
def test_an_epoch_has_every_window_once_and_its_rest_is_its_tail(
    lengths: list[int], batch_size: int, epoch: int, start: int, world_size: int
) -> None:
    index = WindowIndex(np.arange(len(lengths)), np.array(lengths), 6, 3)
    if batch_size < world_size or len(index) < world_size:
        with pytest.raises(DataError, match="do not feed"):
            WindowSampler(index, 0, batch_size, epoch, world_size=world_size)
        return
    ranks = [list(WindowSampler(index, 0, batch_size, epoch, 0, rank, world_size)) for rank in range(world_size)]
    flat = [spec for rank in ranks for batch in rank for spec in batch]
    assert sorted(flat, key=str) == sorted(index.specs(np.arange(len(index))), key=str)
    assert all(batch for rank in ranks for batch in rank)
    assert len({len(rank) for rank in ranks}) == 1
    assert list(WindowSampler(index, 0, batch_size, epoch, start, 0, world_size)) == ranks[0][start:]
    assert len(WindowSampler(index, 0, batch_size, epoch, start, 0, world_size)) == len(ranks[0][start:])


def test_epochs_and_seeds_shuffle_differently() -> None:
    index = WindowIndex(np.arange(4), np.array([50] * 4), 10, 5)
    orders = [list(WindowSampler(index, seed, 6, epoch)) for seed, epoch in [(0, 1), (0, 1), (0, 2), (1, 1)]]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2] != orders[3] != orders[0]


def test_a_batch_holds_the_frames_of_its_files_and_says_what_is_padding(tmp_path: Path) -> None:
    tokens = write_files(tmp_path, [30, 7, 100])
    source = NpqFiles.open(tmp_path)
    order = [source.paths.index(f"speaker{i}/{i:04d}.npq") for i in range(3)]
    windows = TokenWindows(source, np.arange(3))
    index = windows.index(12, 6)
    batch = windows.batch(index.specs(np.arange(len(index))))
    assert batch.frames.dtype == torch.int64
    assert batch.frames_per_second == 50.0
    assert batch.audio_seconds == pytest.approx(len(index) * 12 / 50.0)
    for spec, frames, valid in zip(index.specs(np.arange(len(index))), batch.frames, batch.valid_frames, strict=True):
        truth = tokens[order.index(spec.file)][spec.start : spec.start + 12]
        assert int(valid) == len(truth)
        assert np.array_equal(frames[: len(truth)], truth)
        assert torch.count_nonzero(frames[len(truth) :]) == 0


@pytest.mark.slow
def test_the_loader_gives_the_same_batches_with_and_without_workers(tmp_path: Path) -> None:
    write_files(tmp_path, [30, 7, 100])
    windows = TokenWindows(NpqFiles.open(tmp_path), np.arange(3))
    sampler = WindowSampler(windows.index(12, 6), 0, 4, 1)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    alone, workers = (list(make_window_loader(windows, sampler, num)) for num in (0, 1))
    assert torch.equal(torch.get_rng_state(), before), "a resumed run must find the global generator where it was"
    assert len(alone) == len(workers) == len(sampler)
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(alone, workers, strict=True))


def test_micro_batches_have_one_shape_and_lose_nothing(tmp_path: Path) -> None:
    write_files(tmp_path, [30, 7, 100])
    windows = TokenWindows(NpqFiles.open(tmp_path), np.arange(3))
    index = windows.index(12, 6)
    batch = windows.batch(index.specs(np.arange(11)))
    parts = batch.micro_batches(4)
    assert [part.frames.shape[0] for part in parts] == [4, 4, 4]
    assert parts[2].valid_frames.tolist()[3:] == [0]
    assert torch.equal(torch.cat([part.frames for part in parts])[:11], batch.frames)
    assert sum(int(part.valid_frames.sum()) for part in parts) == int(batch.valid_frames.sum())


def test_no_file_is_on_both_sides_and_the_list_is_honoured(tmp_path: Path) -> None:
    write_files(tmp_path, [20] * 30)
    files = NpqFiles.open(tmp_path)
    train, validation = split_files(files.paths, files.lengths, 0.9, seed=0)
    assert sorted([*train, *validation]) == list(range(30))
    assert len(validation) == 3
    assert validation.tolist() != split_files(files.paths, files.lengths, 0.9, seed=1)[1].tolist()
    (tmp_path / "val.txt").write_text("# two files\nspeaker0/0000.npq\nspeaker1/0001\n\n")
    _, listed = split_files(files.paths, files.lengths, 0.9, 0, tmp_path / "val.txt")
    assert [files.paths[i] for i in listed] == ["speaker0/0000.npq", "speaker1/0001.npq"]


@pytest.mark.parametrize(
    ("text", "message"), [("absent.npq", "no usable file 'absent.npq'"), ("# none\n", "leaves no file to validate on")]
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_files(tmp_path, [20] * 3)
    files = NpqFiles.open(tmp_path)
    (tmp_path / "val.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        split_files(files.paths, files.lengths, 0.9, 0, tmp_path / "val.txt")


def test_bad_files_are_listed_and_the_others_train(tmp_path: Path) -> None:
    write_files(tmp_path, [20] * 4)
    (tmp_path / "noise.npq").write_bytes(b"not tokens at all")
    cut = tmp_path / "speaker0" / "0000.npq"
    cut.write_bytes(cut.read_bytes()[:-1])
    write_npq(tmp_path / "short.npq", np.zeros((1, 2), np.int64), VOCAB, 50.0)
    wild = tmp_path / "speaker1" / "0001.npq"
    wild.write_bytes(wild.read_bytes()[:-9] + b"\xff" + wild.read_bytes()[-8:])
    files = NpqFiles.open(tmp_path)
    assert sorted(files.paths) == ["speaker0/0003.npq", "speaker2/0002.npq"]
    reasons = {item.path: item.reason for item in files.rejected}
    assert set(reasons) == {"noise.npq", "short.npq", "speaker0/0000.npq", "speaker1/0001.npq"}
    assert "token 255 in frame 19 of codebook 1" in reasons["speaker1/0001.npq"]
    unverified = NpqFiles.open(tmp_path, verify_tokens=False)
    assert len(unverified.paths) == 3
    with pytest.raises(NpqError, match="token 255 in frame 19"):
        unverified.read(unverified.paths.index("speaker1/0001.npq"), 10, 10)


def test_a_folder_without_a_usable_file_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        NpqFiles.open(tmp_path / "absent")
    with pytest.raises(DataError, match="no usable"):
        NpqFiles.open(tmp_path)
    (tmp_path / "a.npq").write_bytes(b"")
    with pytest.raises(DataError, match=r"the first of 1: .*neither the magic"):
        NpqFiles.open(tmp_path)


def test_files_that_disagree_about_the_vocabulary_are_named(tmp_path: Path) -> None:
    write_files(tmp_path, [20] * 5)
    write_npq(tmp_path / "odd.npq", np.zeros((20, 2), np.int64), (64, 33), 50.0)
    write_npq(tmp_path / "wide.npq", np.zeros((20, 3), np.int64), (64, 64, 64), 50.0)
    with pytest.raises(DataError, match="different codecs") as caught:
        NpqFiles.open(tmp_path)
    text = str(caught.value)
    assert "codebooks of 64, 32 in 5 files (speaker0/0000.npq, speaker0/0003.npq, speaker1/0001.npq and 2 more)" in text
    assert "codebooks of 64, 33 in 1 files (odd.npq)" in text
    assert "3 codebooks of 64 in 1 files (wide.npq)" in text


def test_files_of_different_frame_rates_are_named(tmp_path: Path) -> None:
    write_files(tmp_path, [20] * 2)
    write_npq(tmp_path / "fast.npq", np.zeros((20, 2), np.int64), VOCAB, 75.0)
    with pytest.raises(DataError, match=r"50 Hz \(speaker0/0000.npq\) and 75 Hz \(fast.npq\)"):
        NpqFiles.open(tmp_path)


def test_the_npq_source_opens_a_corpus(tmp_path: Path) -> None:
    write_files(tmp_path, [100] * 10)
    corpus = NpqTokens(str(tmp_path), train_ratio=0.8, max_validation_windows=3).open_tokens(None, seed=0)
    assert (len(corpus.train.files), len(corpus.validation.files)) == (8, 2)
    assert len(corpus.train_index(40)) == 8 * 4
    assert len(corpus.validation_specs(40, 0)) == 3
    assert corpus.validation_specs(40, 0) == corpus.validation_specs(40, 0)
    assert corpus.train.num_seconds == 16.0
    with pytest.raises(ConfigError, match="step_ratio"):
        NpqTokens(str(tmp_path), step_ratio=0.0).open_tokens(None, seed=0)


@pytest.mark.slow
@given(lengths=lengths_of_files, num_frames=st.integers(1, 12))
def test_validation_windows_score_each_frame_once(lengths: list[int], num_frames: int) -> None:
    index = WindowIndex(np.arange(len(lengths)), np.array(lengths), num_frames, num_frames, pad_tail=True)
    seen = [np.zeros(length, int) for length in lengths]
    for spec in validation_windows(index, 0, None):
        assert spec.start < lengths[spec.file]
        seen[spec.file][spec.start : spec.start + num_frames] += 1
    assert all((counts == 1).all() for counts in seen)


IDENTITY = CacheSpec("f", "demo", 24000, 512, (4, 2, 1), None, 512, "m", "/audio")


@dataclass(frozen=True)
class Rows:
    """A code table as far as tokens need it: strides 4, 2, 1 and 512 entries."""

    lengths: tuple[int, ...]
    spec: CacheSpec = IDENTITY

    @property
    def coarse_lengths(self) -> np.ndarray:
        return np.array(self.lengths)

    def codes(self, row: int, codebook: int, tokens: slice = slice(None)) -> np.ndarray:
        num = self.lengths[row] * 2**codebook
        return np.random.default_rng(10 * row + codebook).integers(0, 512, num).astype(np.uint16)[tokens]

    def path(self, row: int) -> str:
        return f"{row}.wav"


@given(first=st.integers(0, 4), num=st.integers(1, 3))
@settings(max_examples=10)
def test_frames_of_a_code_cache_are_a_slice_of_the_frames_of_the_row(first: int, num: int) -> None:
    table = Rows((3, 7, 1))
    codes = [table.codes(1, i) for i in range(3)]
    coarse, repeated = (CachedTokens(table, np.array([2, 1]), kind) for kind in ("coarse", "repeated"))
    assert coarse.lengths.tolist() == [1, 7]
    assert repeated.lengths.tolist() == [4, 28]
    assert coarse.name(1) == "1.wav"
    assert np.array_equal(coarse.read(1, first, num), stack_coarse(codes, (4, 2, 1))[first : first + num])
    window = repeat_streams(codes, (4, 2, 1))[4 * first : 4 * (first + num)]
    assert np.array_equal(repeated.read(1, 4 * first, 4 * num), window)
    with pytest.raises(ValueError, match="no whole coarse tokens"):
        repeated.read(1, 4 * first + 1, 4)


def test_sources_can_be_sent_to_workers(tmp_path: Path) -> None:
    write_files(tmp_path, [30])
    for source in (NpqFiles.open(tmp_path), CachedTokens(Rows((3,)), np.array([0]))):
        again = pickle.loads(pickle.dumps(source))
        assert np.array_equal(again.read(0, 0, 2), source.read(0, 0, 2))


def test_a_code_cache_is_exported_with_its_split(tmp_path: Path) -> None:
    tokens = CachedTokens(Rows((3, 7, 1)), np.arange(3))
    summary = export_cache(tokens, {1}, tmp_path)
    assert (summary.num_made, summary.num_kept) == (3, 0)
    files = NpqFiles.open(tmp_path, min_frames=1)
    assert files.layout.vocab_sizes == tokens.layout.vocab_sizes
    assert np.array_equal(files.read(1, 0, 7), tokens.read(1, 0, 7))
    train, validation = split_files(files.paths, files.lengths, 0.5, 0, tmp_path / "val_list.txt")
    assert (train.tolist(), validation.tolist()) == ([0, 2], [1])
    assert export_cache(tokens, {1}, tmp_path).num_kept == 3
