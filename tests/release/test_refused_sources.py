"""What load_codec refuses: by name, without running or overwriting anything."""

import json
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from snac_exp.checkpoints.file import write_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.codec.checkpoint import save_snac
from snac_exp.errors import CheckpointError, CodecError
from snac_exp.release.loading import load_codec
from snac_exp.system.files import read_json, write_json
from tests.release.conftest import checkpoint_of, random_codec, random_model


class Bomb:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_places_with_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no .*nowhere"):
        load_codec(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds no codec"):
        load_codec(tmp_path)
    with pytest.raises(CheckpointError, match="an empty path is no codec"):
        load_codec("")
    with pytest.raises(CheckpointError, match="there is no xxx"):
        load_codec("x" * 5_000)
    for source in (None, 5, b"x"):
        with pytest.raises(CheckpointError, match="is no path or hub id"):
            load_codec(source)  # type: ignore[arg-type]
    (tmp_path / "text.pt").write_text("root:x:0:0:root:/root:/bin/bash\n" * 20)
    with pytest.raises(CheckpointError, match=r"text\.pt is no checkpoint of tensors .*: it is a file of text"):
        load_codec(tmp_path / "text.pt")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match=r"no best_model\.pt yet"):
        load_codec(tmp_path)


@pytest.mark.slow
def test_pickles_with_code_are_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "made by the file"
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickle.dumps(Bomb(victim)))
    zipped = tmp_path / "zipped.pt"
    torch.save(checkpoint_of(random_model()).to_payload() | {"state": Bomb(victim)}, zipped)
    upstream = tmp_path / "upstream"
    save_snac(random_codec().model, upstream)
    torch.save({"encoder": Bomb(victim)}, upstream / "pytorch_model.bin")
    for source in (bare, zipped):
        with pytest.raises(CheckpointError, match="is no checkpoint of"):
            load_codec(source)
    with pytest.raises(CodecError, match="would run code, which is refused"):
        load_codec(upstream)
    assert not victim.exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "builtins.exec", "tests.release.victim.Head"])
def test_heads_from_elsewhere_are_not_imported(target: str, tmp_path: Path) -> None:
    saved = checkpoint_of(random_model())
    saved.config["heads"] = {"head_24k": {"_target_": target, "args": "touch /tmp/x"}}
    write_checkpoint(tmp_path / "model.pt", saved)
    with pytest.raises(CheckpointError, match=f"wants to run {target}"):
        load_codec(tmp_path / "model.pt")
    assert "tests.release.victim" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize("target", ["snac_exp.codec.checkpoint.load_directory", "snac_exp.codec.nothing.Head"])
def test_our_own_functions_are_no_heads(target: str, tmp_path: Path) -> None:
    saved = checkpoint_of(random_model())
    saved.config["heads"] = {"head_24k": {"_target_": target}}
    write_checkpoint(tmp_path / "model.pt", saved)
    with pytest.raises(CheckpointError, match="describes no model that can be built"):
        load_codec(tmp_path / "model.pt")


def broken(change: str) -> Checkpoint:
    saved = checkpoint_of(random_model())
    model, config = saved.model, saved.provenance["config"]
    name = next(name for name in model if name.startswith("trunk."))
    if change == "missing":
        del model[name]
    elif change == "shape":
        model[name] = torch.zeros(3)
    elif change == "nan":
        model[name] = torch.full_like(model[name], torch.nan)
    elif change in ("int64", "complex64", "bool"):
        model[name] = model[name].to(getattr(torch, change))
    elif change == "meta":
        model[name] = model[name].to("meta")
    elif change == "extra":
        model["trunk.99.weight"] = torch.zeros(1)
    elif change == "huge":
        config["decoder_dim"] = 2**22
    elif change == "word":
        config["encoder_dim"] = "48; rm -rf /"
    elif change == "unknown":
        config["callback"] = 1
    elif change == "no model":
        saved.model.clear()
    elif change == "no heads":
        saved.config["heads"] = {}
    return saved


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "lacks weights"),
        ("shape", "has shape"),
        ("nan", "holds NaN or infinity"),
        ("int64", r"is a torch\.strided tensor of torch\.int64 on cpu, no weights"),
        ("complex64", r"tensor of torch\.complex64 on cpu, no weights"),
        ("bool", r"tensor of torch\.bool on cpu, no weights"),
        ("meta", "on meta, no weights"),
        ("extra", r"also holds.*trunk\.99\.weight"),
        ("huge", "has shape"),
        ("word", "'encoder_dim' of the codec's config"),
        ("unknown", "'callback' of the codec's config"),
        ("no model", "lacks weights"),
        ("no heads", "lacks the codec's config or the heads"),
    ],
)
def test_malformed_checkpoints(change: str, message: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model.pt", broken(change))
    with pytest.raises(CheckpointError, match=message):
        load_codec(tmp_path / "model.pt")


def unlisted(exported_folder: Path) -> dict[str, Any]:
    """snac_exp.json as another writes it, without checksums, so that a file is judged by its content."""
    description: dict[str, Any] = read_json(exported_folder / "snac_exp.json")
    return description | {"files": {}}


@pytest.mark.slow
def test_damaged_files(checkpoint: Path, exported_folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:20_000])
    with pytest.raises(CheckpointError, match=r"cut\.pt is no checkpoint"):
        load_codec(cut)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_json(folder / "snac_exp.json", unlisted(exported_folder))
    (folder / "model.safetensors").write_bytes((exported_folder / "model.safetensors").read_bytes()[:5_000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_codec(folder)
    for data in (b"\xff" * 64, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 99_999_999) + b"{}", b""):
        (folder / "model.safetensors").write_bytes(data)  # headers of 2**64 - 1 bytes and less, that are not there
        with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
            load_codec(folder)
    description = unlisted(exported_folder)
    for change, message in (
        ({"version": 9}, "has version 9"),
        ({"format": "x"}, "not written by"),
        ({"heads": 1}, "lacks"),
    ):
        (folder / "snac_exp.json").write_text(json.dumps(description | change))
        with pytest.raises(CheckpointError, match=message):
            load_codec(folder)
    for text in ("{", "[" * 100_000):
        (folder / "snac_exp.json").write_text(text)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_codec(folder)


@pytest.mark.slow
def test_upstreams_layout_with_weights_that_are_no_numbers(tmp_path: Path) -> None:
    model = random_codec().model
    next(iter(model.parameters())).data.fill_(torch.nan)
    save_snac(model, tmp_path)
    with pytest.raises(CheckpointError, match="holds NaN or infinity"):
        load_codec(tmp_path)


def test_weights_that_do_not_fit_their_description(exported_folder: Path, tmp_path: Path) -> None:
    weights = load_file(exported_folder / "model.safetensors")
    save_file(dict(list(weights.items())[1:]), tmp_path / "model.safetensors")
    write_json(tmp_path / "snac_exp.json", unlisted(exported_folder))
    with pytest.raises(CheckpointError, match="lacks weights"):
        load_codec(tmp_path)
