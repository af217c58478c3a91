"""The start of a recipe: put the wide heads where `init.name` says, and prove that every head starts as promised."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from snac.layers import Decoder
from torch import Tensor, nn

from snac_exp.codec import init
from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.effective import effective_weights
from snac_exp.codec.heads import Head, ResidualHead
from snac_exp.codec.interpolation import interpolate2x
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.seeding import derive_seed
from snac_exp.errors import ConfigError, PreflightError

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_NUM_STEPS = 2  # smallest slices the decoder takes are enough: every layer acts on every frame alike
_TOLERANCE = 1e-6  # of the largest weight: storing gain and direction apart rounds


def initialise(model: MultiRateSnac, codec: LoadedCodec, init_name: str, seed: int) -> None:
    """Start every wide head as the function `init_name` of `snac_exp.codec.init` says; draws depend on `seed` alone."""
    for name in _wide_heads(model):
        _start_head(model.head(name), codec, init_name, derive_seed(seed, f"init/{name}"))


@torch.no_grad()
def start_promise(model: MultiRateSnac, codec: LoadedCodec, init_name: str, seed: int) -> list[str]:
    """Prove on the CPU that an untrained model starts where the recipe says; `seed` as given to `initialise`.

    Returns:
        One line per fact proved.

    Raises:
        PreflightError: the native head is not bit-equal to upstream's decode, the wide head's effective weights are not
            those of `init_name`, or a residual head does not start as the interpolated native output.
    """
    model, reference = _on_cpu(model), _on_cpu(codec.model)
    codes = _random_codes(model)
    facts = []
    if model.native_name is not None:
        facts.append(_native_is_upstream(model, reference.decode, codes, model.native_name))
    for name in _wide_heads(model):
        scratch = copy.deepcopy(model.head(name))
        promised = _start_head(scratch, codec, init_name, derive_seed(seed, f"init/{name}"))
        facts.append(_weights_are_promised(model, promised, name, init_name))
        if isinstance(model.head(name), ResidualHead):
            facts.append(_residual_is_interpolation(model, codes, name))
    return facts


def _start_head(head: Head, codec: LoadedCodec, init_name: str, seed: int) -> dict[str, Tensor]:
    """Start one head; gives the effective weights that it was told to have."""
    function: Callable[[Head, Decoder], dict[str, Tensor]] | None = getattr(init, init_name, None)
    if function is None:
        raise ConfigError(f"init.name={init_name} is no function of snac_exp.codec.init; see conf/init/")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return function(head, codec.model.decoder)


def _native_is_upstream(
    model: MultiRateSnac, decode: Callable[[list[Tensor]], Tensor], codes: list[Tensor], name: str
) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # noise blocks draw at every decode
        expected = decode(codes)
        torch.manual_seed(0)
        waveform = model.decode(codes, {name})[name]
    if not torch.equal(waveform, expected):
        difference = (waveform - expected).abs().max().item()
        raise PreflightError(
            f"{name} does not start as the pretrained decoder: outputs differ by up to {difference:.2e}; "
            "the model was not built from this codec, or was trained already"
        )
    return f"{name} equals the pretrained decoder bit for bit"


def _weights_are_promised(model: MultiRateSnac, promised: dict[str, Tensor], name: str, init_name: str) -> str:
    actual = effective_weights(model.head(name))
    for key, value in promised.items():
        difference = (actual[key].cpu() - value.cpu()).abs().max().item()
        if not difference <= _TOLERANCE * value.abs().max().item():  # a NaN is no promise kept either
            raise PreflightError(
                f"heads.{name}.{key} does not start as init={init_name} promises: effective weights differ by up to "
                f"{difference:.2e}; the head was trained already, or something else set it"
            )
    return f"{name} starts with the effective weights of init={init_name}"


def _residual_is_interpolation(model: MultiRateSnac, codes: list[Tensor], name: str) -> str:
    with torch.random.fork_rng(devices=[]):
        waveforms = model.decode(codes)
    native = waveforms[str(model.native_name)]
    if not torch.equal(waveforms[name], interpolate2x(native)):
        raise PreflightError(
            f"{name} does not start as the interpolated {model.native_name}; its last layer is not zero"
        )
    return f"{name} starts as the interpolated {model.native_name}"


def _random_codes(model: MultiRateSnac) -> list[Tensor]:
    geometry = model.geometry
    generator = torch.Generator().manual_seed(0)
    num_coarse = _NUM_STEPS * geometry.coarse_step
    size = int(model.quantizer.codebook_size)
    lengths = [geometry.codebook_length(i, num_coarse) for i in range(geometry.num_codebooks)]
    return [torch.randint(size, (2, length), generator=generator) for length in lengths]


def _wide_heads(model: MultiRateSnac) -> list[str]:
    return [name for name in model.heads if model.head(name).multiple > 1]


def _on_cpu(module: ModuleT) -> ModuleT:
    """The module itself, or a copy where it lies on another device, whose kernels may round differently."""
    on_cpu = all(tensor.device.type == "cpu" for tensor in module.state_dict().values())
    return module if on_cpu else copy.deepcopy(module).cpu()
