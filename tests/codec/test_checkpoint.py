import pickle

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from snac import SNAC
from torch import nn

from snac_exp.codec.checkpoint import config_of, fingerprint, load_codec, load_directory, save_snac
from snac_exp.codec.geometry import Geometry
from snac_exp.errors import CodecError
from snac_exp.system.files import read_json, write_json


@pytest.fixture
def directory(tmp_path, small):
    folder = tmp_path / "a codec, with 'odd' name=1"
    save_snac(small.model, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["real", "small", "stride_4", "plain", "attention"])
def test_a_saved_codec_loads_as_it_was_here_and_upstream(codecs, tmp_path, shape):
    codec = codecs(shape)
    save_snac(codec.model, tmp_path)
    loaded = load_directory("again", tmp_path)
    assert loaded.fingerprint == codec.fingerprint == fingerprint(SNAC.from_pretrained(str(tmp_path)))
    assert loaded.geometry == codec.geometry
    assert loaded.config == codec.config == read_json(tmp_path / "config.json")
    assert not loaded.model.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "pytorch_model.bin"]


def test_the_real_shape_has_the_published_size(real):
    sizes = [sum(p.numel() for p in part.parameters()) for part in (real.model, real.model.decoder)]
    assert sizes[0] == 19_842_914
    assert round(sizes[1] / 1e6, 2) == 13.01


def test_config_of_finds_noise_and_depthwise(codecs, shapes):
    for shape in shapes:
        assert config_of(codecs(shape).model).items() >= shapes[shape].items()


def test_loading_moves_no_random_numbers(directory):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_directory("x", directory)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_fingerprint_sees_every_tensor_and_nothing_else():
    layer = nn.BatchNorm1d(2)
    original = fingerprint(layer)
    assert original == fingerprint(nn.BatchNorm1d(2)) == fingerprint(layer.eval())
    layer.running_mean[1] = 1e-30
    assert fingerprint(layer) != original
    assert fingerprint(nn.BatchNorm1d(2).double()) != original
    renamed = nn.Sequential(nn.BatchNorm1d(2))
    assert fingerprint(renamed) != original


def test_the_path_stands_over_the_bundled_codec_and_the_hub(directory, small):
    assert load_codec("x", str(directory), "nobody/nothing", "demo_codec").fingerprint == small.fingerprint
    with pytest.raises(CodecError, match=r"codec\.path=DIR"):
        load_codec("x", None, None)
    with pytest.raises(CodecError, match=r"assets/no_such_codec/config\.json"):
        load_codec("x", None, None, "no_such_codec")


def test_missing_files_are_named(directory):
    (directory / "pytorch_model.bin").unlink()
    with pytest.raises(CodecError, match=r"there is no .*pytorch_model\.bin"):
        load_directory("x", directory)
    (directory / "config.json").unlink()
    with pytest.raises(CodecError, match=r"cannot read .*config\.json"):
        load_directory("x", directory)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_damaged_weights_are_named(directory, content):
    (directory / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CodecError, match=r"pytorch_model\.bin .*(damaged|plain dictionary)"):
        load_directory("x", directory)


def test_half_a_file_is_damaged(directory):
    path = directory / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CodecError, match=r"pytorch_model\.bin"):
        load_directory("x", directory)


class _RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (self.marker, "w"))


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_a_file_that_would_run_code_is_refused(directory, tmp_path, save):
    marker = tmp_path / "ran"
    save({"encoder": _RunsCode(str(marker))}, directory / "pytorch_model.bin")
    with pytest.raises(CodecError, match="would run code, which is refused"):
        load_directory("x", directory)
    assert not marker.exists()


@pytest.mark.slow
def test_weights_of_another_model_are_refused(directory, build_codec):
    config = read_json(directory / "config.json")
    write_json(directory / "config.json", config | {"codebook_size": 64})
    with pytest.raises(CodecError, match=r"pytorch_model\.bin does not fit the model that config\.json .*codebook"):
        load_directory("x", directory)
    write_json(directory / "config.json", config | {"noise": False})
    with pytest.raises(CodecError, match="does not fit"):
        load_directory("x", directory)
    write_json(directory / "config.json", config | {"wings": 2})
    with pytest.raises(CodecError, match=r"config\.json does not describe a SNAC model: .*wings"):
        load_directory("x", directory)
    write_json(directory / "config.json", config)
    for other in ([1, 2], {0: torch.zeros(1)}, {"encoder": torch.zeros(2).to_sparse()}):
        torch.save(other, directory / "pytorch_model.bin")
        with pytest.raises(CodecError, match="must be a dictionary of tensors"):
            load_directory("x", directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebook_size": 10**15}, "does not fit the model"),  # 32 petabytes, if anybody took them
        ({"encoder_rates": [1] * 40, "decoder_rates": [1] * 40}, "encoder_rates has more than 32 numbers"),
        ({"encoder_dim": 10**30}, "does not describe a SNAC model"),
        ({"vq_strides": 7}, "does not describe a SNAC model"),
    ],
)
def test_a_config_that_asks_for_too_much_takes_no_memory(directory, change, message):
    write_json(directory / "config.json", read_json(directory / "config.json") | change)
    with pytest.raises(CodecError, match=message):
        load_directory("x", directory)


def test_weights_that_repeat_one_number_for_ever_are_refused(directory):
    path = directory / "pytorch_model.bin"
    weights = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in torch.load(path).items()}
    torch.save(weights, path)
    with pytest.raises(CodecError, match=r"pytorch_model\.bin holds [\d,]+ bytes but tensors of [\d,]+"):
        load_directory("x", directory)


def test_a_saved_codec_has_the_same_bytes_every_time(directory, small, tmp_path):
    save_snac(small.model, tmp_path / "again")
    for name in ("config.json", "pytorch_model.bin"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()


def _no_network(**arguments):
    raise LocalEntryNotFoundError("not in the cache")


def test_a_missing_hub_is_one_line_with_both_ways_out(monkeypatch):
    def no_network(*args, **kwargs):
        raise ConnectionError("Name or service not known\nand a long story")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", _no_network)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", no_network)
    with pytest.raises(CodecError) as caught:
        load_codec("snac_24khz", None, "hubertsiuzdak/snac_24khz")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("hubertsiuzdak/snac_24khz", "Name or service not known", "hf download", "codec.path=DIR", "HF_HOME"):
        assert part in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_hub_gives_what_a_directory_gives(monkeypatch, directory, small):
    asked = []

    def download(repo_id, filename, local_files_only=False):
        asked.append((repo_id, filename, local_files_only))
        return str(directory / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    codec = load_codec("x", None, "owner/name")
    assert codec.fingerprint == small.fingerprint
    assert codec.geometry == Geometry(24000, 512, (4, 2, 1))
    assert asked == [("owner/name", "pytorch_model.bin", True), ("owner/name", "config.json", True)]
