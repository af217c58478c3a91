"""Small codecs with random weights, and checkpoints of them as training writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from snac import SNAC
from snac.layers import Snake1d

from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.codec.checkpoint import LoadedCodec, config_of, fingerprint, save_snac
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import NativeHead, ResidualHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.export.formats import write_fused, write_multirate
from snac_exp.release.loading import load_codec, open_model

SMALL: dict[str, Any] = {
    "sampling_rate": 24000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 64,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
SHAPES = {
    "small": SMALL,
    "attention": SMALL
    | {"attn_window_size": 8, "encoder_dim": 16, "encoder_rates": [2, 4, 4], "decoder_dim": 64}
    | {"decoder_rates": [4, 4, 2]},
}
SHAPES["shallow"] = SMALL | {"encoder_rates": [4], "decoder_rates": [4], "vq_strides": [2, 1], "encoder_dim": 16}
# Small hops: many moves of a stream cost little. Odd strides, no depthwise layers, windows of attention.
TINY = SMALL | {"encoder_rates": [2, 3], "decoder_rates": [3, 2], "vq_strides": [2, 1], "decoder_dim": 8}
SHAPES |= {
    "odd": TINY,
    "dense": TINY | {"encoder_rates": [5], "decoder_rates": [5], "vq_strides": [3, 1], "depthwise": False},
    "windows": TINY | {"attn_window_size": 4, "encoder_dim": 16, "decoder_dim": 64},
}
HEADS = {
    "dual": {
        "head_24k": {"_target_": "snac_exp.codec.heads.NativeHead"},
        "head_48k": {"_target_": "snac_exp.codec.heads.UpsampleHead", "noise": True},
    },
    "residual": {
        "head_24k": {"_target_": "snac_exp.codec.heads.NativeHead"},
        "head_48k": {"_target_": "snac_exp.codec.heads.ResidualHead", "noise": False},
    },
    "wideband": {"head_48k": {"_target_": "snac_exp.codec.heads.UpsampleHead", "noise": False}},
    "candidates": {
        "head_24k": {"_target_": "snac_exp.codec.heads.NativeHead"},
        "upsample": {"_target_": "snac_exp.codec.heads.UpsampleHead", "noise": True},
        "residual": {"_target_": "snac_exp.codec.heads.ResidualHead", "noise": False},
    },
}
FACTORIES: dict[str, dict[str, Callable[[LoadedCodec], Any]]] = {
    "dual": {"head_24k": NativeHead, "head_48k": lambda codec: UpsampleHead(codec, noise=True)},
    "residual": {"head_24k": NativeHead, "head_48k": ResidualHead},
    "wideband": {"head_48k": UpsampleHead},
    "candidates": {
        "head_24k": NativeHead,
        "upsample": lambda codec: UpsampleHead(codec, noise=True),
        "residual": ResidualHead,
    },
}


def random_codec(shape: str = "small") -> LoadedCodec:
    """A codec with random weights, its alphas spread and its codebooks in the range of the latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SNAC(**SHAPES[shape]).eval()
        for module in model.modules():
            if isinstance(module, Snake1d):
                torch.nn.init.uniform_(module.alpha, 0.5, 2.0)
        _centre_latents(model)
    return LoadedCodec(model, Geometry.from_config(SHAPES[shape]), fingerprint(model), "small", config_of(model))


@torch.no_grad()
def _centre_latents(model: SNAC) -> None:
    """Random biases outweigh the audio, so that every frame would get the same tokens: take them out."""
    audio = torch.from_numpy(speech_like(48_000))[None, None]
    latent = model.encoder(model.preprocess(audio))
    model.encoder.block[-1].bias -= latent.mean(dim=(0, 2))
    for level in model.quantizer.quantizers:
        level.in_proj.bias.zero_()
        level.out_proj.bias.zero_()


def random_model(shape: str = "small", heads: str = "dual") -> MultiRateSnac:
    """A multi-rate model whose every weight differs from its start."""
    model = MultiRateSnac.from_codec(random_codec(shape), FACTORIES[heads]).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*model.trunk.parameters(), *model.heads.parameters()]:
            parameter.add_(0.05 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
        for name, head in model.heads.items():
            if isinstance(head, ResidualHead):
                torch.nn.init.normal_(model.heads[name].conv.weight, std=0.05, generator=generator)
    return model


def checkpoint_of(model: MultiRateSnac, shape: str = "small", heads: str = "dual") -> Checkpoint:
    """What a training checkpoint of this model holds."""
    codec = random_codec(shape)
    return Checkpoint(
        model=dict(model.state_dict()),
        state=TrainState(epoch=3, step=120, audio_seconds=360.0, best={"weighted": 1.25}),
        provenance={"name": "small", "fingerprint": codec.fingerprint, "config": codec.config},
        config={
            "name": "phase12_dual_head",
            "seed": 0,
            "heads": HEADS[heads],
            "init": {"name": "average"},
            "data": {"_target_": "snac_exp.data.slices.cached_codes.CachedCodes", "cache_dir": "/home/someone/codes"},
            "lr": {"groups": {"trunk": "^trunk"}},
            "loss": {"terms": {"l1": 1.0}},
            "curriculum": {"rounding": "floor"},
            "trainer": {"batch_size": 4},
        },
        environment={"snac_exp": "0.1.0", "torch": str(torch.__version__), "host": "somewhere"},
    )


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with checkpoints/best_model.pt and summary.json."""
    folder = tmp_path_factory.mktemp("run")
    write_checkpoint(folder / "checkpoints" / "best_model.pt", checkpoint_of(random_model()))
    (folder / "summary.json").write_text(
        '{"head_24k/l1": 0.05, "head_24k/stoi": 0.8, "head_48k/l1": 0.04, "head_48k/lsd_high_db": 6.5,'
        ' "baseline/lsd_high_db": 10.0, "baseline/l1": 0.06, "count/utterances": 12.0, "seconds/audio": 60.0}'
    )
    return folder


@pytest.fixture(scope="session")
def checkpoint(run_dir: Path) -> Path:
    """A checkpoint file as training writes it."""
    return run_dir / "checkpoints" / "best_model.pt"


@pytest.fixture(scope="session")
def codec(checkpoint: Path) -> ReleasedCodec:
    """The dual-head codec with noise in trunk and wide head."""
    return load_codec(checkpoint)


@pytest.fixture(scope="session")
def codec_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], ReleasedCodec]:
    """(shape, heads) -> the released codec of a checkpoint of that kind."""

    def load(shape: str, heads: str) -> ReleasedCodec:
        path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
        write_checkpoint(path, checkpoint_of(random_model(shape, heads), shape, heads))
        return load_codec(path)

    return load


def speech_like(num_samples: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Bursts of filtered noise, (num_samples,) or (num_samples, channels), within full scale."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((num_samples, channels)).astype(np.float32)
    smooth = np.cumsum(noise, axis=0)
    smooth[16:] -= smooth[:-16].copy()
    envelope = 0.6 + 0.4 * np.sin(np.arange(num_samples) / 2500)[:, None]
    audio = (smooth / np.abs(smooth).max() * envelope * 0.8).astype(np.float32)
    return audio[:, 0] if channels == 1 else audio


@pytest.fixture(scope="session")
def audio_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three files of different kinds, one in a folder with an odd name."""
    folder = tmp_path_factory.mktemp("audio")
    soundfile.write(folder / "one.wav", speech_like(40_000), 24_000)
    soundfile.write(folder / "two.flac", speech_like(70_001, 1, channels=2), 44_100)
    odd = folder / "it's, a = \u0635\u0648\u062a"
    odd.mkdir()
    soundfile.write(odd / "three.wav", speech_like(30_011, 2), 48_000)
    return folder


@pytest.fixture(scope="session")
def exported_folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That checkpoint in the forms for load_codec, and in inference form below fused/."""
    folder = tmp_path_factory.mktemp("exported")
    opened = open_model(checkpoint)
    write_multirate(opened, folder)
    write_fused(opened, folder)
    return folder


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> ReleasedCodec:
    """A codec in upstream's layout, as it was before training."""
    folder = tmp_path_factory.mktemp("pretrained")
    save_snac(random_codec().model, folder)
    return load_codec(folder)


@pytest.fixture(scope="session")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording as somebody drops it: stereo at 44.1 kHz, with a quote in its name."""
    path = tmp_path_factory.mktemp("upload") / "it's mine.wav"
    soundfile.write(path, speech_like(44_100, channels=2), 44_100)
    return path
