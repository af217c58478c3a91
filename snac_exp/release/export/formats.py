"""The forms in which a model leaves: upstream's layout, the multi-rate model, its inference form, ONNX graphs.

Each form is opened again after it was written and must decode to the samples of the model that went in.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from snac import SNAC
from torch import Tensor, nn

from snac_exp.codec.checkpoint import save_snac
from snac_exp.codec.files.weights import SAFETENSORS_FILE
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.errors import CheckpointError
from snac_exp.release.adversary import ADVERSARY_FILE, SavedAdversary
from snac_exp.release.blueprint import Blueprint, restore
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.export.onnx import export_onnx
from snac_exp.release.folding import fold
from snac_exp.release.loading import Opened, describe_folder, exported_adversary, open_model
from snac_exp.system.checksums.listed_files import DESCRIPTION_FILE
from snac_exp.system.files import atomic_path, sha256_of_file, write_signed_json

FUSED_DIR = "fused"
ONNX_DIR = "onnx"

_CHECK_STEPS = 3  # of the latent, in whole steps


def write_snac(opened: Opened, directory: Path) -> str:
    """config.json and pytorch_model.bin, which `snac.SNAC.from_pretrained` loads: the output at the codec's own rate.

    Raises:
        CheckpointError: the model has no such output, or its weights are folded.
    """
    _require_unfolded(opened)
    model = opened.model
    if model.native_name is None:
        raise CheckpointError(
            f"{opened.source} has no output at the codec's own rate, so there is nothing in upstream's layout; "
            "leave snac out of formats"
        )
    save_snac(as_snac(model, opened.blueprint), directory)
    # With upstream's own loader, not with ours: that is who will read it.
    loaded = SNAC.from_pretrained(str(directory))
    _require_equal(model, model.native_name, loaded.decode, "upstream's layout")
    _require_equal_codes(model, loaded, "upstream's layout")
    return "config.json, pytorch_model.bin: snac.SNAC.from_pretrained decodes to the same samples, bit for bit"


def write_multirate(opened: Opened, directory: Path) -> str:
    """snac_exp.json and model.safetensors: all outputs, weight norm as in training, so it can be trained on."""
    _require_unfolded(opened)
    _write(opened.model, opened.blueprint, directory, folded=False, adversary=opened.adversary)
    _check_again(opened, directory)
    described = f"{DESCRIPTION_FILE}, {SAFETENSORS_FILE}: load_codec gives the same samples, bit for bit"
    if opened.adversary is None:
        return described
    opened.adversary.require_equal(exported_adversary(directory), str(directory))
    return f"{described}\n{ADVERSARY_FILE}: the discriminators, which a run takes up by init_from"


def write_fused(opened: Opened, directory: Path) -> str:
    """The same in inference form below fused/: weight norm folded, nothing left to compute but the signal."""
    model = opened.model
    if not opened.folded:
        # On a restored copy: folding works in place, and the opened model is written in other formats after this one.
        model = fold(restore(opened.blueprint, opened.model.state_dict(), opened.source))
    _write(model, opened.blueprint, directory / FUSED_DIR, folded=True)
    _check_again(opened, directory / FUSED_DIR)
    return f"{FUSED_DIR}/: the inference form, the same samples, bit for bit"


def write_onnx(opened: Opened, directory: Path) -> str:
    """Graphs of encoder and decoders below onnx/; see `snac_exp.release.export.onnx`."""
    model = restore(opened.blueprint, opened.model.state_dict(), opened.source, folded=opened.folded)
    lines = export_onnx(ReleasedCodec(model, opened.blueprint), directory / ONNX_DIR)
    return "\n".join(f"{ONNX_DIR}/{line}" for line in lines)


FORMATS: dict[str, Callable[[Opened, Path], str]] = {
    "snac": write_snac,
    "multirate": write_multirate,
    "fused": write_fused,
    "onnx": write_onnx,
}
"""Name in `formats` -> what writes it and says what it proved."""


def as_snac(model: MultiRateSnac, blueprint: Blueprint) -> SNAC:
    """Upstream's model with encoder, quantizer, trunk and native head of ours."""
    # Building draws random weights, which are all overwritten; the caller's generator must not move.
    with torch.random.fork_rng(devices=[]):
        snac = SNAC(**blueprint.codec)
    # Upstream's decoder is one Sequential: trunk, then Snake, convolution and tanh of the native head.
    snake, conv = len(model.trunk), len(model.trunk) + 1
    native = model.heads[str(model.native_name)].state_dict()
    weights = {f"encoder.{name}": tensor for name, tensor in model.encoder.state_dict().items()}
    weights |= {f"quantizer.{name}": tensor for name, tensor in model.quantizer.state_dict().items()}
    weights |= {f"decoder.model.{name}": tensor for name, tensor in model.trunk.state_dict().items()}
    for name, tensor in native.items():
        part, _, rest = name.partition(".")
        weights[f"decoder.model.{ {'snake': snake, 'conv': conv}[part] }.{rest}"] = tensor
    snac.load_state_dict(weights)
    return snac.eval()


def _write(
    model: nn.Module,
    blueprint: Blueprint,
    directory: Path,
    *,
    folded: bool,
    adversary: SavedAdversary | None = None,
) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # safetensors takes only contiguous tensors.
    with atomic_path(directory / SAFETENSORS_FILE) as temporary:
        save_file(weights, temporary, metadata={"format": "pt"})  # the framework, as other readers expect
    if adversary is not None:
        adversary.write(directory)
    # The description last: a folder without it is not taken for an exported one.
    names = (SAFETENSORS_FILE, *([] if adversary is None else [ADVERSARY_FILE]))
    files = {name: sha256_of_file(directory / name) for name in names}
    settings = None if adversary is None else adversary.settings
    described = describe_folder(blueprint, folded=folded, files=files, adversary=settings)
    write_signed_json(directory / DESCRIPTION_FILE, described)


def _check_again(opened: Opened, directory: Path) -> None:
    """Open what was written, decode and encode with it."""
    again = open_model(directory, opened.blueprint.allowed_heads).model
    for name in opened.model.rates:
        _require_equal(opened.model, name, partial(_decode_one, again, name), str(directory))
    _require_equal_codes(opened.model, again, str(directory))


def _decode_one(model: MultiRateSnac, head: str, codes: list[Tensor]) -> Tensor:
    """codes[i] (1, T_i) -> waveform (1, 1, N) of one head."""
    return model.decode(codes, [head])[head]


@torch.no_grad()
def _require_equal(model: MultiRateSnac, head: str, decode: Callable[[list[Tensor]], Tensor], what: str) -> None:
    """Both must give the same samples (1, 1, N) from the same state of torch's generator."""
    codes = _random_codes(model)
    with torch.random.fork_rng(devices=[]):
        # The noise blocks draw from the global generator, in the order of the layers: one seed, one noise.
        torch.manual_seed(0)
        expected = model.decode(codes, [head])[head]
        torch.manual_seed(0)
        found = decode(codes)
    # Equal, not close: it is the same weights in the same operations, so any difference is a wrong weight.
    if not torch.equal(expected, found):
        difference = (expected - found).abs().max().item()
        raise CheckpointError(f"{what} does not decode as the model does: {head} differs by {difference:.1e}")


@torch.no_grad()
def _require_equal_codes(model: MultiRateSnac, found: MultiRateSnac | SNAC, what: str) -> None:
    """Both encoders must give the same latent (1, C, T) of noise (1, 1, N), and both quantizers the same of it."""
    geometry = model.geometry
    num_samples = _CHECK_STEPS * geometry.coarse_step * geometry.coarse_hop
    audio = 0.1 * torch.randn(1, 1, num_samples, generator=torch.Generator().manual_seed(0))
    # Latents rather than codes: a slightly wrong weight moves every number of a latent and perhaps no code.
    latent = model.encoder(audio)
    quantized, codes = model.quantizer(latent)
    others = (found.encoder(audio), *found.quantizer(latent))
    same = torch.equal(latent, others[0]) and torch.equal(quantized, others[1])
    if not same or not all(map(torch.equal, codes, others[2])):
        raise CheckpointError(f"{what} does not encode as the model does")


def _random_codes(model: MultiRateSnac) -> list[Tensor]:
    """codes[i] (1, T_i) int64."""
    geometry, generator = model.geometry, torch.Generator().manual_seed(0)
    num_coarse = _CHECK_STEPS * geometry.coarse_step
    size = int(model.quantizer.codebook_size)
    lengths = [geometry.codebook_length(i, num_coarse) for i in range(geometry.num_codebooks)]
    return [torch.randint(size, (1, length), generator=generator) for length in lengths]


def _require_unfolded(opened: Opened) -> None:
    if opened.folded:
        raise CheckpointError(
            f"{opened.source} is an inference form: its weights are folded; export from the checkpoint or the folder "
            "above it, or with formats=[fused]"
        )
