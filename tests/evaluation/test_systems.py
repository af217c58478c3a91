from pathlib import Path

import pytest
import torch

from snac_exp.codec.checkpoint import bundled_directory, load_directory
from snac_exp.config.schema import Codec
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.errors import CodecError, DataError
from snac_exp.evaluation.baselines import MeanSpectrumNoise, interpolated
from snac_exp.evaluation.opening import open_checkpoint, open_interpolation, open_pretrained
from snac_exp.evaluation.systems import CodecSystem, Output, Produced, add_baselines, cut
from snac_exp.evaluation.utterances import Selection, Utterance, select
from snac_exp.release.loading import load_codec
from snac_exp.system.torchaudio import functional as F_audio

CPU = torch.device("cpu")
DEMO = Codec(name="demo", path=None, bundled="demo_codec", hub_id=None, geometry=None)
BOTH = (24_000, 48_000)


@pytest.fixture(scope="module")
def utterance(prepared: Path) -> Utterance:
    return select(Manifest.read(prepared), Selection(num_utterances=1))[0]


@pytest.mark.slow
def test_a_checkpoint_gives_its_own_heads(checkpoint: Path, utterance: Utterance) -> None:
    system = open_checkpoint(str(checkpoint), CPU)
    outputs = system.produce(utterance, BOTH, seed=5).outputs
    codec = load_codec(checkpoint)
    codes = codec.encode(utterance.source(24_000), 24_000)
    assert {name: (it.rate, it.made_from) for name, it in outputs.items()} == {
        "24k": (24_000, "head_24k"),
        "48k": (48_000, "head_48k"),
    }
    for output in outputs.values():
        assert torch.equal(output.waveform, codec.decode(codes, output.rate, seed=5)[0, 0])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_samples_and_another_others(checkpoint: Path, utterance: Utterance) -> None:
    system = open_checkpoint(str(checkpoint), CPU)
    first, again, other = (system.produce(utterance, BOTH, seed).outputs["48k"].waveform for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    silenced = open_checkpoint(str(checkpoint), CPU, noise=False)
    still, stays = (silenced.produce(utterance, BOTH, seed).outputs["48k"].waveform for seed in (0, 1))
    assert torch.equal(still, stays)


@pytest.mark.slow
def test_a_pretrained_codec_is_upstream_and_at_48_khz_its_interpolation(utterance: Utterance) -> None:
    outputs = open_pretrained(DEMO, CPU, noise=False).produce(utterance, BOTH, seed=0).outputs
    from tests.helpers.noise import noise_off

    model = load_directory("demo", bundled_directory("demo_codec")).model
    with torch.no_grad(), noise_off(model):
        audio = torch.nn.functional.pad(utterance.source(24_000), (0, 0))[None, None]
        upstream = model.decode(model.encode(audio))[0, 0]
    native = outputs["24k"].waveform
    torch.testing.assert_close(native, upstream[: native.numel()], atol=2e-6, rtol=0)
    assert torch.equal(outputs["48k"].waveform, interpolated(native))
    assert outputs["48k"].made_from == "head_24k interpolated"


@pytest.mark.slow
def test_a_rate_that_no_interpolation_reaches_is_resampled(checkpoint: Path) -> None:
    system = open_checkpoint(str(checkpoint), CPU)
    only_wide = {"head_48k": torch.randn(4800, generator=torch.Generator().manual_seed(0))}
    (narrow,) = system.outputs_at(24_000, only_wide).values()
    assert narrow.made_from == "head_48k resampled"
    assert torch.equal(narrow.waveform, F_audio.resample(only_wide["head_48k"], 2, 1, lowpass_filter_width=64))


@pytest.mark.slow
def test_settings_tell_weights_and_where_they_came_from(checkpoint: Path) -> None:
    trained, pretrained = open_checkpoint(str(checkpoint), CPU), open_pretrained(DEMO, CPU)
    assert trained.settings["fingerprint"] != pretrained.settings["fingerprint"]
    assert trained.settings["recipe"] == "phase12_dual_head"
    assert (trained.settings["epoch"], trained.settings["step"]) == (3, 120)
    assert (trained.name, pretrained.name) == ("model.pt", "demo")
    assert trained.settings["heads"] == {"head_24k": 24_000, "head_48k": 48_000}


@pytest.mark.slow
def test_bitrate_follows_from_geometry(checkpoint: Path) -> None:
    """512 samples per finest frame at 24 kHz, strides 4, 2, 1: 46.875 * (1/4 + 1/2 + 1) tokens a second."""
    system = open_checkpoint(str(checkpoint), CPU)
    bits = {size.bit_length() - 1 for size in system.codec.codebook_sizes}
    assert system.bitrate == pytest.approx(46.875 * 1.75 * bits.pop())
    assert open_interpolation(None).bitrate is None


def test_interpolation_is_the_recording_below_12_khz(utterance: Utterance) -> None:
    outputs = open_interpolation(None).produce(utterance, (48_000,), seed=0).outputs
    reference = utterance.reference(48_000)
    assert reference is not None
    assert list(outputs) == ["48k"]
    assert torch.equal(outputs["48k"].waveform, interpolated(utterance.source(24_000))[: reference.numel()])


def test_the_noise_baseline_is_interpolation_plus_the_spines_noise(utterance: Utterance) -> None:
    noise = MeanSpectrumNoise(torch.full((32,), -40.0))
    plain = open_interpolation(None).produce(utterance, (48_000,), seed=3).outputs["48k"].waveform
    noisy = open_interpolation(noise).produce(utterance, (48_000,), seed=3).outputs["48k"]
    reference = utterance.reference(48_000)
    assert reference is not None
    assert torch.equal(noisy.waveform, noise.added_to(plain, reference, 3))
    assert noisy.made_from == "recording interpolated, with noise"


def test_baselines_stand_beside_a_wide_output_and_never_twice() -> None:
    narrow, wide = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    wide = torch.cat((wide, wide))
    noise = MeanSpectrumNoise(torch.full((32,), -40.0))
    trained = Produced({"24k": Output(narrow, 24_000, "head_24k"), "48k": Output(wide, 48_000, "head_48k")})
    add_baselines(trained, wide[:1999], noise, seed=1)
    assert torch.equal(trained.outputs["baseline"].waveform, interpolated(narrow))
    expected = noise.added_to(interpolated(narrow)[:1999], wide[:1999], 1)
    assert torch.equal(trained.outputs["baseline_noise"].waveform, expected)
    plain = Produced({"24k": trained.outputs["24k"], "48k": Output(wide, 48_000, "head_24k interpolated")})
    add_baselines(plain, wide, None, seed=1)
    assert list(plain.outputs) == ["24k", "48k"]
    alone = Produced({"24k": trained.outputs["24k"]})
    add_baselines(alone, wide, noise, seed=1)
    assert list(alone.outputs) == ["24k"]


def test_an_unusable_output_is_an_error_that_names_the_file() -> None:
    output = Output(torch.ones(100), 24_000, "head_24k")
    assert cut(output, torch.zeros(99), "a.wav").numel() == 99
    with pytest.raises(DataError, match=r"a\.wav: head_24k gives 100 samples at 24000 Hz, but the reference has 101"):
        cut(output, torch.zeros(101), "a.wav")
    broken = Output(torch.tensor([0.0, torch.nan]), 24_000, "head_24k")
    with pytest.raises(CodecError, match=r"a\.wav: head_24k holds NaN"):
        cut(broken, torch.zeros(2), "a.wav")


def test_a_codec_without_a_place_says_what_to_set() -> None:
    nowhere = Codec(name="mine", path=None, bundled=None, hub_id=None, geometry=None)
    with pytest.raises(CodecError, match=r"codec\.path=DIR"):
        open_pretrained(nowhere, CPU)


@pytest.mark.slow
def test_systems_are_what_their_protocol_says(checkpoint: Path) -> None:
    assert isinstance(open_checkpoint(str(checkpoint), CPU, name="mine"), CodecSystem)
    assert open_checkpoint(str(checkpoint), CPU, name="mine").name == "mine"
    assert [open_interpolation(it).name for it in (None, MeanSpectrumNoise(torch.zeros(32)))] == [
        "interpolate",
        "noise",
    ]
