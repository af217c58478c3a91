"""What load_codec opens: a run, a checkpoint, an exported folder, upstream's layout, a name on the hub."""

import subprocess
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file
from snac import SNAC

import snac_exp
from snac_exp import cli
from snac_exp.codec.checkpoint import bundled_directory, load_directory, save_snac
from snac_exp.codec.checkpoint import load_codec as load_snac
from snac_exp.errors import CheckpointError
from snac_exp.release import loading as sources
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.loading import load_codec, open_model
from tests.helpers.warm import COLD
from tests.release.conftest import HEADS, random_codec, speech_like


def same(one: ReleasedCodec, other: ReleasedCodec) -> bool:
    audio = speech_like(9_000)
    codes = one.encode(audio, 24_000)
    again = other.encode(audio, 24_000)
    equal = [torch.equal(a, b) for a, b in zip(codes.tokens, again.tokens, strict=True)]
    rates = [
        torch.equal(one.decode(codes, rate, seed=1), other.decode(again, rate, seed=1)) for rate in one.sample_rates
    ]
    return all([*equal, *rates])


@pytest.mark.slow
def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, snac_exp; print('torch' in sys.modules, snac_exp.load_codec.__name__)"
    done = subprocess.run([COLD, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "load_codec"]
    with pytest.raises(AttributeError, match="no attribute 'load_codecs'"):
        _ = snac_exp.load_codecs


@pytest.mark.slow
def test_run_checkpoint_and_exported_folders_are_one_codec(
    run_dir: Path, checkpoint: Path, exported_folder: Path, codec: ReleasedCodec
) -> None:
    for source in (run_dir, checkpoint, str(exported_folder), exported_folder / "fused"):
        assert same(load_codec(source), codec)
    assert load_codec(exported_folder / "fused").fingerprint == codec.fingerprint


def test_the_name_of_a_codec_opens_it_unless_a_folder_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = load_codec("demo")
    assert (demo.name, demo.fingerprint) == ("demo", load_codec(bundled_directory("demo_codec")).fingerprint)
    for name in ("scratch_demo", "dac_44khz"):
        with pytest.raises(CheckpointError, match=f"conf/codec/{name}.yaml names no weights of a SNAC"):
            load_codec(name)
    (tmp_path / "demo").mkdir()
    with pytest.raises(CheckpointError, match="demo holds no codec"):
        load_codec("demo")


@pytest.mark.slow
def test_upstream_layout_has_its_own_output_only(tmp_path: Path) -> None:
    original = random_codec()
    save_snac(original.model, tmp_path / "snac_small")
    codec = load_codec(tmp_path / "snac_small")
    assert (codec.sample_rates, codec.name) == ((24_000,), "snac_small")
    codes = codec.encode(speech_like(9_000), 24_000)
    with torch.no_grad():
        reference = SNAC.from_pretrained(str(tmp_path / "snac_small"))
        expected = reference.encode(torch.from_numpy(speech_like(9_000))[None, None])
        assert all(torch.equal(a, b) for a, b in zip(codes.tokens, expected, strict=True))
        from tests.helpers.noise import noise_off

        with noise_off(reference):
            audio = reference.decode(expected)[..., :9_000]
    torch.testing.assert_close(codec.decode(codes, noise=False), audio, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_noise_blocks_get_the_noise_that_upstream_would_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the noise of our sequences, upstream's own decoder gives our samples."""
    from snac.layers import NoiseBlock

    from snac_exp.release.streaming.positioned_noise import noise_sequence

    save_snac(random_codec().model, tmp_path)
    codec, reference = load_codec(tmp_path), SNAC.from_pretrained(str(tmp_path))
    names = iter([f"trunk.{i}.block.2" for i in (2, 3, 4, 5)])

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        noise = torch.from_numpy(noise_sequence(3, next(names), 0, x.shape[-1]))
        return x + noise * self.linear(x)

    monkeypatch.setattr(NoiseBlock, "forward", forward)
    codes = codec.encode(speech_like(9_000), 24_000)
    with torch.no_grad():
        expected = reference.decode(list(codes.tokens))[..., :9_000]
    assert (codec.decode(codes, seed=3) - expected).abs().max().item() <= 1e-6


@pytest.mark.slow
def test_hub_ids_are_downloaded_by_the_hubs_client(exported_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []

    def download(repo_id: str, filename: str, local_files_only: bool = False) -> str:
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        calls.append((repo_id, filename))
        return str(exported_folder / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: types.SimpleNamespace(siblings=None))
    monkeypatch.setattr("huggingface_hub.HfApi.file_exists", lambda _, repo, name: name == "snac_exp.json")
    assert same(load_codec("someone/a-codec"), load_codec(exported_folder))
    assert calls == [("someone/a-codec", "model.safetensors"), ("someone/a-codec", "snac_exp.json")]


@pytest.mark.slow
def test_a_hub_repository_in_upstreams_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_snac(random_codec().model, tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.file_exists", lambda *_: False)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda filename, **_: str(tmp_path / filename))
    codec = load_codec("hubertsiuzdak/snac_24khz")
    assert (codec.name, codec.sample_rates) == ("snac_24khz", (24_000,))


class StandInHub:
    """The part of the hub's client that is used, over a folder as the one repository; nothing is in the cache first."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, set[str]()

    def hf_hub_download(self, repo_id: str, filename: str, local_files_only: bool = False) -> str:
        if filename not in self.cache:
            if local_files_only:
                raise LocalEntryNotFoundError(f"{filename} is not in the cache")
            if not self.file_exists(repo_id, filename):
                raise EntryNotFoundError(f"{repo_id} has no {filename}")
        self.cache.add(filename)
        return str(self.folder / filename)

    def model_info(self, repo_id: str, timeout: float) -> types.SimpleNamespace:
        names = (types.SimpleNamespace(rfilename=path.name) for path in self.folder.iterdir())
        return types.SimpleNamespace(siblings=list(names))

    def file_exists(self, repo_id: str, name: str) -> bool:
        return (self.folder / name).is_file()


@pytest.mark.slow
def test_repositories_and_folders_that_hold_only_safetensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_snac(random_codec().model, tmp_path)
    expected, original = load_codec(tmp_path), tmp_path / "pytorch_model.bin"
    save_file(torch.load(original), tmp_path / "model.safetensors")
    original.unlink()
    hub = StandInHub(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub.hf_hub_download)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    fingerprint = load_directory("x", tmp_path).fingerprint
    for offline in (False, True):
        if offline:
            monkeypatch.setattr(hub, "model_info", None)  # what is in the cache needs no answer
        assert same(load_codec("someone/their-codec"), expected)
        assert load_snac("x", None, "someone/their-codec").fingerprint == fingerprint
        assert cli.run(["doctor", "someone/their-codec"]) == 0
        assert "model.safetensors" in " ".join(capsys.readouterr().out.split())
    assert same(load_codec(tmp_path), expected)
    assert cli.run(["doctor", str(tmp_path)]) == 0
    (tmp_path / "model.safetensors").unlink()
    hub = StandInHub(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub.hf_hub_download)
    wanted = r"cannot get pytorch_model\.bin, config\.json or model\.safetensors, config\.json of 'someone/their-codec'"
    with pytest.raises(CheckpointError, match=wanted):
        load_codec("someone/their-codec")


def test_a_hub_out_of_reach_gives_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    def not_cached(**_: Any) -> None:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", not_cached)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    monkeypatch.setattr("huggingface_hub.HfApi.file_exists", refuse)
    with pytest.raises(CheckpointError, match=r"no route to host.*hf download someone/codec --local-dir DIR"):
        load_codec("someone/codec")


@pytest.mark.slow
def test_building_moves_no_random_draws(checkpoint: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_codec(checkpoint)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.slow
def test_descriptions_survive_a_round_trip(checkpoint: Path, exported_folder: Path) -> None:
    blueprint = open_model(checkpoint).blueprint
    assert blueprint.heads == HEADS["dual"]
    assert open_model(exported_folder).blueprint == blueprint
    assert sources.describe_folder(blueprint, folded=True)["weight_norm_folded"] is True
