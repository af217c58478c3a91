"""`snac-exp generate`: which weights, which codec, which prompt, and what is refused."""

import sys
import types
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.cli import run
from snac_exp.codec.checkpoint import load_directory, save_snac
from snac_exp.config.schema import Codec, Depth, LanguageModel
from snac_exp.data.tokens.codecs import SnacTokens, TokenCodec, listening_codec
from snac_exp.errors import CheckpointError, CodecError, ConfigError, DataError
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.sampling import Sampling, generate
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.release.generation import Request, generate_audio, read_prompt
from snac_exp.release.token_model import load_token_model

HOP = 512  # samples per finest frame, 2048 per coarse one
SETTINGS = LanguageModel("delay", 16, 1, 2, 0.0, 20, "learned", Depth(16, 1, 2))
DAC = FrameLayout.plain((1024,) * 9, 86.1328125)


@pytest.fixture(scope="module")
def codec_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SNAC of the 24 kHz checkpoint's geometry with random weights and noise."""
    from snac import SNAC

    folder = tmp_path_factory.mktemp("codec")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = {"encoder_dim": 4, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 32, "decoder_rates": [8, 8, 4, 2]}
        rest = {"attn_window_size": None, "codebook_size": 64, "codebook_dim": 8, "vq_strides": [4, 2, 1]}
        save_snac(SNAC(sampling_rate=24000, noise=True, depthwise=True, **small, **rest), folder)
    return folder


def codec_of(folder: Path) -> Codec:
    return Codec("small", str(folder), None, None, None)


def write_run(folder: Path, codec: Codec, layout: FrameLayout, fingerprint: str | None = None, **parts: Any) -> Path:
    """A run folder as training leaves it, of a model with random weights; returns it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TokenTransformer(SETTINGS, layout)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    config = {"task": {"name": "rvq_lm"}, "lm": asdict(SETTINGS), "codec": asdict(codec)}
    described = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(layout).items()}
    provenance = {"name": codec.name, "fingerprint": "x", "config": described, "codec_fingerprint": fingerprint}
    whole = Checkpoint(dict(model.state_dict()), TrainState(), provenance, config, {})
    checkpoint = replace(whole, **parts)
    write_checkpoint(folder / "checkpoints" / "best_model.pt", checkpoint)
    return folder


@pytest.fixture(scope="module")
def run_dir(codec_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec = load_directory("small", codec_dir)
    layout = SnacTokens(codec, "coarse").layout
    return write_run(tmp_path_factory.mktemp("a run"), codec_of(codec_dir), layout, codec.fingerprint)


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.5 s of stereo at 44.1 kHz."""
    file = tmp_path_factory.mktemp("prompts") / "some, prompt.flac"
    samples = 0.1 * np.random.default_rng(0).standard_normal((66_150, 2))
    soundfile.write(file, samples, 44_100)
    return file


def heard(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path)
    assert rate == 24_000
    return samples


@pytest.mark.slow
def test_seconds_are_exact_and_the_seed_decides(run_dir: Path, tmp_path: Path) -> None:
    for name, more in (("one", []), ("again", []), ("other", ["seed=1"])):
        assert run(["generate", str(run_dir), f"output={tmp_path / name}.wav", "seconds=2.345", *more]) == 0
    one, again, other = (heard(tmp_path / f"{name}.wav") for name in ("one", "again", "other"))
    assert len(one) == len(other) == round(2.345 * 24_000)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.slow
def test_a_prompt_of_another_rate_and_layout_stands_before_what_follows_it(
    run_dir: Path, prompt: Path, codec_dir: Path, tmp_path: Path
) -> None:
    more = [f"prompt={prompt}", "prompt_seconds=1", "seconds=1", f"checkpoint={run_dir}"]
    assert run(["generate", f"output={tmp_path / 'both.wav'}", *more]) == 0
    assert run(["generate", f"output={tmp_path / 'new.wav'}", "keep_prompt=false", *more]) == 0
    both, new = heard(tmp_path / "both.wav"), heard(tmp_path / "new.wav")
    num_prompt = 24_000 // 2048 * 2048
    assert (len(both), len(new)) == (num_prompt + 24_000, 24_000)
    assert np.array_equal(both[num_prompt:], new)
    codec = SnacTokens(load_directory("small", codec_dir), "coarse")
    frames = read_prompt(codec, prompt, 1.0)
    whole = read_prompt(codec, prompt)
    assert (len(frames), len(whole)) == (11, 17)
    assert torch.equal(frames[:9], whole[:9]), "the first seconds are those of the file"
    written = generate(load_token_model(run_dir).model, 12, Sampling(), frames[None])
    assert torch.equal(written[0, :11], frames), "the prompt is what the codec hears"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["coarse", "repeated"])
def test_several_are_different_and_each_is_what_it_is_alone(
    kind: str, codec_dir: Path, tmp_path: Path, prompt: Path
) -> None:
    codec = load_directory("small", codec_dir)
    folder = write_run(tmp_path / "run", codec_of(codec_dir), SnacTokens(codec, kind).layout)
    output = tmp_path / "v1.2"
    assert run(["generate", str(folder), f"output={output}", "num=3", "seconds=1", f"prompt={prompt}"]) == 0
    three = [heard(output / f"{i}.wav") for i in range(3)]
    assert [len(item) for item in three] == [17 * 2048 + 24_000] * 3
    assert not np.array_equal(three[0], three[1])
    assert run(["generate", str(folder), f"output={tmp_path / 'a.wav'}", "seconds=1", f"prompt={prompt}"]) == 0
    assert np.array_equal(heard(tmp_path / "a.wav"), three[0])


@pytest.mark.slow
def test_longer_than_the_context(run_dir: Path, tmp_path: Path) -> None:
    assert run(["generate", str(run_dir), f"output={tmp_path / 'long.wav'}", "seconds=4"]) == 0  # 47 frames, ctx 20
    assert len(heard(tmp_path / "long.wav")) == 96_000


def test_averaged_weights_are_preferred_and_a_checkpoint_file_works(
    run_dir: Path, codec_dir: Path, tmp_path: Path
) -> None:
    best = run_dir / "checkpoints" / "best_model.pt"
    plain = load_token_model(best)
    assert not plain.model.training
    ema = {name: weight + 1 for name, weight in plain.model.named_parameters()}
    layout = plain.model.layout
    other = write_run(tmp_path, codec_of(codec_dir), layout, average={key: item.detach() for key, item in ema.items()})
    averaged = load_token_model(other / "checkpoints" / "best_model.pt").model
    assert all(torch.equal(weight, ema[name]) for name, weight in averaged.named_parameters())


def test_nothing_is_overwritten_and_nothing_is_left_behind_by_a_refusal(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "there.wav").write_bytes(b"mine")
    (tmp_path / "1.wav").write_bytes(b"mine")
    for output, more in (("there.wav", []), (".", ["num=2"])):
        assert run_refused([str(run_dir), f"output={tmp_path / output}", *more], "exists and is not overwritten")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.wav", "there.wav"]
    assert (tmp_path / "there.wav").read_bytes() == b"mine"


def run_refused(arguments: list[str], message: str, error: type[Exception] = ConfigError) -> bool:
    with pytest.raises(error, match=message):
        run(["generate", *arguments])
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["output=a.wav", "num=2"], "is one file for num=2; name a folder"),
        (["output=a.mp3"], "only wav is written"),
        (["output=a.wav", "num=0"], "num=0 must be at least 1"),
        (["output=a.wav", "seconds=0"], "seconds=0.0 must be greater than 0"),
        (["output=a.wav", "temperature=-1"], "temperature=-1.0 must not be negative"),
        (["output=a.wav", "top_p=2"], "top_p=2.0 must lie between 0 and 1"),
        (["output=a.wav", "sed=2"], "unknown key 'sed'; did you mean 'seed'"),
        ([], "output has no value"),
    ],
)
def test_impossible_wishes_are_refused(more: list[str], message: str, run_dir: Path) -> None:
    assert run_refused([str(run_dir), *more], message)


@pytest.mark.slow
def test_prompts_that_cannot_be_are_refused(run_dir: Path, prompt: Path, tmp_path: Path) -> None:
    wish = [str(run_dir), f"output={tmp_path / 'a.wav'}"]
    assert run_refused([*wish, "prompt=nowhere.wav"], "there is no prompt nowhere.wav", DataError)
    short = "0.050 s are too short for a prompt; codec small needs at least 0.085 s"
    assert run_refused([*wish, f"prompt={prompt}", "prompt_seconds=0.05"], short, DataError)
    (tmp_path / "text.wav").write_text("no audio")
    assert run_refused([*wish, f"prompt={tmp_path / 'text.wav'}"], "text.wav", DataError)


def test_what_is_no_token_model_is_refused(run_dir: Path, codec_dir: Path, tmp_path: Path) -> None:
    layout = load_token_model(run_dir).model.layout
    codec_run = write_run(
        tmp_path / "codec", codec_of(codec_dir), layout, config={"task": {"name": "codec"}, "lm": None}
    )
    with pytest.raises(CheckpointError, match="no checkpoint of a token model: give a run of task=rvq_lm"):
        load_token_model(codec_run)
    damaged = write_run(tmp_path / "damaged", codec_of(codec_dir), layout, model={"head.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match="its weights are not of the model in its config"):
        load_token_model(damaged)
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"has no best_model\.pt yet"):
        load_token_model(tmp_path / "new")
    with pytest.raises(CheckpointError, match="neither a run folder nor a checkpoint"):
        load_token_model(tmp_path / "nowhere")


@pytest.mark.slow
def test_another_codec_is_refused_and_a_moved_one_is_found(
    run_dir: Path, codec_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = write_run(tmp_path / "moved", codec_of(tmp_path / "gone"), load_token_model(run_dir).model.layout)
    wish = [str(moved), f"output={tmp_path / 'a.wav'}", "seconds=1"]
    assert run_refused(wish, "gone", CodecError)
    assert run(["generate", *wish, f"codec_path={codec_dir}"]) == 0
    foreign = write_run(tmp_path / "foreign", codec_of(codec_dir), load_token_model(run_dir).model.layout, "f" * 64)
    message = "the tokens are of codec ffffffffffff, but small is"
    assert run_refused([str(foreign), f"output={tmp_path / 'b.wav'}"], message, CodecError)
    unlike = write_run(tmp_path / "unlike", codec_of(codec_dir), DAC)
    message = "frames of 9 tokens at 86.13 Hz are not of codec small, which has frames of 7 tokens at 11.72 Hz"
    assert run_refused([str(unlike), f"output={tmp_path / 'b.wav'}"], message, DataError)


class StandInDac(torch.nn.Module):
    """What is used of transformers' DacModel."""

    config = types.SimpleNamespace(sampling_rate=44100, hop_length=512, n_codebooks=9, codebook_size=1024)

    @classmethod
    def from_pretrained(cls, name: str) -> "StandInDac":
        assert name == "descript/dac_44khz"
        return cls()

    def encode(self, audio: torch.Tensor) -> Any:
        codes = (500 + 400 * audio[..., ::512]).long().expand(1, 9, -1)
        return types.SimpleNamespace(audio_codes=codes)

    def decode(self, *, audio_codes: torch.Tensor) -> Any:
        return types.SimpleNamespace(audio_values=(audio_codes[:, 0] / 512 - 1).repeat_interleave(512, dim=1))


def test_dac_tokens_are_decoded_by_dac(prompt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("transformers")
    module.DacModel = StandInDac  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    codec = Codec("dac_44khz", None, None, "descript/dac_44khz", None, "dac")
    folder = write_run(tmp_path / "run", codec, DAC)
    assert run(["generate", str(folder), f"output={tmp_path / 'a.wav'}", "seconds=0.5", f"prompt={prompt}"]) == 0
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, len(samples)) == (44_100, 66_150 // 512 * 512 + 22_050)


def test_a_codec_with_attention_windows_is_given_whole_ones() -> None:
    class Windows:
        """Eight frames of 100 samples go together, as in a codec with local attention."""

        name, sampling_rate, granule_samples, granule_frames = "windows", 5000, 800, 8
        layout = FrameLayout.plain((8, 8), 50.0)

        def encode(self, audio: torch.Tensor) -> np.ndarray:
            raise AssertionError

        def decode(self, frames: np.ndarray) -> torch.Tensor:
            assert len(frames) % 8 == 0
            return torch.from_numpy(frames[:, 0] / 10).repeat_interleave(100)

    codec: TokenCodec = Windows()
    model = TokenTransformer(SETTINGS, codec.layout).eval()
    (waveform,) = generate_audio(model, codec, Request(0.3), torch.zeros(8, 2, dtype=torch.int64))
    assert waveform.shape == (800 + 1500,)


def test_the_listening_codec_is_the_one_with_the_frames_of_the_model(codec_dir: Path) -> None:
    loaded = load_directory("small", codec_dir)
    for kind in ("coarse", "repeated"):
        layout = SnacTokens(loaded, kind).layout
        assert listening_codec(codec_of(codec_dir), layout, loaded).layout == layout
