"""A small prepared folder with recordings of every kind, and a trained checkpoint of the demo codec."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from snac_exp import cli
from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.codec.checkpoint import LoadedCodec, bundled_directory, load_directory
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.start import initialise
from snac_exp.data.prepared.prepare import prepare

HEADS = {
    "head_24k": {"_target_": "snac_exp.codec.heads.NativeHead"},
    "head_48k": {"_target_": "snac_exp.codec.heads.UpsampleHead", "noise": True},
}


def bursts(num_samples: int, seed: int) -> npt.NDArray[np.float32]:
    """Noise with a falling spectrum up to 24 kHz, in syllables."""
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    slope = np.fft.irfft(np.fft.rfft(noise) * np.linspace(1, 0.05, num_samples // 2 + 1), n=num_samples)
    return (0.2 * slope * np.maximum(np.sin(np.arange(num_samples) / 2400), 0.01)).astype(np.float32)


def narrowed(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same without anything above 11 kHz."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / 48_000) > 11_000] = 0
    return np.fft.irfft(spectrum, n=len(samples)).astype(np.float32)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Validation: three wide-band recordings, one upsampled, one at 24 kHz; training: two and an upsampled one."""
    folder = tmp_path_factory.mktemp("evaluate, 'odd' name")
    audio = folder / "audio"
    for path in (audio / "train_a", audio / "val_a", audio / "val_b"):
        path.mkdir(parents=True)
    for index in range(2):
        soundfile.write(audio / "train_a" / f"wide{index}.flac", bursts(60_000, 10 + index), 48_000)
    soundfile.write(audio / "train_a" / "upsampled.wav", narrowed(bursts(60_000, 12)), 48_000, subtype="FLOAT")
    for index in range(3):
        soundfile.write(audio / "val_a" / f"wide{index}.flac", bursts(62_001 + 500 * index, index), 48_000)
    soundfile.write(audio / "val_b" / "upsampled.wav", narrowed(bursts(60_000, 3)), 48_000, subtype="FLOAT")
    soundfile.write(audio / "val_b" / "rate24.flac", bursts(30_000, 4), 24_000)
    prepare(audio, folder / "prepared", validation_speakers=["val_*"], num_workers=1)
    return folder / "prepared"


def trained_model() -> tuple[MultiRateSnac, LoadedCodec]:
    """The demo codec with two heads, all weights moved a little."""
    codec = load_directory("demo", bundled_directory("demo_codec"))
    model = MultiRateSnac.from_codec(codec, {"head_24k": NativeHead, "head_48k": lambda it: UpsampleHead(it, True)})
    initialise(model, codec, "average", 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*model.trunk.parameters(), *model.heads.parameters()]:
            parameter.add_(0.01 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    return model, codec


def _write_trained(path: Path, **config: Any) -> Path:
    """A checkpoint as training writes it; `config` stands over its config."""
    model, codec = trained_model()
    checkpoint = Checkpoint(
        model=dict(model.state_dict()),
        state=TrainState(epoch=3, step=120),
        provenance={"name": "demo", "fingerprint": codec.fingerprint, "config": codec.config},
        config={"name": "phase12_dual_head", "seed": 0, "heads": HEADS, **config},
        environment={},
    )
    write_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file of the demo codec with two heads."""
    return _write_trained(tmp_path_factory.mktemp("run") / "model.pt")


@pytest.fixture(scope="session")
def write_checkpoint_of() -> Callable[..., Path]:
    """(path, **config) -> the same weights in a checkpoint of another recipe."""
    return _write_trained


Evaluate = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def run(prepared: Path) -> Evaluate:
    """(output, *arguments) -> the rows that `snac-exp evaluate` writes for the beginnings of the recordings."""

    def evaluate(output: Path, *arguments: str) -> list[dict[str, Any]]:
        assert cli.run(["evaluate", f"data={prepared}", f"output={output}", "max_seconds=0.6", *arguments]) == 0
        rows: list[dict[str, Any]] = pq.read_table(output / "files.parquet").to_pylist()
        return rows

    return evaluate


@pytest.fixture(scope="session")
def trained(run: Evaluate, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation of the checkpoint."""
    output = tmp_path_factory.mktemp("trained") / "it's, an = evaluation"
    run(output, f"checkpoint={checkpoint}")
    return output
