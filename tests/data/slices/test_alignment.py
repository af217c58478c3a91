"""Codes and audio of a slice line up to the sample, from the files through the cache to the batch."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snac_exp.codec.geometry import Geometry
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.loader import make_loader
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.slices.batch import Batch
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.slices.dataset import SliceDataset
from snac_exp.data.slices.sampling import SliceSampler, place
from snac_exp.data.slices.splits import Splits
from snac_exp.errors import DataError

GEOMETRY = Geometry(24000, 512, (4, 2, 1))
SCALE = 2.0**-20  # sample n of a file has the value n * SCALE, exactly


class IndexCodec(nn.Module):
    """Stands for SNAC: each token is its own time index, read from audio whose samples are their own indices."""

    codebook_size = 4096

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.unused = nn.Parameter(torch.zeros(1))

    def encode(self, audio: Tensor) -> list[Tensor]:
        samples_per_token = [self.geometry.hop_length * stride for stride in self.geometry.vq_strides]
        tokens = [(audio[:, 0, ::num] / SCALE / num).round().long() for num in samples_per_token]
        return [row.where(row >= 0, 0) for row in tokens]


def write_indices(path: Path, rate: int, num: int, offset: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (np.arange(num) + offset) * SCALE, rate, subtype="FLOAT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alignment")
    for i, num in enumerate((2048 * 3, 20_000, 2048 * 25 + 1, 99_999, 70_001)):
        write_indices(folder / "audio" / f"speaker{i % 2}" / f"{i}.wav", 24000, num)
        write_indices(folder / "targets" / f"speaker{i % 2}" / f"{i}.wav", 48000, 2 * num)
    prepare(folder / "audio", folder / "prepared", validation_speakers=["speaker1"])
    cache_codes(Manifest.read(folder / "prepared"), index_codec(), folder / "codes", rows_per_shard=2)
    return folder


def index_codec(geometry: Geometry = GEOMETRY) -> SimpleNamespace:
    return SimpleNamespace(model=IndexCodec(geometry), geometry=geometry, fingerprint="0" * 64, name="index")


def open_corpus(folder: Path) -> Splits:
    source = CachedCodes(str(folder / "codes"), target_dir=str(folder / "targets"), validation_seconds=1.0)
    return source.open(index_codec(), {"head_24k": 24000, "head_48k": 48000}, seed=0)


def first_samples(audio: Tensor) -> Tensor:
    """Sample index (B,) at which each slice of audio begins."""
    return (audio[:, 0, 0] / SCALE).round().long()


def check_alignment(batch: Batch) -> None:
    coarse = batch.codes[0][torch.arange(len(batch)), batch.slice_offset]
    assert torch.equal(coarse * 2048, first_samples(batch.audio["head_24k"]))
    assert torch.equal(coarse * 4096, first_samples(batch.audio["head_48k"]))
    for codes, stride in zip(batch.codes, GEOMETRY.vq_strides, strict=True):
        per_coarse = 4 // stride
        real = torch.arange(codes.shape[1]) < batch.window_tokens_valid[:, None] * per_coarse
        expected = codes[:, :1] + torch.arange(codes.shape[1])
        assert torch.equal(codes[real], expected[real])
        assert torch.equal(codes[:, 0], batch.codes[0][:, 0] * per_coarse)


def test_s01_codes_and_audio_of_every_slice_line_up(folder: Path) -> None:
    corpus = open_corpus(folder)
    seen = 0
    for epoch, (tokens, context) in enumerate([(1, 0), (2, 3), (7, 3), (11, 0)], start=1):
        sampler = SliceSampler(corpus.train.coarse_lengths, GEOMETRY, 0, 2, tokens, context, epoch)
        for batch in make_loader(corpus.train, sampler):
            check_alignment(batch)
            assert batch.audio["head_24k"].shape[-1] == tokens * 2048
            assert batch.audio["head_48k"].shape[-1] == tokens * 4096
            seen += len(batch)
    assert seen == 4 * len(corpus.train) == 12


@given(start=st.integers(0, 34), tokens=st.integers(1, 30), context=st.integers(0, 5))
@settings(max_examples=40)
def test_s01_every_sample_of_a_slice_is_the_one_its_codes_stand_for(
    folder: Path, start: int, tokens: int, context: int
) -> None:
    dataset = open_corpus(folder).validation
    row = next(row for row in range(len(dataset)) if dataset.num_samples[row] == 99_999)
    length = int(dataset.coarse_lengths[row])
    assert length == 49
    tokens = min(tokens, length - start)
    sample = dataset[place(row, start, length, tokens, context, GEOMETRY)]
    real = sample.valid_samples
    assert real == min(tokens * 2048, 99_999 - start * 2048)
    np.testing.assert_array_equal(sample.audio["head_24k"][:real] / SCALE, start * 2048 + np.arange(real))
    np.testing.assert_array_equal(sample.audio["head_48k"][: 2 * real] / SCALE, start * 4096 + np.arange(2 * real))
    assert int(sample.codes[2][4 * sample.slice_offset]) == 4 * start


def test_s01_the_geometry_of_other_scripts_drifts_by_1480_samples_per_coarse_token(folder: Path) -> None:
    """Strides 8, 4, 2 with hop 441 on a checkpoint of hop 512 and strides 4, 2, 1: the bug this guards against."""
    good = open_corpus(folder).train
    wrong = SliceDataset(good.table, good.rows, Geometry(24000, 441, (8, 4, 2)), {"head_24k": 24000}, good.folders)
    row = int(np.argmax(good.coarse_lengths))
    for dataset, drift in ((good, 0), (wrong, 1480)):
        sample = dataset[place(row, 5, int(good.coarse_lengths[row]), 6, 0, dataset.geometry)]
        audio_start = round(float(sample.audio["head_24k"][0]) / SCALE)
        assert audio_start - int(sample.codes[0][0]) * 2048 == 5 * drift


def test_s01_a_cache_of_another_geometry_is_refused(folder: Path) -> None:
    other = index_codec(Geometry(24000, 441, (8, 4, 2)))
    with pytest.raises(DataError, match=r"hop_length=512.*hop_length=441"):
        CachedCodes(str(folder / "codes")).open(other, {"head_24k": 24000}, 0)


def test_a_target_that_is_longer_or_shorter_is_refused_and_one_within_20_ms_is_not_scored_beyond_its_end(
    folder: Path, tmp_path: Path
) -> None:
    corpus = open_corpus(folder)
    dataset, row = corpus.train, 0
    num = int(dataset.num_samples[row])
    path = tmp_path / dataset.path(row)
    targets = SliceDataset(
        dataset.table, dataset.rows, GEOMETRY, dataset.heads, type(dataset.folders)(dataset.folders.source, tmp_path)
    )
    spec = place(row, 0, int(dataset.coarse_lengths[row]), int(dataset.coarse_lengths[row]), 0, GEOMETRY)
    write_indices(path, 48000, 2 * num - 800)
    assert targets[spec].valid_samples == num - 400
    write_indices(path, 48000, 2 * num + 800)
    assert targets[spec].valid_samples == num
    for wrong in (2 * num - 1000, 2 * num + 1000):
        write_indices(path, 48000, wrong)
        with pytest.raises(DataError, match=r"but its codes cover .* prepare, cache"):
            targets[spec]
