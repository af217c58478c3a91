"""A tiny codec and a small folder of speech-like audio, prepared and cached once for all data tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from snac import SNAC

from snac_exp.codec.checkpoint import LoadedCodec, fingerprint
from snac_exp.codec.geometry import Geometry
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare

TINY_CONFIG = {
    "sampling_rate": 24000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 64,
    "vq_strides": [4, 2, 1],
}

MakeCodec = Callable[..., LoadedCodec]


@pytest.fixture(scope="session")
def make_codec() -> MakeCodec:
    """A random tiny SNAC, `make_codec(seed=0, **changes to its config)`."""

    def make(seed: int = 0, **changes: object) -> LoadedCodec:
        config = {**TINY_CONFIG, **changes}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = SNAC(**config).eval()
        return LoadedCodec(model, Geometry.from_config(config), fingerprint(model), f"tiny{seed}", config)

    return make


@pytest.fixture(scope="session")
def codec(make_codec: MakeCodec) -> LoadedCodec:
    return make_codec()


def write_noise(path: Path, seconds: float, seed: int, rate: int = 48000) -> None:
    """Noise with a slow envelope, different in every file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, len(time))
    soundfile.write(path, noise * (1.1 + np.sin(6 * time + seed)) / 2.1, rate, subtype="PCM_16")


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `audio` (4 speakers, 48 kHz), `prepared` and its manifest; not to be changed by tests."""
    folder = tmp_path_factory.mktemp("corpus")
    for speaker in range(4):
        for i, seconds in enumerate((0.31, 0.7, 0.7, 1.234, 2.0)):
            suffix = ("wav", "flac")[i % 2]
            write_noise(folder / "audio" / f"speaker{speaker}" / f"utt{i}.{suffix}", seconds, seed=10 * speaker + i)
    prepare(folder / "audio", folder / "prepared", validation_speakers=["speaker3"], num_workers=1)
    return folder


@pytest.fixture(scope="session")
def manifest(corpus_dir: Path) -> Manifest:
    return Manifest.read(corpus_dir / "prepared")


@pytest.fixture(scope="session")
def cache_dir(corpus_dir: Path, manifest: Manifest, codec: LoadedCodec) -> Path:
    """The cache of the corpus in three shards; not to be changed by tests."""
    cache_codes(manifest, codec, corpus_dir / "codes", rows_per_shard=7)
    return corpus_dir / "codes"
