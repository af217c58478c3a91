"""The demo codec's training: its bottleneck is upstream's, codebooks stay alive, a killed run resumes exactly."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from snac import SNAC

FOLDER = Path(__file__).parents[2] / "experiments" / "demo_codec"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module, with a smaller codec."""
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("train_demo_codec")
    small = {"encoder_dim": 2, "decoder_dim": 16, "codebook_size": 32}
    monkeypatch.setattr(module, "CONFIG", module.CONFIG | small)
    return module


@pytest.fixture
def model(program: ModuleType) -> SNAC:
    torch.manual_seed(0)
    return SNAC(**program.CONFIG)


@pytest.mark.slow
def test_bottleneck_is_upstreams_quantizer(program: ModuleType, model: SNAC) -> None:
    """The projections are normalised in training only; codes are chosen by direction, so nothing else differs."""
    audio = torch.randn(2, 1, 512 * 8)
    codebooks = [program.CodebookAverage(quantizer.codebook.weight) for quantizer in model.quantizer.quantizers]
    expected, codes = model.quantizer(model.encoder(audio))
    latent, commitment, _ = program.bottleneck(model, audio, codebooks)
    torch.testing.assert_close(latent, expected, rtol=0, atol=1e-5)
    assert [level.shape[1] for level in codes] == [2, 4, 8]
    assert commitment.item() > 0


def test_standardised_layers_keep_the_signal_alive(program: ModuleType, model: SNAC) -> None:
    """At PyTorch's own start the latent is nearly constant over time; afterwards it varies by 1 in every channel."""
    audio = torch.randn(8, 1, 512 * 16) * 0.1
    before = model.encoder(audio)
    assert (before.std((0, 2)) / before.mean((0, 2)).abs()).median() < 1
    program.standardise_layers(model, audio)
    after = model.encoder(audio)
    torch.testing.assert_close(after.std((0, 2)), torch.ones(after.shape[1]), rtol=1e-3, atol=0)
    assert after.mean((0, 2)).abs().max() < 1e-4
    assert all(not module._forward_hooks for module in model.modules())


def test_codebook_follows_its_members_and_revives_the_dead(program: ModuleType) -> None:
    weight = torch.nn.Parameter(torch.randn(4, 8))
    codebook = program.CodebookAverage(weight)
    members = torch.randn(60, 8)
    indices = torch.arange(60) % 2  # codes 2 and 3 are never chosen
    for _ in range(400):
        codebook.update(members, indices)
    torch.testing.assert_close(
        weight.data[:2], torch.stack([members[::2].mean(0), members[1::2].mean(0)]), rtol=0, atol=2e-3
    )
    distances = (weight.data[2:, None] - members).norm(dim=2).min(dim=1).values
    assert distances.max() < 1e-5


def test_loss_is_zero_for_equal_signals_and_counts_log_mel(program: ModuleType) -> None:
    """A gain of 2 is log 2 in every band of log mel, 0.5 x 1 in the relative term, and L1 / 2 of the waveform."""
    audio = torch.randn(2, 1, 8192)
    losses = program.SpectralLoss()
    assert losses(audio, audio).item() == 0.0
    expected = 0.6931 + 0.5 + 0.5 * audio.abs().mean().item()
    assert losses(2 * audio, audio).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.thorough  # of a script; tests/end_to_end/test_resume.py holds it of recipes
def test_killed_training_resumes_exactly(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "report", lambda *_: None)
    monkeypatch.setattr(program, "validation_speech", lambda *_: [program.training_speech(0.1, 1)[:24_000]])
    draw = program.training_batch

    def run(folder: str, killed_at: int | None) -> None:
        def batch(*args: object) -> torch.Tensor:
            if args[-1] == killed_at:
                raise KeyboardInterrupt
            drawn: torch.Tensor = draw(*args)
            return drawn

        monkeypatch.setattr(program, "training_batch", batch)
        sizes = [
            "--minutes-of-speech=0.15",
            "--steps=6",
            "--autoencoder-share=0.5",
            "--batch-size=2",
            "--report-every=2",
        ]
        paths = ["--output", str(tmp_path / folder), "--state", str(tmp_path / folder / "state.pt")]
        monkeypatch.setattr(sys, "argv", ["train_demo_codec.py", *sizes, *paths])
        program.main()

    run("whole", None)
    for killed_at in (2, 5):  # among the autoencoder's steps, and through the codebooks
        with pytest.raises(KeyboardInterrupt):
            run("killed", killed_at)
    run("killed", None)
    whole, resumed = (torch.load(tmp_path / name / "pytorch_model.bin") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_envelope_correlation_ignores_level_and_hears_other_envelopes(program: ModuleType) -> None:
    steady = torch.randn(2, 1, 24_000)
    pulsed = steady * (1 + 0.9 * torch.sin(torch.arange(24_000) * (2 * torch.pi * 6 / 24_000)))
    assert program.envelope_correlation(0.5 * pulsed, pulsed).item() > 0.98
    assert program.envelope_correlation(torch.randn(2, 1, 24_000), pulsed).item() < 0.2


def test_uneven_is_zero_on_a_full_sphere_and_seven_on_a_line(program: ModuleType) -> None:
    """All of the power in one of eight dimensions: ((8 - 1)^2 + 7 * 1) / 8 = 7."""
    line = torch.zeros(1, 8, 64)
    line[:, 0] = 8**0.5
    assert program.uneven(line).item() == pytest.approx(7.0)
    assert program.uneven(torch.randn(1, 8, 20_000)).item() < 0.01
