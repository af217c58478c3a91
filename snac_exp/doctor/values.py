"""Single tensors: values that are not finite, exploding or dead, and the gains of weight norm."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from snac_exp.doctor.findings import Finding, note, problem
from snac_exp.doctor.groups import steps_by_name
from snac_exp.doctor.opening import OpenedCheckpoint, Tensors

GAIN, DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"

# The largest value of the bundled codec is 53; AdamW moves a value by about its learning rate a step, so that at 1e-4
# it would take a hundred million steps to get here.
EXPLODED = 1e4
# Against a reference, and large in itself: a tensor of root mean square above 1 that was thirty times smaller.
EXPLODED_GROWTH, EXPLODED_RMS = 30.0, 1.0
# Far below what float32 training leaves behind; the smallest gains of the bundled codec's noise layers are 3e-5.
DEAD = 1e-12
# A layer can lose single channels and live; a tenth of them is no accident.
DEAD_CHANNELS = 0.1
# A head that starts at zero passes no gradient to the layers below in its first step, and all do after a few.
STEPS_TO_WAKE = 10

# The last convolution of a residual head starts at zero on purpose, and has no weight norm.
_ZERO_ON_PURPOSE = re.compile(r"^heads\.[^.]+\.conv\.(weight|bias)$")


def examine_values(opened: OpenedCheckpoint, reference: Tensors | None) -> Iterator[Finding]:
    """Findings about every tensor, of any shape; `reference`: the same tensors earlier in the run, for growth."""
    steps = steps_by_name(opened)
    for part, tensors in opened.tensors_by_part.items():
        for name, tensor in tensors.items():
            label = name if part == "model" else f"{part}: {name}"
            # What is not finite first: NaN compares false with every limit, so the other checks would pass it.
            finding = _not_finite(label, tensor) or _exploded(label, tensor)
            if finding is None and part == "model":
                before = None if reference is None else reference.get(name)
                finding = _grown(label, tensor, before) or _dead(label, tensor, steps.get(name, 0), opened.is_ours)
            if finding is not None:
                yield finding


def weight_norm_ranges(tensors: Tensors) -> dict[str, dict[str, float]]:
    """Of every layer under weight norm: smallest, median and largest gain (scalars), and the same of its direction's
    length."""
    ranges = {}
    for name, gain in tensors.items():
        direction = tensors.get(name.removesuffix(GAIN) + DIRECTION)
        if name.endswith(GAIN) and direction is not None:
            sizes = {"gain": gain.detach().float().abs().flatten(), "direction": _lengths(direction, gain)}
            ranges[name.removesuffix(GAIN)] = {
                f"{what}_{how}": float(getattr(values, how)())
                for what, values in sizes.items()
                for how in ("min", "median", "max")
            }
    return ranges


def examine_weight_norm(opened: OpenedCheckpoint) -> Iterator[Finding]:
    """weight = gain * direction / |direction|: a gain of 0 passes no gradient to its direction, a direction of 0 gives
    NaN, and a gain without its direction (or the reverse) is no layer."""
    for name, tensor in opened.model.items():
        layer = name.removesuffix(GAIN).removesuffix(DIRECTION)
        if name.endswith((GAIN, DIRECTION)) and not {layer + GAIN, layer + DIRECTION} <= set(opened.model):
            yield problem("weight norm", name, "its other half is missing: weight norm needs gain and direction")
        elif name.endswith(GAIN):
            yield from _examine_layer(layer, tensor.float(), opened.model[layer + DIRECTION].float())


def _examine_layer(layer: str, gain: Tensor, direction: Tensor) -> Iterator[Finding]:
    """Findings about one layer: gain (C, 1, …), direction (C, …)."""
    dead = int((gain.abs() <= DEAD).sum())
    if dead:
        text = f"{dead} of {gain.numel()} gains are 0: these channels are constant, and no gradient turns them again"
        yield problem("weight norm", layer, text)
    # weight = gain * direction / |direction|, and 0 / 0 is NaN.
    empty = int((_lengths(direction, gain) == 0).sum())
    if empty:
        yield problem("weight norm", layer, f"{empty} of {gain.numel()} directions have length 0: the weight is NaN")


def _lengths(direction: Tensor, gain: Tensor) -> Tensor:
    """Lengths (C,) of the directions (C, …) of the gains (C, 1, …), which have size 1 where the norm is summed."""
    own = [dim for dim in range(direction.dim()) if gain.dim() == direction.dim() and gain.shape[dim] == 1]
    # In float64: squares of small float32 values vanish, and a short direction would count as none.
    squares = direction.detach().double().square().sum(dim=own or list(range(1, direction.dim())))
    return squares.sqrt().float().flatten()


def _not_finite(name: str, tensor: Tensor) -> Finding | None:
    """A finding if a tensor of any shape holds NaN or infinity."""
    if not tensor.is_floating_point():
        return None
    nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    if not nan + infinite:
        return None
    return problem("values", name, f"{nan} NaN and {infinite} infinite of {tensor.numel()} values")


def _exploded(name: str, tensor: Tensor) -> Finding | None:
    """A finding if a tensor of any shape has a value of at least 1e4."""
    largest = _largest(tensor)
    if largest < EXPLODED:
        return None
    return problem("values", name, f"exploded: the largest value is {largest:.3g}, and trained ones stay far below 1e4")


def _grown(name: str, tensor: Tensor, before: Tensor | None) -> Finding | None:
    """A finding if a tensor of any shape is large and has grown many times over."""
    if before is None or before.shape != tensor.shape or not tensor.is_floating_point():
        return None
    now, then = rms(tensor), rms(before)
    # Both: a tensor that starts near zero, such as a new head's, grows thousands of times and is sound.
    if now < EXPLODED_RMS or not then or now < EXPLODED_GROWTH * then:
        return None
    return problem(
        "values", name, f"exploding: its root mean square is {now:.3g}, and {now / then:.0f} times the former"
    )


def _dead(name: str, tensor: Tensor, steps: int, is_ours: bool) -> Finding | None:
    """A finding about weights of any shape that say nothing. Biases, norms and Snake's alphas may be zero or constant;
    gains and codebooks have checks of their own."""
    own_check = (".alpha", GAIN, DIRECTION, ".codebook.weight")
    if tensor.dim() < 2 or not tensor.is_floating_point() or name.endswith(own_check):
        return None
    # The first dimension: output channels of a convolution or linear layer, input channels of a transposed one.
    channels = tensor.flatten(1).abs().amax(dim=1)
    num_dead = int((channels <= DEAD).sum())
    if num_dead == len(channels):
        if _ZERO_ON_PURPOSE.match(name) and (steps < STEPS_TO_WAKE or not is_ours):
            return None
        return problem("values", name, f"dead: all {tensor.numel()} values are 0" + _although(steps))
    if num_dead / len(channels) >= DEAD_CHANNELS:
        return problem("values", name, f"dead: {num_dead} of {len(channels)} channels are 0" + _although(steps))
    # Constant but not 0: filled, never drawn.
    if tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
        return problem("values", name, f"dead: all {tensor.numel()} values are {tensor.flatten()[0].item():.3g}")
    if num_dead:
        return note("values", name, f"{num_dead} of {len(channels)} channels are 0")
    return None


def _although(steps: int) -> str:
    return f", after {steps} steps" if steps else ""


def _largest(tensor: Tensor) -> float:
    """Largest absolute value of a tensor of any shape, as a scalar; 0 for integers and empty tensors."""
    return float(tensor.abs().max()) if tensor.is_floating_point() and tensor.numel() else 0.0


def rms(tensor: Tensor) -> float:
    """Root mean square of a tensor of any shape, a scalar."""
    # In float64: squares overflow float32 from 2e19 on, which an exploding tensor reaches.
    return float(tensor.double().square().mean().sqrt()) if tensor.numel() else 0.0


def relative_change(now: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> float:
    """|now - then| / |then|, a scalar, over the tensors that both have in one shape; 0 where there are none."""
    difference, length = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for name, tensor in now.items():
        other = then.get(name)
        if other is not None and other.shape == tensor.shape and tensor.is_floating_point():
            difference += (tensor.double() - other.double()).square().sum()
            length += other.double().square().sum()
    return float((difference / length).sqrt()) if length > 0 else 0.0
