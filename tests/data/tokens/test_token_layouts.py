"""What token files of a SNAC codec mean, loaders that outlive an epoch, and the baseline of token frequencies."""

import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snac_exp.codec.geometry import Geometry
from snac_exp.data.tokens.baseline import unigram_metrics
from snac_exp.data.tokens.batch import CurrentBatches, TokenWindows, make_window_loader
from snac_exp.data.tokens.files import NpqFiles
from snac_exp.data.tokens.npq import write_npq
from snac_exp.data.tokens.sources import NpqTokens
from snac_exp.data.tokens.windows import WindowSampler
from snac_exp.errors import DataError
from snac_exp.lm.frames import FrameLayout, repeat_streams, stack_coarse

RATE = 24000 / 2048  # coarse frames per second of the codec below
LAYOUTS = {
    "coarse": FrameLayout.coarse((4, 2, 1), 64, RATE),
    "repeated": FrameLayout.repeated((4, 2, 1), 64, RATE),
}


def snac(codebook_size: int = 64) -> Any:
    """As much of a loaded codec as a data source looks at."""
    geometry, model = Geometry(24000, 512, (4, 2, 1)), types.SimpleNamespace(codebook_size=codebook_size)
    return types.SimpleNamespace(geometry=geometry, model=model, name="small")


def write_codes(folder: Path, kind: str, num_coarse: tuple[int, ...]) -> None:
    """Token files of random codes, as `snac-exp tokens encode` writes them."""
    layout, stack = LAYOUTS[kind], stack_coarse if kind == "coarse" else repeat_streams
    for i, num in enumerate(num_coarse):
        rng = np.random.default_rng(i)
        codes = [rng.integers(0, 64, num * 2**k) for k in range(3)]
        write_npq(folder / f"{i}.npq", stack(codes, (4, 2, 1)), layout.vocab_sizes, layout.frames_per_second)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_token_files_of_a_snac_are_its_frames(kind: str, tmp_path: Path) -> None:
    write_codes(tmp_path, kind, (9, 8, 30, 20))
    with_codec, without = (NpqTokens(str(tmp_path)).open_tokens(codec, seed=0) for codec in (snac(), None))
    assert with_codec.layout == LAYOUTS[kind]
    assert without.layout.num_codebooks == without.layout.num_streams == {"coarse": 7, "repeated": 3}[kind]
    assert with_codec.layout.tokens_per_second == pytest.approx(7 * RATE), "a repeated token is scored once"
    windows = with_codec.train_index(16)
    assert all(spec.start % with_codec.layout.alignment == 0 for spec in windows.specs(np.arange(len(windows))))


@pytest.mark.parametrize(("vocab", "rate"), [((64,) * 3, 50.0), ((32,) * 3, RATE * 4), ((64,) * 4, RATE * 4)])
def test_token_files_of_another_codec_are_refused(vocab: tuple[int, ...], rate: float, tmp_path: Path) -> None:
    write_npq(tmp_path / "a.npq", np.zeros((40, len(vocab)), np.int64), vocab, rate)
    with pytest.raises(DataError, match=r"are not of codec small; choose the codec that made them"):
        NpqTokens(str(tmp_path)).open_tokens(snac(), seed=0)


def test_files_cut_within_a_coarse_token_lose_its_rest_and_too_short_ones_are_listed(tmp_path: Path) -> None:
    for i, num_frames in enumerate((41, 3, 40, 43)):
        write_npq(tmp_path / f"{i}.npq", np.full((num_frames, 3), i), (64,) * 3, RATE * 4)
    files = NpqFiles.open(tmp_path).as_layout(LAYOUTS["repeated"])
    assert files.paths == ("0.npq", "2.npq", "3.npq")
    assert files.lengths.tolist() == [40, 40, 40]
    assert [(item.path, item.reason) for item in files.rejected] == [("1.npq", "fewer than 4 frames")]
    assert [int(files.read(i, 36, 4)[0, 0]) for i in range(3)] == [0, 2, 3], "headers stay with their files"
    for path in tmp_path.glob("[023].npq"):
        path.unlink()
    with pytest.raises(DataError, match="no file has 4 frames"):
        NpqFiles.open(tmp_path).as_layout(LAYOUTS["repeated"])


@pytest.mark.slow
def test_one_loader_serves_all_epochs_with_the_same_workers_also_when_one_is_left_early(tmp_path: Path) -> None:
    write_npq(tmp_path / "a.npq", np.arange(120)[:, None], (128,), 50.0)
    windows = TokenWindows(NpqFiles.open(tmp_path), np.array([0]))
    current = CurrentBatches()
    loader = make_window_loader(windows, current, num_workers=2, prefetch=6)
    workers = set()
    for epoch, (num_frames, left_after) in enumerate([(4, 3), (8, 99), (4, 99), (4, 1), (8, 99)]):
        current.batches = sampler = WindowSampler(windows.index(num_frames, num_frames), 0, 4, epoch)
        expected = [windows.batch(specs).frames for specs in sampler][:left_after]
        batches = [batch for _, batch in zip(expected, loader, strict=False)]
        assert len(batches) == len(expected)
        assert all(torch.equal(one.frames, other) for one, other in zip(batches, expected, strict=True))
        workers.add(tuple(worker.pid for worker in loader._iterator._workers))
    assert len(workers) == 1


@pytest.mark.parametrize("vocab", [(8, 8), (8, 3)])
def test_the_baseline_is_the_cross_entropy_of_counted_frequencies(vocab: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(6):
        write_npq(tmp_path / f"{i}.npq", np.stack([rng.integers(0, size, 30) for size in vocab], 1), vocab, 50.0)
    corpus = NpqTokens(str(tmp_path), train_ratio=0.7).open_tokens(None, seed=0)
    source = corpus.train.source
    nats = []
    for k, size in enumerate(vocab):
        seen = np.concatenate([source.read(int(file), 0, 30)[:, k] for file in corpus.train.files])
        scored = np.concatenate([source.read(int(file), 0, 30)[:, k] for file in corpus.validation.files])
        share = [(np.count_nonzero(seen == token) + 1) / (len(seen) + size) for token in range(size)]
        nats.append(-np.mean([math.log(share[token]) for token in scored]))
    values = unigram_metrics(corpus, corpus.validation_specs(8, 0))
    assert [values[f"codebook_{k}/cross_entropy"] for k in range(2)] == pytest.approx(nats)
    assert values["bits_per_second"] == pytest.approx(sum(nats) / math.log(2) * 50.0)
