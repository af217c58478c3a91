"""Audio to token files: chunks equal the whole, every file accounted for, SNAC and a stand-in for DAC."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from snac import SNAC

from snac_exp.cli import run
from snac_exp.codec.checkpoint import load_directory, save_snac
from snac_exp.data.tokens.codecs import DacTokens, SnacTokens, kbps_of
from snac_exp.data.tokens.encoding import encode_chunked, encode_folder
from snac_exp.data.tokens.files import NpqFiles
from snac_exp.data.tokens.npq import read_npq, write_npq
from snac_exp.errors import CodecError, ConfigError, DataError
from tests.helpers.codes import assert_same_codes
from tests.helpers.killed import killed_at

SMALL: dict[str, Any] = {
    "sampling_rate": 24000,
    "encoder_dim": 4,
    "encoder_rates": [4, 8, 4, 4],
    "decoder_dim": 64,
    "decoder_rates": [8, 4, 4, 4],
    "attn_window_size": None,
    "codebook_size": 32,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "noise": False,
    "depthwise": True,
}


@pytest.fixture(scope="module")
def codec_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SNAC of the demo codec's geometry with random weights."""
    folder = tmp_path_factory.mktemp("codec")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_snac(SNAC(**SMALL), folder)
    return folder


def speech_like(num_samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.3 * np.convolve(rng.standard_normal(num_samples + 31), np.ones(32) / 8, "valid")).astype(np.float32)


@pytest.fixture
def audio_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "audio, with 'odd' name"
    for i, seconds in enumerate((1.3, 0.4)):
        (folder / f"s{i}").mkdir(parents=True)
        soundfile.write(folder / f"s{i}" / "a.wav", speech_like(int(seconds * 24000), i), 24000)
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("frames", ["coarse", "repeated"])
def test_chunks_with_context_give_the_tokens_of_the_whole(codec_dir: Path, frames: str) -> None:
    codec = SnacTokens(load_directory("small", codec_dir), frames)
    audio = speech_like(30 * 2048 + 5)

    def read(start: int, num: int) -> np.ndarray:
        return np.pad(audio, (0, 40 * 2048))[start : start + num]

    whole = encode_chunked(codec, read, len(audio), 1e6, 0.0)
    assert whole.shape == ((31, 7) if frames == "coarse" else (124, 3))
    assert_same_codes([whole], [codec.encode(torch.from_numpy(audio))])
    chunked = encode_chunked(codec, read, len(audio), 0.5, 0.6)
    assert (chunked == whole).mean() > 0.999
    without = encode_chunked(codec, read, len(audio), 0.5, 0.0)
    assert (without == whole).mean() < 0.99, "the context is what makes them equal"


@pytest.mark.slow
def test_frames_decode_to_the_audio_of_their_codes(codec_dir: Path) -> None:
    loaded = load_directory("small", codec_dir)
    audio = torch.from_numpy(speech_like(8 * 2048))
    with torch.no_grad():
        expected = loaded.model.decode(loaded.model.encode(audio[None, None]))[0, 0]
    for frames in ("coarse", "repeated"):
        codec = SnacTokens(loaded, frames)
        torch.testing.assert_close(codec.decode(codec.encode(audio)), expected)


@pytest.mark.slow
def test_the_verb_encodes_a_folder_counts_what_it_cannot_read_and_goes_on(
    audio_dir: Path, codec_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tokens"
    command = ["tokens", "encode", f"input={audio_dir}", f"output={output}", "codec=demo", f"codec.path={codec_dir}"]
    assert run(command) == 2
    assert "2 files made, 0 there already" in (said := capsys.readouterr().out)
    assert "1 rejected" in said
    assert "broken.wav" in said
    header, tokens = read_npq(output / "s0" / "a.npq")
    assert header.vocab_sizes == (32,) * 7
    assert header.frames_per_second == 24000 / 2048
    assert header.kbps == pytest.approx(7 * 5 * 24000 / 2048 / 1000)
    assert tokens.shape == (16, 7)
    (output / "s1" / "a.npq").unlink()
    assert run(command) == 2
    assert "1 files made, 1 there already" in capsys.readouterr().out


@pytest.mark.slow
def test_the_verb_checks_and_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    write_npq(old / "a.npq", np.tile([[0, 1], [2, 1]], (25, 1)), (4, 4), 50.0)
    bare = np.array([2], "<i4").tobytes() + np.array([50.0], "<f4").tobytes() + np.array([4, 4, 3], "<i4").tobytes()
    (old / "deep").mkdir()
    (old / "deep" / "b.npq").write_bytes(bare + np.array([[3, 1], [2, 1], [1, 1]], "<u2").tobytes())
    assert run(["tokens", "check", f"input={old}"]) == 0
    said = capsys.readouterr().out
    assert "2 usable files (1 bare, 1 npq1)" in said
    assert "1 files of before NPQ1 version 2, without a checksum; convert adds it" in said
    assert "codebook 0: 4 of 4 tokens in use" in said
    assert "codebook 1: 1 of 4 tokens in use, 0.00 bits" in said
    assert run(["tokens", "convert", f"input={old}", f"output={new}"]) == 0
    header, tokens = read_npq(new / "deep" / "b.npq")
    assert (header.form, tokens.tolist()) == ("npq1", [[3, 1], [2, 1], [1, 1]])
    (new / "bad.npq").write_bytes(b"nothing")
    assert run(["tokens", "check", f"input={new}"]) == 2
    assert "1 files cannot be used" in capsys.readouterr().out
    with pytest.raises(DataError, match="is the input"):
        run(["tokens", "convert", f"input={old}", f"output={old}"])


@pytest.mark.slow
def test_a_conversion_that_is_killed_goes_on_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for name in ("a", "deep/b", "deep/c"):
        write_npq(old / f"{name}.npq", np.tile([[0, 1], [2, 1]], (len(name), 1)), (4, 4), 50.0)
    command = ["tokens", "convert", f"input={old}", f"output={new}"]
    killed_at("os.rename", str(new / "deep" / "b.npq"), command)
    assert [path.name for path in new.rglob("*.npq")] == ["a.npq"]
    assert len(list(new.rglob("*.tmp"))) == 1
    before = (new / "a.npq").stat().st_mtime_ns
    assert run(command) == 0
    assert "2 files made, 1 there already" in capsys.readouterr().out
    assert (new / "a.npq").stat().st_mtime_ns == before
    files = [path for path in new.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(new)) for path in files) == ["a.npq", "deep/b.npq", "deep/c.npq"]
    assert all(np.array_equal(read_npq(path)[1], read_npq(old / path.relative_to(new))[1]) for path in files)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs an action: check, convert, encode"):
        run(["tokens"])
    with pytest.raises(ConfigError, match="did you mean 'check'"):
        run(["tokens", "chek"])
    with pytest.raises(ConfigError, match="input=FOLDER"):
        run(["tokens", "check"])
    with pytest.raises(DataError, match=r"no usable \.npq file"):
        run(["tokens", "check", f"input={tmp_path}"])


def test_files_that_differ_by_their_suffix_alone_are_refused(audio_dir: Path, codec_dir: Path, tmp_path: Path) -> None:
    soundfile.write(audio_dir / "s0" / "a.flac", speech_like(9000), 24000)
    with pytest.raises(DataError, match=r"a\.wav would both become s0/a\.npq"):
        encode_folder(SnacTokens(load_directory("small", codec_dir)), audio_dir, tmp_path / "tokens")


class StandInDac(torch.nn.Module):
    """The part of transformers' DacModel that is used: config, encode().audio_codes, decode().audio_values."""

    def __init__(self) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(sampling_rate=44100, hop_length=512, n_codebooks=9, codebook_size=1024)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.encoder = torch.nn.Conv1d(1, 9, 2048, stride=512, padding=768)

    @classmethod
    def from_pretrained(cls, name: str) -> "StandInDac":
        if name == "absent":
            raise OSError("absent is not a local folder\nmore")
        return cls()

    def encode(self, input_values: torch.Tensor) -> Any:
        codes = (512 + 4000 * self.encoder(input_values)).long().clamp(0, 1023)
        return types.SimpleNamespace(audio_codes=codes)

    def decode(self, *, audio_codes: torch.Tensor) -> Any:
        audio = torch.nn.functional.interpolate(audio_codes[:, :1].float() / 512 - 1, scale_factor=512)
        return types.SimpleNamespace(audio_values=audio[:, 0])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("transformers")
    module.DacModel = StandInDac  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    return


@pytest.mark.usefixtures("stand_in")
def test_dac_tokens_are_those_of_the_recipe(audio_dir: Path, tmp_path: Path) -> None:
    codec = DacTokens()
    assert codec.layout.frames_per_second == 86.1328125
    assert kbps_of(codec.layout) == pytest.approx(7.751953125)
    audio = speech_like(100 * 512)
    whole = codec.encode(torch.from_numpy(audio))
    assert whole.shape == (100, 9)
    chunked = encode_chunked(codec, lambda start, num: audio[start : start + num], len(audio), 0.2, 0.05)
    assert np.array_equal(chunked, whole)
    assert codec.decode(whole).shape == (51200,)
    assert run(["tokens", "encode", f"input={audio_dir}", f"output={tmp_path / 'dac'}", "encoder=dac"]) == 2
    files = NpqFiles.open(tmp_path / "dac")
    assert files.layout == codec.layout
    assert files.lengths.tolist() == [-(-int(seconds * 44100) // 512) for seconds in (1.3, 0.4)]


@pytest.mark.usefixtures("stand_in")
def test_a_dac_that_is_not_there_is_named() -> None:
    with pytest.raises(
        CodecError,
        match=r"cannot get config\.json and weights of 'absent' .*hf download absent --local-dir DIR.*codec\.path=DIR",
    ):
        DacTokens("absent")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CodecError, match=r"pip install 'snac_exp\[dac\]'"):
        DacTokens()


@pytest.mark.slow
def test_the_dac_of_transformers_is_what_the_stand_in_stands_for(tmp_path: Path) -> None:
    """With random weights and narrow layers; runs where the extra [dac] is installed."""
    transformers = pytest.importorskip("transformers", reason="needs the extra [dac]: pip install -e '.[dac]'")
    narrow = {"encoder_hidden_size": 16, "decoder_hidden_size": 64, "downsampling_ratios": [2, 4, 8, 8]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.DacConfig(**narrow, n_codebooks=9, codebook_size=1024, sampling_rate=44100)
        transformers.DacModel(config).save_pretrained(tmp_path / "dac")
    codec = DacTokens(str(tmp_path / "dac"))
    assert codec.layout.vocab_sizes == (1024,) * 9
    assert codec.layout.frames_per_second == 86.1328125
    audio = speech_like(400 * 512)
    whole = codec.encode(torch.from_numpy(audio))
    assert whole.shape == (400, 9)
    chunked = encode_chunked(codec, lambda start, num: audio[start : start + num], len(audio), 1.0, 0.5)
    assert_same_codes([chunked], [whole])
    assert codec.decode(whole).shape == (400 * 512,)
