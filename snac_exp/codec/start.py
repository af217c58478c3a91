"""The start of a recipe: every head initialises itself as `init.name` says and proves that it starts as promised."""

import copy
from typing import TypeVar

import torch
from snac import SNAC
from torch import Tensor, nn

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.effective import effective_weights
from snac_exp.codec.heads import Head
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.seeding import derive_seed
from snac_exp.errors import PreflightError

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_NUM_STEPS = 2  # smallest slices the decoder takes are enough: every layer acts on every frame alike
_TOLERANCE = 1e-6  # of the largest weight: storing gain and direction apart rounds


def initialise(model: MultiRateSnac, codec: LoadedCodec, init_name: str, seed: int) -> None:
    """Let every head start as `init_name` says, see `Head.initialise`; draws depend on `seed` and its name alone."""
    for name in model.heads:
        _initialised(model.head(name), name, codec, init_name, seed)


@torch.no_grad()
def start_promise(model: MultiRateSnac, codec: LoadedCodec, init_name: str, seed: int) -> list[str]:
    """Prove on the CPU that an untrained model starts where the recipe says; `seed` as given to `initialise`.

    Returns:
        One line per promise proved.

    Raises:
        PreflightError: a head's effective weights are not those of `init_name`, or its output is not what it promises,
            see `Head.prove_start`.
    """
    model, reference = _on_cpu(model), _on_cpu(codec.model)
    lines = _outputs_are_promised(model, reference)
    for name in model.heads:
        promised = _initialised(copy.deepcopy(model.head(name)), name, codec, init_name, seed)
        if promised:
            lines.append(_weights_are_promised(model, promised, name, init_name))
    return lines


def _initialised(head: Head, name: str, codec: LoadedCodec, init_name: str, seed: int) -> dict[str, Tensor]:
    """Start one head; gives the effective weights that it was told to have, by dotted name, in the layers' shapes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, f"init/{name}"))
        return head.initialise(codec.model.decoder, init_name)


def _weights_are_promised(model: MultiRateSnac, promised: dict[str, Tensor], name: str, init_name: str) -> str:
    """The line that a head has the effective weights (tensors by dotted name, of any shape) that it was promised."""
    actual = effective_weights(model.head(name))
    for key, value in promised.items():
        difference = (actual[key].cpu() - value.cpu()).abs().max().item()
        if not difference <= _TOLERANCE * value.abs().max().item():  # a NaN is no promise kept either
            raise PreflightError(
                f"heads.{name}.{key} does not start as init={init_name} promises: effective weights differ by up to "
                f"{difference:.2e}; the head was trained already, or something else set it"
            )
    return f"{name} starts with the effective weights of init={init_name}"


def _outputs_are_promised(model: MultiRateSnac, reference: SNAC) -> list[str]:
    """What the heads themselves prove of their outputs for random codes."""
    codes = _random_codes(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # noise blocks draw at every decode
        pretrained = reference.decode(codes)
        torch.manual_seed(0)
        waveforms = model.decode(codes)
    native = None if model.native_name is None else waveforms[model.native_name]
    lines = (model.head(name).prove_start(name, item, native, pretrained) for name, item in waveforms.items())
    return [line for proved in lines for line in proved]


def _random_codes(model: MultiRateSnac) -> list[Tensor]:
    """Codes[i] (2, T_i), the same at every call."""
    geometry = model.geometry
    generator = torch.Generator().manual_seed(0)
    num_coarse = _NUM_STEPS * geometry.coarse_step
    size = int(model.quantizer.codebook_size)
    lengths = [geometry.codebook_length(i, num_coarse) for i in range(geometry.num_codebooks)]
    return [torch.randint(size, (2, length), generator=generator) for length in lengths]


def _on_cpu(module: ModuleT) -> ModuleT:
    """The module itself, or a copy where it lies on another device, whose kernels may round differently."""
    on_cpu = all(tensor.device.type == "cpu" for tensor in module.state_dict().values())
    return module if on_cpu else copy.deepcopy(module).cpu()
