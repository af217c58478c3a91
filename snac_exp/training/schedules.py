"""Learning rates as pure functions of the position in a phase."""

import math

from snac_exp.config.schema import Lr, OneCycle, WarmupCosine
from snac_exp.errors import ConfigError


def learning_rate(schedule: str, peak: float, step: int, num_steps: int, shapes: Lr) -> float:
    """Learning rate at `step` (0-based) of a phase of `num_steps` optimiser steps, in the unit of `peak`."""
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return cosine(peak, step, num_steps, shapes.cosine_final_ratio)
    if schedule == "one_cycle":
        return one_cycle_rate(peak, step, num_steps, shapes.one_cycle)
    if schedule == "warmup_cosine":
        return warmup_cosine_rate(peak, step, num_steps, shapes.warmup_cosine)
    raise ConfigError(f"schedule '{schedule}' is unknown; choose one of: constant, cosine, one_cycle, warmup_cosine")


def cosine(peak: float, step: int, num_steps: int, final_ratio: float) -> float:
    """peak * (r + (1 - r) * (1 + cos(pi t)) / 2) with t = step / num_steps and r = `final_ratio`."""
    return _anneal(peak, peak * final_ratio, step / max(1, num_steps))


def one_cycle_rate(peak: float, step: int, num_steps: int, shape: OneCycle) -> float:
    """Cosine rise from peak / div_factor, then cosine fall to peak / div_factor / final_div_factor.

    Equal to `torch.optim.lr_scheduler.OneCycleLR` (momentum not cycled) for the same peak and length.
    Source: Smith & Topin, Super-Convergence, arXiv:1708.07120.
    """
    start = peak / shape.div_factor
    end = start / shape.final_div_factor
    # As in torch: the rise ends at step pct_start * num_steps - 1, the fall at the last one.
    top = shape.pct_start * num_steps - 1.0
    last = num_steps - 1.0
    if step < top:
        return _anneal(start, peak, step / top)
    return _anneal(peak, end, (step - top) / max(last - top, 1.0))


def warmup_cosine_rate(peak: float, step: int, num_steps: int, shape: WarmupCosine) -> float:
    """Linear rise over w = max(1, round(pct_start * num_steps)) steps, then a cosine fall to `eta_min` at the end.

    peak * (step + 1) / w before step w; then eta_min + (peak - eta_min) * (1 + cos(pi t)) / 2, t from 0 to 1.
    """
    warmup = max(1, round(shape.pct_start * num_steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    # step + 1, so that the first step after the rise is below the peak already and the last one is at eta_min.
    return _anneal(peak, shape.eta_min, (step - warmup + 1) / max(1, num_steps - warmup))


def _anneal(start: float, end: float, progress: float) -> float:
    """Half a cosine from start to end, progress from 0 to 1."""
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * progress))
