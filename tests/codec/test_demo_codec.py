"""The bundled demo codecs: upstream's class loads them, they are small and clear, codebooks alive; one has pitch."""

import statistics
from pathlib import Path

import pytest
import torch
from snac import SNAC
from torch import Tensor

import snac_exp
from snac_exp.config.compose import compose_experiment
from snac_exp.config.seeding import derive_seed
from snac_exp.data.demo.speech import SAMPLE_RATE, synthesize_utterance, voices
from snac_exp.metrics.quality.pitch import f0_rmse_cents, voicing_error
from snac_exp.metrics.waveform.stoi import stoi
from snac_exp.system.files import read_json
from snac_exp.system.torchaudio import functional as F_audio

FOLDER = Path(snac_exp.__file__).parent / "assets" / "demo_codec"
PITCHED = FOLDER.with_name("demo_codec_pitch")
RATE, HOP = 24_000, 512


@pytest.fixture(scope="module")
def codec() -> SNAC:
    return SNAC.from_pretrained(str(FOLDER))


@pytest.fixture(scope="module")
def speech() -> list[Tensor]:
    """Six utterances of 5 s of each of the demo's four validation voices, at 24 kHz, each (N,)."""
    speakers = voices(0, 4, 0)
    audio = [
        torch.from_numpy(synthesize_utterance(voice, derive_seed(7, "codec_test", number, index), 5.0))
        for number, voice in enumerate(speakers)
        for index in range(6)
    ]
    return [F_audio.resample(utterance, SAMPLE_RATE, RATE) for utterance in audio]


def _noise_vocoder(audio: Tensor, num_bands: int = 80, window: int = 1024) -> Tensor:
    """White noise with the power of `audio` (N,) in mel bands, at the codec's frame rate of 46.875 Hz."""
    hann = torch.hann_window(window)
    bank = F_audio.melscale_fbanks(window // 2 + 1, 0.0, RATE / 2, num_bands, RATE)
    power = torch.stft(audio, window, HOP, window=hann, return_complex=True).abs() ** 2
    bands = (bank.T @ power) / bank.sum(0).clamp(min=1e-9)[:, None]
    smooth = bank @ bands / bank.sum(1).clamp(min=1e-9)[:, None]
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0))
    carrier = torch.stft(noise, window, HOP, window=hann, return_complex=True) / hann.square().sum().sqrt()
    return torch.istft(carrier * smooth.sqrt(), window, HOP, window=hann, length=len(audio))


def _mean_stoi(references: list[Tensor], estimates: list[Tensor]) -> float:
    scores = [stoi(reference, estimate, RATE) for reference, estimate in zip(references, estimates, strict=True)]
    return sum(score for score in scores if score is not None) / len(scores)


def test_geometry_is_snac_24khz_s() -> None:
    config = read_json(FOLDER / "config.json")
    assert config["sampling_rate"] == 24_000
    assert torch.tensor(config["encoder_rates"]).prod() == torch.tensor(config["decoder_rates"]).prod() == HOP
    assert config["vq_strides"] == [4, 2, 1]
    assert config["attn_window_size"] is None
    assert config["noise"] is True
    assert config["depthwise"] is True


@pytest.mark.parametrize(("folder", "most"), [(FOLDER, 2_000_000), (PITCHED, 4_000_000)], ids=["demo", "demo_pitch"])
def test_folder_is_small(folder: Path, most: int) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= most
    assert {path.name for path in folder.iterdir()} == {"config.json", "pytorch_model.bin", "README.md"}


def test_the_codec_with_pitch_is_of_the_same_geometry() -> None:
    """It differs in its decoder's width and in the size of its codebooks alone, as `+experiment=demo_codec` says."""
    own, other = (read_json(folder / "config.json") for folder in (PITCHED, FOLDER))
    sizes = {key: own[key] for key in own if own[key] != other.get(key)}
    scratch = compose_experiment(["+experiment=demo_codec"])[0].codec.scratch
    assert scratch is not None
    assert sizes == {key: getattr(scratch, key) for key in ("decoder_dim", "codebook_size")}
    assert own.keys() == other.keys()


@pytest.mark.slow
def test_the_codec_with_pitch_keeps_that_of_voices_it_has_not_heard(speech: list[Tensor]) -> None:
    """A buzz of its own, as the other's, would be hundreds of cents away from theirs."""
    pytest.importorskip("parselmouth", reason="needs the extra [quality]: pip install -e '.[quality]'")
    pitched, errors, voicing, scores = SNAC.from_pretrained(str(PITCHED)), [], [], []
    torch.manual_seed(0)
    for audio in (utterance[: 3 * RATE] for utterance in speech[::6]):  # one of each voice
        with torch.no_grad():
            pair = [F_audio.resample(x, RATE, 16_000) for x in (audio, pitched(audio[None, None])[0][0, 0])]
        errors.append(f0_rmse_cents(*pair, 16_000) or 0.0)
        voicing.append(voicing_error(*pair, 16_000) or 0.0)
        scores.append(stoi(*pair, 16_000) or 0.0)
    assert 0 < statistics.median(errors) < 80
    assert 0 < statistics.fmean(voicing) < 0.15
    assert min(scores) > 0.7


@pytest.mark.slow
def test_weights_are_finite_and_the_codes_have_three_rates(codec: SNAC) -> None:
    assert all(bool(tensor.isfinite().all()) for tensor in codec.state_dict().values())
    with torch.no_grad():
        codes = codec.encode(torch.zeros(1, 1, 2048 * 3))
        assert [tuple(level.shape) for level in codes] == [(1, 3), (1, 6), (1, 12)]
        assert codec.decode(codes).shape == (1, 1, 6144)


@pytest.mark.slow
def test_validation_voices_are_intelligible(codec: SNAC, speech: list[Tensor]) -> None:
    """STOI at least 0.65 (the README's figure is over more utterances), for no single utterance under 0.55."""
    references = speech[::3]  # two of each voice
    torch.manual_seed(0)
    with torch.no_grad():
        decoded = [codec(reference[None, None])[0][0, 0] for reference in references]
    assert _mean_stoi(references, decoded) >= 0.65
    assert (
        min(stoi(reference, estimate, RATE) or 0 for reference, estimate in zip(references, decoded, strict=True))
        > 0.55
    )
    assert _mean_stoi(references, decoded) > _mean_stoi(references, [_noise_vocoder(audio) for audio in references])


@pytest.mark.slow
def test_at_least_half_of_every_codebook_is_in_use(codec: SNAC, speech: list[Tensor]) -> None:
    """Over two minutes of the validation voices."""
    with torch.no_grad():
        codes = [codec.encode(audio[None, None]) for audio in speech]
    for level in zip(*codes, strict=True):
        assert len({code for part in level for code in part.flatten().tolist()}) >= codec.codebook_size / 2
