"""Restoration targets with small TorchScript stand-ins of the models' interface: steps, joins, lengths, restarts."""

import sys
import types
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor, nn

from snac_exp import cli
from snac_exp.data.files.resampling import resample
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.targets import sidon_folder as sidon_module
from snac_exp.data.targets.sidon import Sidon, high_pass, num_target_samples, prepare_signal
from snac_exp.data.targets.sidon_folder import sidon_targets
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.torchaudio import functional as F_audio

CHANNELS = 8


class Extractor(nn.Module):
    """Frame by frame, so that a chunk's edge changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(160, CHANNELS)

    def forward(self, input_features: Tensor) -> dict[str, Tensor]:
        return {"last_hidden_state": torch.tanh(self.linear(input_features))}


class Decoder(nn.Module):
    """960 samples per frame; each sees `left` frames before it and `right` behind it."""

    def __init__(self, left: int, right: int, samples_per_frame: int = 960) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.mix = nn.Conv1d(CHANNELS, CHANNELS, left + right + 1)
        self.up = nn.ConvTranspose1d(CHANNELS, 1, samples_per_frame, samples_per_frame)

    def forward(self, features: Tensor) -> Tensor:
        return torch.tanh(self.up(self.mix(nn.functional.pad(features, (self.left, self.right)))))


class FrontEndStandIn:
    """As transformers' front end: 50 frames/s of 160 numbers; here every second sample of a frame's own 20 ms."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, raw_speech: list[np.ndarray], *, sampling_rate: int, return_tensors: str) -> dict[str, Tensor]:
        assert (sampling_rate, return_tensors) == (16000, "pt")
        assert len({len(signal) for signal in raw_speech}) == 1
        self.calls.append((len(raw_speech), len(raw_speech[0])))
        num = -(-((len(raw_speech[0]) - 400) // 160 + 1) // 2)
        padded = [np.pad(signal[40:], (0, 640)) for signal in raw_speech]
        frames = [np.stack([signal[320 * i : 320 * (i + 1) : 2] for i in range(num)]) for signal in padded]
        return {"input_features": torch.from_numpy(np.stack(frames))}


def make(left: int = 5, right: int = 0, samples_per_frame: int = 960, **options: object) -> Sidon:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [torch.jit.script(module.eval()) for module in (Extractor(), Decoder(left, right, samples_per_frame))]
    return Sidon(FrontEndStandIn(), *parts, torch.device("cpu"), **options)


def noise(num: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (num, channels)).astype(np.float32)


def test_the_signal_is_prepared_step_by_step() -> None:
    stereo = noise(48000, 2) + np.float32(0.1)
    loudest = float(np.abs(stereo).max())
    mono = torch.from_numpy(stereo * (0.9 / loudest)).mean(1)
    expected = F_audio.highpass_biquad(mono[:4000].double(), 48000, 50.0)  # slow without its compiled extension
    np.testing.assert_allclose(high_pass(mono.numpy(), 48000)[:4000], expected, atol=2e-6)
    prepared = prepare_signal(stereo, 48000)
    assert prepared.shape == (16000 + 24000,)
    assert not prepared[16000:].any()
    np.testing.assert_array_equal(prepared[:16000], resample(high_pass(mono.numpy(), 48000), 48000, 16000))
    with pytest.raises(DataError, match="silent"):
        prepare_signal(np.zeros((100, 1), np.float32), 48000)


@pytest.mark.parametrize(
    ("num", "rate"), [(24000, 24000), (44100, 44100), (33075, 22050), (7001, 44100), (90001, 16000)]
)
def test_the_length_is_exact_at_every_rate(num: int, rate: int) -> None:
    for chunk_seconds in (1.0, 60.0):
        restored = make(chunk_seconds=chunk_seconds).restore([(noise(num), rate)])[0]
        assert len(restored) == num_target_samples(num, rate) == int(num * 48000 / rate + 0.5)
        assert restored.dtype == np.float32


def test_joined_chunks_equal_the_unchunked_signal_where_the_receptive_field_allows() -> None:
    signal = noise(16000 * 5 + 123)
    whole = make(left=5).restore([(signal, 16000)])[0]
    joined = make(left=5, chunk_seconds=1.0).restore([(signal, 16000)])[0]
    np.testing.assert_allclose(joined, whole, atol=1e-6)  # five frames are all the decoder looks back
    more = make(left=6).restore([(signal, 16000)])[0]
    seam = np.abs(make(left=6, chunk_seconds=1.0).restore([(signal, 16000)])[0] - more) > 1e-5
    assert seam[47850 : 47850 + 960].mean() > 0  # the sixth frame is missing behind each join, for one frame
    assert not seam[47850 + 960 : 95850].any()


def test_a_decoder_that_looks_ahead_differs_only_just_before_each_join() -> None:
    signal = noise(16000 * 4)
    whole = make(left=2, right=2).restore([(signal, 16000)])[0]
    joined = make(left=2, right=2, chunk_seconds=1.0).restore([(signal, 16000)])[0]
    wrong = np.flatnonzero(np.abs(joined - whole) > 1e-5)
    joins = [48000 * second - 150 for second in (1, 2, 3, 4)]
    assert wrong.size > 0
    assert all(any(join - 2 * 960 <= sample < join for join in joins) for sample in wrong)


def test_the_first_150_and_the_joins_4800_samples_are_dropped() -> None:
    """With samples that count themselves, the output counts on across the join."""
    sidon = make(chunk_seconds=1.0, max_batch_chunks=1)
    counted = []

    def decoder(features: Tensor) -> Tensor:
        counted.append(features.shape[-1])
        return torch.arange(features.shape[-1] * 960.0).repeat(len(features), 1)[:, None]

    signal = noise(16000 * 2)
    restored = replace(sidon, decoder=decoder).restore([(signal, 16000)])[0]
    # The third chunk begins in time: its first 150 samples replace those the first chunk lost.
    assert counted == [50, 55, 55]
    assert restored[:2].tolist() == [150, 151]
    assert restored[47849:47852].tolist() == [47999, 4800, 4801]
    assert restored[95849:].tolist() == [4800 + 47999, *range(4800, 4950)]


def test_chunks_that_are_cut_away_whole_are_not_computed() -> None:
    for num, expected in ((16000 * 2 - 100, 2), (16000 * 2, 3), (16000 * 3 + 10, 4)):
        sidon = make(chunk_seconds=1.0)
        sidon.restore([(noise(num), 16000)])
        assert sum(batch for batch, _ in sidon.front_end.calls) == expected


def test_chunks_of_several_files_share_batches_and_give_what_they_give_alone() -> None:
    files = [(noise(16000 * seconds, seed=seconds), 16000) for seconds in (1, 3, 2)]
    sidon = make(chunk_seconds=1.0, max_batch_chunks=3)
    together = sidon.restore(files)
    assert sum(batch for batch, _ in sidon.front_end.calls) == 9
    assert max(batch for batch, _ in sidon.front_end.calls) == 3
    assert len(sidon.front_end.calls) == 3
    for file, restored in zip(files, together, strict=True):
        np.testing.assert_allclose(make(chunk_seconds=1.0).restore([file])[0], restored, atol=1e-6)


def test_the_source_level_comes_back_when_asked_for() -> None:
    quiet = 0.01 * noise(16000)
    plain, level = make().restore([(quiet, 16000)])[0], make(restore_level=True).restore([(quiet, 16000)])[0]
    np.testing.assert_allclose(level, plain * np.abs(quiet).max() / 0.9, rtol=1e-5)


def write_models(folder: Path, monkeypatch: pytest.MonkeyPatch, samples_per_frame: int = 960) -> None:
    """The two TorchScript files, and a module that stands for transformers."""
    folder.mkdir()
    sidon = make(samples_per_frame=samples_per_frame)
    torch.jit.save(sidon.extractor, folder / "feature_extractor_cpu.pt")
    torch.jit.save(sidon.decoder, folder / "decoder_cpu.pt")
    loader = types.SimpleNamespace(from_pretrained=lambda name: FrontEndStandIn())
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(SeamlessM4TFeatureExtractor=loader))


@pytest.mark.slow
def test_the_verb_restores_goes_on_and_refuses_other_models(
    corpus_dir: Path,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_models(tmp_path / "sidon", monkeypatch)
    command = [
        "targets", f"data={corpus_dir / 'prepared'}", "kind=sidon", f"output={tmp_path / 'targets'}",
        f"sidon.path={tmp_path / 'sidon'}", "sidon.max_batch_seconds=2.5",
    ]  # fmt: skip
    assert cli.run([*command, "shard.index=1", "shard.count=2"]) == 0
    assert "10 targets made, 0 there already" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "targets").rglob("*.flac")}
    assert cli.run(command) == 0
    assert "10 targets made, 10 there already" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    for row in manifest.rows:
        restored, rate = soundfile.read((tmp_path / "targets" / row.path).with_suffix(".flac"), dtype="float32")
        assert (rate, len(restored)) == (48000, row.num_samples)
        signal, source_rate = soundfile.read(manifest.recording(row).path, dtype="float32", always_2d=True)
        np.testing.assert_allclose(restored, make().restore([(signal, source_rate)])[0], atol=2**-22)
    with pytest.raises(DataError, match=r"chunk_seconds was 60\.0\); choose another output folder"):
        cli.run([*command, "sidon.chunk_seconds=30"])


def test_models_of_another_output_rate_are_found_out(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"makes \d+ samples of \d+ frames, not 960 of each"):
        sidon_targets(manifest, tmp_path, make(samples_per_frame=320), {})
    assert not list(tmp_path.rglob("*.flac"))


def test_a_file_that_fails_takes_no_neighbour_along(manifest: Manifest, tmp_path: Path) -> None:
    broken = manifest.with_rows([replace(manifest.rows[0], num_samples=5), *manifest.rows[1:6]])
    summary = sidon_targets(broken, tmp_path, make(), {})
    assert (summary.num_made, summary.rejected) == (5, {"unreadable": 1})


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"feature_extractor_cpu\.pt: no such file; sidon\.path names"):
        sidon_module.load_sidon(str(tmp_path), None, "x", "cpu")
    with pytest.raises(ConfigError, match=r"sidon\.path=DIR or sidon\.hub_id"):
        sidon_module.load_sidon(None, None, "x", "cpu")

    def not_cached(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("not in the cache")

    def no_network(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", not_cached)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    with pytest.raises(DataError, match=r"cannot get feature_extractor_cpu\.pt of 'nobody/nothing' .*sidon\.path=DIR"):
        sidon_module.load_sidon(None, "nobody/nothing", "x", "cpu")
    write_models(tmp_path / "sidon", monkeypatch)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'snac_exp\[sidon\]'"):
        sidon_module.load_sidon(str(tmp_path / "sidon"), None, "x", "cpu")
    (tmp_path / "sidon" / "decoder_cpu.pt").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"decoder_cpu\.pt: not a TorchScript file"):
        sidon_module.load_sidon(str(tmp_path / "sidon"), None, "x", "cpu")


@pytest.mark.slow
def test_the_real_front_end_gives_fifty_frames_a_second() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra [sidon]: pip install -e '.[sidon]'")
    front_end = transformers.SeamlessM4TFeatureExtractor()
    inputs = front_end([np.pad(noise(16000 * 4)[:, 0], 40)] * 2, sampling_rate=16000, return_tensors="pt")
    assert tuple(inputs["input_features"].shape) == (2, 200, 160)
