import copy
import math
import subprocess

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.codec.geometry import (
    Geometry,
    check_declared,
    decoder_context_tokens,
    decoder_receptive_samples,
    geometry_of_directory,
)
from snac_exp.config.schema import DeclaredGeometry
from snac_exp.errors import CodecError
from snac_exp.system.files import write_json
from tests.helpers.noise import noise_off
from tests.helpers.warm import COLD

SNAC_24KHZ = Geometry(24000, 512, (4, 2, 1))
CLASS_DEFAULTS = Geometry(24000, 441, (8, 4, 2))
SNAC_32KHZ = Geometry(32000, 384, (8, 4, 2, 1), 32)

geometries = st.builds(
    lambda rate, hop, powers, window: Geometry(rate, hop, tuple(2**p for p in sorted(powers, reverse=True)), window),
    st.sampled_from([16000, 24000, 32000, 44100]),
    st.sampled_from([64, 384, 441, 512]),
    st.sets(st.integers(0, 4), min_size=1),
    st.sampled_from([None, 8, 32]),
)


def test_s01_slices_of_snac_24khz_follow_its_own_config(shapes):
    g = Geometry.from_config(shapes["real"])
    assert g == SNAC_24KHZ
    assert g.coarse_hop == 2048
    assert g.coarse_step == 1
    assert g.coarse_tokens_in(1.0) == 11
    assert [g.codebook_length(i, 11) for i in range(3)] == [11, 22, 44]
    assert g.audio_samples(11, 24000) == 22528
    assert g.audio_slice(5, 11, 24000) == slice(10240, 10240 + 22528)
    assert g.audio_slice(5, 11, 48000) == slice(20480, 20480 + 45056)
    assert round(10240 / 24000, 4) == 0.4267
    assert [g.codebook_slice(i, 5, 11) for i in range(3)] == [slice(5, 16), slice(10, 32), slice(20, 64)]


def test_s01_the_class_defaults_are_another_geometry():
    g = CLASS_DEFAULTS
    assert g.coarse_hop == 3528
    assert g.coarse_tokens_in(1.0) == 6
    assert [g.codebook_length(i, 6) for i in range(3)] == [6, 12, 24]
    assert g.audio_slice(5, 6, 24000).start == 17640
    assert g.audio_slice(5, 6, 48000).start == 35280
    assert g.coarse_hop - SNAC_24KHZ.coarse_hop == 1480  # the drift per coarse step that came of mixing the two up


def test_s01_codecs_with_attention_move_in_whole_windows(shapes):
    g = Geometry.from_config(shapes["attention"])
    assert g == SNAC_32KHZ
    assert g.coarse_hop == 3072
    assert g.coarse_step == 4
    assert g.coarse_step * g.coarse_hop == 12288
    assert g.coarse_tokens_in(1.0) == 8
    assert [g.codebook_length(i, 8) for i in range(4)] == [8, 16, 32, 64]
    with pytest.raises(CodecError, match=r"at least 0\.3840 s"):
        g.coarse_tokens_in(0.38)


def test_a_segment_at_an_exact_multiple_is_not_lost_to_rounding():
    for n in range(1, 400):
        assert SNAC_24KHZ.coarse_tokens_in(n * 2048 / 24000) == n


@given(geometries, st.integers(0, 1000), st.integers(1, 500), st.integers(1, 4))
def test_codes_and_audio_of_a_slice_cover_the_same_time(g: Geometry, start: int, length: int, multiple: int):
    audio = g.audio_slice(start, length, g.sampling_rate * multiple)
    assert audio.stop - audio.start == g.audio_samples(length, g.sampling_rate * multiple)
    for i, stride in enumerate(g.vq_strides):
        codes = g.codebook_slice(i, start, length)
        samples_per_token = stride * g.hop_length * multiple
        assert codes.start * samples_per_token == audio.start
        assert codes.stop * samples_per_token == audio.stop


@pytest.mark.slow
@given(geometries, st.integers(0, 10**7))
def test_coarse_tokens_of_pads_as_upstream(g: Geometry, num_samples: int):
    pad_to = g.hop_length * math.lcm(g.vq_strides[0], g.attn_window_size or 1)
    padded = math.ceil(num_samples / pad_to) * pad_to
    assert g.coarse_tokens_of(num_samples) * g.coarse_hop == padded
    assert g.coarse_tokens_of(num_samples) % g.coarse_step == 0


@given(geometries, st.floats(0.01, 60))
def test_a_segment_is_the_longest_that_fits(g: Geometry, seconds: float):
    step_samples = g.coarse_step * g.coarse_hop
    samples = round(seconds * g.sampling_rate)
    if samples < step_samples:
        with pytest.raises(CodecError):
            g.coarse_tokens_in(seconds)
        return
    n = g.coarse_tokens_in(seconds)
    assert n % g.coarse_step == 0
    assert n * g.coarse_hop <= samples < n * g.coarse_hop + step_samples


def test_output_that_is_no_whole_number_of_samples_is_refused():
    assert SNAC_24KHZ.audio_samples(3, 32000) == 8192
    with pytest.raises(CodecError, match="no whole number of samples at 32000 Hz"):
        SNAC_24KHZ.audio_samples(1, 32000)
    with pytest.raises(CodecError, match="44100"):
        SNAC_24KHZ.audio_slice(1, 3, 44100)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((24000, 512, ()), "at least 1"),
        ((24000, 0, (4, 2, 1)), "at least 1"),
        ((24000, 512, (3, 2, 1)), "multiple of all others"),
        ((24000.0, 512, (1,)), "whole numbers"),
    ],
)
def test_impossible_numbers_are_refused(arguments, reason):
    with pytest.raises(CodecError, match=reason):
        Geometry(*arguments)


def test_a_config_must_be_complete_and_consistent(shapes):
    with pytest.raises(CodecError, match="lacks 'vq_strides'"):
        Geometry.from_config({key: value for key, value in shapes["real"].items() if key != "vq_strides"})
    with pytest.raises(CodecError, match="same product"):
        Geometry.from_config(shapes["real"] | {"decoder_rates": [8, 8, 4, 4]})


def test_geometry_of_a_directory_names_the_file(tmp_path, shapes):
    write_json(tmp_path / "config.json", shapes["attention"])
    assert geometry_of_directory(tmp_path) == SNAC_32KHZ
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CodecError, match=r"config\.json is damaged or no JSON"):
        geometry_of_directory(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CodecError, match="must hold a dictionary"):
        geometry_of_directory(tmp_path)
    with pytest.raises(CodecError, match=r"nowhere/config\.json"):
        geometry_of_directory(tmp_path / "nowhere")


def test_a_declared_geometry_must_be_the_loaded_one():
    declared = DeclaredGeometry(24000, 512, [4, 2, 1])
    check_declared(SNAC_24KHZ, declared)
    with pytest.raises(CodecError, match=r"'hop_length': 512.*'hop_length': 441"):
        check_declared(CLASS_DEFAULTS, declared)
    with pytest.raises(CodecError, match=r"None.*32"):
        check_declared(SNAC_32KHZ, DeclaredGeometry(32000, 384, [8, 4, 2, 1]))


def test_context_of_the_published_checkpoints(shapes):
    assert decoder_receptive_samples(shapes["real"]) == 4757
    assert decoder_context_tokens(shapes["real"]) == 3
    assert decoder_context_tokens(shapes["attention"]) == 8


@pytest.mark.parametrize("shape", ["small", "stride_4", "plain"])
def test_the_receptive_field_is_the_decoders_own(codecs, shape):
    low, high = _changed_samples(codecs(shape), frame=20, num_frames=40)
    assert max(20 * 512 - low, high - (21 * 512 - 1)) == decoder_receptive_samples(codecs(shape).config)


@pytest.mark.slow
def test_the_receptive_field_of_attention_is_that_of_the_worst_place_in_a_window(codecs):
    codec, hop = codecs("attention"), 384
    reach = []
    for frame in range(60, 68):  # about the border of two windows
        low, high = _changed_samples(codec, frame, num_frames=160)
        reach.append(max(frame * hop - low, high - ((frame + 1) * hop - 1)))
    assert max(reach) == decoder_receptive_samples(codec.config) > 32 * hop


def _changed_samples(codec, frame: int, num_frames: int) -> tuple[int, int]:
    """First and last output sample that one frame of the latent changes."""
    decoder = copy.deepcopy(codec.model.decoder).double()
    latent = torch.randn(1, codec.model.latent_dim, num_frames, dtype=torch.float64)
    other = latent.clone()
    other[..., frame] += 10.0
    with noise_off(decoder), torch.no_grad():
        changed = (decoder.model[:-2](latent) != decoder.model[:-2](other)).any(dim=1)[0].nonzero()
    return int(changed.min()) - 3, int(changed.max()) + 3  # and the last convolution's 7 taps


@pytest.mark.slow
def test_geometry_needs_no_torch():
    code = "import sys, snac_exp.codec.geometry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([COLD, "-c", code], check=False).returncode == 0
