"""Exported folders: upstream's package loads them, every form gives the same samples, the card says it all."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from snac import SNAC

from snac_exp import cli
from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.export import formats
from snac_exp.release.loading import load_codec, open_model
from snac_exp.release.streaming.positioned_noise import noise_sequence
from tests.docs.pages import quoted_output, text_of
from tests.helpers import markdown
from tests.helpers.killed import killed_at
from tests.helpers.variants import thorough
from tests.helpers.warm import COLD
from tests.release.conftest import checkpoint_of, random_model, speech_like


@pytest.fixture(scope="module")
def exported(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "a codec, 'tuned'"
    assert cli.run(["export", f"checkpoint={run_dir}", f"output={folder}"]) == 0
    return folder


def tokens_of(codec: ReleasedCodec, num_coarse: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(64, (2, num_coarse * num), generator=generator) for num in (1, 2, 4)]


@pytest.mark.slow
def test_the_package_snac_decodes_the_same_samples(exported: Path, checkpoint: Path, tmp_path: Path) -> None:
    """In a process that has nothing of ours: SNAC.from_pretrained(DIR), same seed, same samples."""
    model = open_model(checkpoint).model
    codes = tokens_of(load_codec(checkpoint))
    torch.save(codes, tmp_path / "codes.pt")
    program = (
        "import sys, torch\nfrom snac import SNAC\n"
        "model = SNAC.from_pretrained(sys.argv[1])\ncodes = torch.load(sys.argv[2])\ntorch.manual_seed(5)\n"
        "with torch.no_grad(): torch.save(model.decode(codes), sys.argv[3])\n"
        "assert not any(name.startswith('snac_exp') for name in sys.modules)\n"
    )
    arguments = [str(exported), str(tmp_path / "codes.pt"), str(tmp_path / "audio.pt")]
    threads = f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"
    subprocess.run([COLD, "-c", threads + program, *arguments], check=True)
    torch.manual_seed(5)
    expected = model.decode(codes, ["head_24k"])["head_24k"]
    found = torch.load(tmp_path / "audio.pt")
    assert (found - expected).abs().max().item() <= 1e-6
    assert expected.abs().max().item() > 0.01


@pytest.mark.slow
def test_upstream_model_has_trained_weights_bit_for_bit(exported: Path, checkpoint: Path) -> None:
    model, reference = open_model(checkpoint).model, SNAC.from_pretrained(str(exported))
    codes = tokens_of(load_codec(checkpoint))
    with torch.no_grad():
        torch.manual_seed(1)
        expected = model.decode(codes, ["head_24k"])["head_24k"]
        torch.manual_seed(1)
        assert torch.equal(reference.decode(codes), expected)
    assert sum(item.numel() for item in reference.parameters()) < sum(item.numel() for item in model.parameters())


@pytest.mark.slow
def test_every_form_is_the_same_codec(exported: Path, codec: ReleasedCodec) -> None:
    codes = tokens_of(codec)
    for folder in (exported, exported / "fused"):
        again = load_codec(folder)
        for rate in (24_000, 48_000):
            assert torch.equal(again.decode(codes, rate, seed=3), codec.decode(codes, rate, seed=3))


@pytest.mark.slow
def test_fused_form_has_no_weight_norm_and_exports_no_further(exported: Path, tmp_path: Path) -> None:
    names = list(open_model(exported / "fused").model.state_dict())
    assert not any("parametrizations" in name for name in names)
    with pytest.raises(CheckpointError, match="its weights are folded"):
        cli.run(["export", f"checkpoint={exported / 'fused'}", f"output={tmp_path / 'again'}"])
    assert list(tmp_path.iterdir()) == []  # nothing half done is left
    assert cli.run(["export", f"checkpoint={exported / 'fused'}", f"output={tmp_path / 'f'}", "formats=[fused]"]) == 0


def test_the_card(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert (front["license"], front["library_name"]) == ("other", "snac_exp")
    assert "| head_48k | 0.04000 | 6.50 |  |" in card
    assert "12 whole validation utterances" in card
    assert "/home/someone" not in card
    assert "somewhere" not in card  # the host it was trained on
    assert "snac_exp.codec.heads.UpsampleHead" in card
    assert "optimiser steps | 120" in card
    assert "SNAC.from_pretrained(\"a codec, 'tuned'\")" in card


@pytest.mark.slow
def test_names_in_a_checkpoint_cannot_break_the_card(tmp_path: Path) -> None:
    saved = checkpoint_of(random_model())
    evil = "x\n---\n<script>alert(1)</script> | [a](http://evil)"
    saved.provenance["name"] = evil
    saved.config.update({"name": "{{ 7 * 7 }} `", "task": {"note": f"a\n```\n{evil}"}})
    write_checkpoint(tmp_path / "model.pt", saved)
    assert (
        cli.run(["export", f"checkpoint={tmp_path / 'model.pt'}", f"output={tmp_path / 'out'}", "formats=[fused]"]) == 0
    )
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    text = card.partition("\n---\n")[2]
    assert markdown.links(text) == []
    assert markdown.acted_on(text) <= {"code_inline"}
    assert [kind for kind, _ in markdown.blocks(text) if kind != "inline"] == ["fence"] * 3
    assert markdown.blocks(text)[0][1].startswith("x --- <script>alert(1)</script> | [a](http://evil), ")
    assert "recipe {{ 7 * 7 }} ` of" in markdown.blocks(text)[1][1]  # text, not a template
    assert "<script>" not in text.partition("## Recipe")[0]
    assert card.count("\n---\n") == 1


@pytest.mark.slow
def test_a_model_without_native_output_has_no_upstream_layout(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model.pt", checkpoint_of(random_model("small", "wideband"), "small", "wideband"))
    command = ["export", f"checkpoint={tmp_path / 'model.pt'}", f"output={tmp_path / 'out'}"]
    with pytest.raises(CheckpointError, match=r"nothing in upstream's layout; leave snac out of formats"):
        cli.run(command)
    assert cli.run([*command, "formats=[multirate]"]) == 0


@pytest.mark.slow
def test_other_folders_and_wrong_forms_are_refused(run_dir: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        cli.run(["export", f"checkpoint={run_dir}", f"output={tmp_path}"])
    with pytest.raises(ConfigError, match="holds something else"):
        cli.run(["export", f"checkpoint={run_dir}", f"output={exported}", "licence=mit"])
    with pytest.raises(ConfigError, match=r"formats: tflite is no form of export; choose one of: snac"):
        cli.run(["export", f"checkpoint={run_dir}", f"output={tmp_path / 'x'}", "formats=[tflite]"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_nothing_that_opens(run_dir: Path, exported: Path, tmp_path: Path) -> None:
    """Killed when the forms are written and the card is not; the next export clears away what is left."""
    output = tmp_path / "a codec, 'tuned'"
    command = ["export", f"checkpoint={run_dir}", f"output={output}"]
    killed_at("os.rename", f"{tmp_path}/*/README.md", command)
    assert len(list(tmp_path.iterdir())) == 1  # the hidden folder
    with pytest.raises(CheckpointError, match="there is no"):
        load_codec(output)
    assert cli.run(command) == 0
    assert list(tmp_path.iterdir()) == [output]
    files = [path.relative_to(exported) for path in exported.rglob("*") if path.is_file()]
    assert {"pytorch_model.bin", "export.json"} <= {str(file) for file in files}
    assert all((output / file).read_bytes() == (exported / file).read_bytes() for file in files)


FORMS, PARTS = ("snac", "multirate", "fused"), ("encoder", "quantizer", "trunk", "native head")
ONCE = [("snac", "encoder"), ("multirate", "quantizer"), ("fused", "trunk"), ("snac", "native head")]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "part"), [*ONCE, *thorough(*sorted({*product(FORMS, PARTS)} - {*ONCE}))])
def test_an_export_of_other_weights_is_refused(
    form: str, part: str, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is opened and compared with the model that it came from, not with itself."""

    def altered(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        places = {
            "encoder": ("encoder.block.1.",),
            "quantizer": ("quantizer.quantizers.1.out_proj.",),
            "trunk": ("trunk.0.", "decoder.model.0."),
            "native head": ("heads.head_24k.conv", f"decoder.model.{len(random_model().trunk) + 1}."),
        }
        name = next(name for name in weights if name.startswith(places[part]) and name.endswith("bias"))
        return weights | {name: weights[name] + 1e-3}

    save_file, save = formats.save_file, torch.save
    monkeypatch.setattr(formats, "save_file", lambda weights, *rest, **more: save_file(altered(weights), *rest, **more))
    monkeypatch.setattr(torch, "save", lambda weights, *rest: save(altered(weights), *rest))
    output = tmp_path / "out"
    with pytest.raises(CheckpointError, match=r"does not (en|de)code as the model does"):
        cli.run(["export", f"checkpoint={run_dir}", f"output={output}", f"formats=[{form}]"])
    assert not list(output.glob("**/*.safetensors")) + list(output.glob("**/*.bin"))


@pytest.mark.thorough
@pytest.mark.parametrize("shape", ["shallow", "attention"])
def test_onnx_graphs_compute_what_the_codec_computes(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run as a stranger would: onnxruntime, the files, onnx.json; noise from our sequences, other length and batch."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs the extra [onnx]: pip install -e '.[onnx]'")
    import onnxruntime

    write_checkpoint(tmp_path / "model.pt", checkpoint_of(random_model(shape), shape))
    output, codec = tmp_path / "out", load_codec(tmp_path / "model.pt")
    assert cli.run(["export", f"checkpoint={tmp_path / 'model.pt'}", f"output={output}", "formats=[onnx]"]) == 0
    printed, quoted = capsys.readouterr().out, [line for line in quoted_output(text_of("release")) if "onnx" in line]
    assert len(quoted) == 3
    assert all(re.search(line, printed) for line in quoted)
    facts = json.loads((output / "onnx" / "onnx.json").read_text())
    audio = speech_like(11 * facts["samples_per_step"])
    encoder = onnxruntime.InferenceSession(output / "onnx" / "encoder.onnx")
    codes = encoder.run(None, {"audio": audio[None, None]})
    expected = codec.encode(audio, 24_000)
    assert np.mean([np.mean(a == b.numpy()) for a, b in zip(codes, expected.tokens, strict=True)]) >= 0.99
    num_frames = expected.tokens[-1].shape[1]
    for rate, label in ((24_000, "24k"), (48_000, "48k")):
        graph = facts["graphs"][f"decoder_{label}.onnx"]
        feed = {f"codes_{i}": tokens.numpy() for i, tokens in enumerate(expected.tokens)}
        for name, block in graph["noise"].items():
            feed[name] = noise_sequence(9, block["sequence"], 0, num_frames * block["samples_per_frame"])[None, None]
        decoder = onnxruntime.InferenceSession(output / "onnx" / f"decoder_{label}.onnx")
        difference = np.abs(decoder.run(None, feed)[0] - codec.decode(expected, rate, seed=9).numpy()).max()
        assert difference <= 1e-4
        assert graph["max_difference"] <= 1e-4


@pytest.mark.slow
def test_onnx_without_its_packages(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'snac_exp\[onnx\]'"):
        cli.run(["export", f"checkpoint={run_dir}", f"output={tmp_path / 'o'}", "formats=[onnx]"])
