"""Two heads of one rate, the natural A/B of an experiment: both live on, by name, from export to the last file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from snac_exp import cli, load_codec
from snac_exp.checkpoints.store import write_checkpoint
from snac_exp.errors import CodecError, ConfigError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.export import onnx
from snac_exp.release.listening.reconstruct import players_of
from snac_exp.release.outputs import head_of, labels_of
from tests.release.conftest import checkpoint_of, random_model, speech_like

HEADS = {"head_24k": 24_000, "upsample": 48_000, "residual": 48_000}


@pytest.fixture(scope="module")
def two(codec_of: Callable[[str, str], ReleasedCodec]) -> ReleasedCodec:
    return codec_of("small", "candidates")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run with two")
    model = random_model("small", "candidates")
    write_checkpoint(folder / "checkpoints" / "best_model.pt", checkpoint_of(model, "small", "candidates"))
    return folder


@pytest.mark.slow
def test_heads_are_named_and_each_decodes_as_in_training(two: ReleasedCodec) -> None:
    assert two.heads == HEADS
    assert two.sample_rates == (24_000, 48_000)
    codes = two.encode(speech_like(20_000), 24_000)
    upsample, residual = (two.decode(codes, head=name, seed=0) for name in ("upsample", "residual"))
    assert upsample.shape == residual.shape == (1, 1, 40_000)
    assert not torch.equal(upsample, residual)
    (both,) = two.decode_chunks(codes, ["residual", "upsample"], seed=0, chunk_seconds=None)
    assert torch.equal(both["upsample"], two.decode(codes, head="upsample", seed=0, chunk_seconds=None))
    assert torch.equal(two.decode(codes, 48_000, head="residual", seed=0), residual)
    assert torch.equal(two.decode(codes, 24_000, seed=0), two.decode(codes, head="head_24k", seed=0))
    stream = two.stream(head="residual", seed=0)
    assert torch.allclose(torch.cat((stream.push(codes), stream.finish()), -1)[..., :40_000], residual, atol=1e-5)


def test_a_rate_that_two_heads_have_asks_which(two: ReleasedCodec) -> None:
    codes = two.encode(speech_like(4_000), 24_000)
    for call in (
        lambda: two.decode(codes, sample_rate=48_000),
        lambda: two.decode(codes),
        lambda: two.stream(48_000),
    ):
        with pytest.raises(CodecError, match="2 heads have 48000 Hz: upsample, residual; say which: head='upsample'"):
            call()
    with pytest.raises(CodecError, match="no head 'residul'; did you mean 'residual'"):
        two.decode(codes, head="residul")
    with pytest.raises(CodecError, match="head='head_24k' has 24000 Hz, not sample_rate=48000"):
        two.decode(codes, 48_000, head="head_24k")


def test_labels_are_rates_and_names_where_rates_do_not_tell() -> None:
    assert labels_of({"head_24k": 24_000, "head_48k": 48_000}) == {"head_24k": "24k", "head_48k": "48k"}
    assert labels_of(HEADS) == {"head_24k": "24k", "upsample": "upsample", "residual": "residual"}
    assert head_of({"head_24k": 24_000, "head_48k": 48_000}, None, None) == "head_48k"


@pytest.mark.thorough
def test_every_form_of_export_keeps_both(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "exported"
    assert cli.run(["export", f"checkpoint={run}", f"output={output}", "formats=[multirate,fused]"]) == 0
    trained = load_codec(run)
    codes = trained.encode(speech_like(20_000), 24_000)
    for folder in (output, output / "fused"):
        opened = load_codec(folder)
        assert opened.heads == HEADS
        for head in HEADS:
            assert torch.equal(opened.decode(codes, head=head, seed=0), trained.decode(codes, head=head, seed=0))
    card = (output / "README.md").read_text()
    assert "head_24k (24000 Hz), upsample (48000 Hz), residual (48000 Hz)" in card
    assert 'codec.decode(codes, head="residual", seed=0)' in card


@pytest.mark.slow
def test_graphs_are_called_by_their_heads(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported under which name; that a graph computes what PyTorch computes is another test's."""
    graphs: dict[str, torch.nn.Module] = {}

    def keep(graph: torch.nn.Module, example: Any, path: Path, *names_and_shapes: Any) -> None:
        graphs[path.name] = graph
        path.write_bytes(b"a graph")

    def compute(path: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        inputs = {name: torch.from_numpy(value) for name, value in feed.items()}
        parts = [tuple(value for name, value in inputs.items() if name.startswith(kind)) for kind in ("codes", "noise")]
        found = graphs[path.name](*(parts if parts[0] else inputs.values()))
        return [item.numpy() for item in (found if isinstance(found, tuple) else (found,))]

    monkeypatch.setattr(onnx, "_require_packages", lambda: None)
    monkeypatch.setattr(onnx, "_export", keep)
    monkeypatch.setattr(onnx, "_run", torch.no_grad()(compute))
    output = tmp_path / "exported"
    assert cli.run(["export", f"checkpoint={run}", f"output={output}", "formats=[onnx]"]) == 0
    described = json.loads((output / "onnx" / "onnx.json").read_text())["graphs"]
    assert set(described) == {"encoder.onnx", "decoder_24k.onnx", "decoder_upsample.onnx", "decoder_residual.onnx"}
    assert set(described) == set(graphs)
    blocks = [item["sequence"] for item in described["decoder_residual.onnx"]["noise"].values()]
    assert not [name for name in blocks if name.startswith("heads.upsample")]


@pytest.mark.slow
def test_reconstruct_and_decode_write_both_by_name(run: Path, two: ReleasedCodec, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech_like(20_000), 24_000)
    output = tmp_path / "out"
    command = ["reconstruct", f"input={tmp_path / 'a.wav'}", f"checkpoint={run}", "picture=true"]
    assert cli.run([*command, f"output={output}"]) == 0
    assert {path.name for path in output.glob("*.wav")} == {"a_24k.wav", "a_upsample.wav", "a_residual.wav"}
    codes = two.encode(soundfile.read(tmp_path / "a.wav", dtype="float32")[0], 24_000)
    for head in ("upsample", "residual"):
        samples, rate = soundfile.read(output / f"a_{head}.wav", dtype="float32")
        assert rate == 48_000
        expected = two.decode(codes, head=head, seed=0)[0, 0].clamp(-1, 1)
        np.testing.assert_allclose(samples, expected, atol=1e-4)
    assert cli.run([*command, f"output={tmp_path / 'one'}", "output_heads=[residual]"]) == 0
    assert {path.name for path in (tmp_path / "one").glob("*.wav")} == {"a_residual.wav"}
    assert cli.run(["encode", f"input={tmp_path / 'a.wav'}", f"output={tmp_path / 'a.npz'}", f"checkpoint={run}"]) == 0
    decode = ["decode", f"input={tmp_path / 'a.npz'}", f"output={tmp_path / 'b.wav'}", f"checkpoint={run}"]
    with pytest.raises(ConfigError, match=r"one output, not upsample, residual; say which: output_heads=\[residual\]"):
        cli.run(decode)
    assert cli.run([*decode, "output_heads=[upsample]"]) == 0
    assert (tmp_path / "b.wav").read_bytes() == (output / "a_upsample.wav").read_bytes()


def test_each_has_a_player(two: ReleasedCodec) -> None:
    assert [player.label for player in players_of(two, None)] == ["tuned 24k", "tuned upsample", "tuned residual"]
