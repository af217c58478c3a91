"""What the optimizers remember: moments that AdamW can have, and none that it cannot."""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from snac_exp.doctor.findings import Finding, named, note, problem
from snac_exp.doctor.groups import Moments, moments_of
from snac_exp.doctor.opening import OpenedCheckpoint
from snac_exp.doctor.values import STEPS_TO_WAKE

# For rounding in float32.
SLACK = 1.05
# Where a checkpoint does not say how gradients were clipped: no gradient of a trained value is this large.
LARGEST_GRADIENT = 1e4


def examine_moments(opened: OpenedCheckpoint) -> Iterator[Finding]:
    """Findings about every parameter that an optimizer has stepped; those that it never stepped have no moments, as
    frozen groups do not, and nothing is said of them."""
    silent: dict[str, list[str]] = {}
    counts: dict[str, set[int]] = {}
    for item in moments_of(opened):
        if not isinstance(item.state.get("exp_avg"), Tensor) or not isinstance(item.state.get("exp_avg_sq"), Tensor):
            # Other optimizers (momentum alone, say) keep other things, of which nothing is known here.
            continue
        counts.setdefault(item.group, set()).add(item.steps)
        finding = _broken(item, opened)
        if finding is not None:
            yield finding
        # A gradient of exactly 0 in every value and step means that no loss depends on the parameter.
        elif item.steps >= STEPS_TO_WAKE and not item.state["exp_avg_sq"].any():
            silent.setdefault(item.group, []).append(item.name)
    for group, names in silent.items():
        yield problem("moments", group, f"no gradient ever reached {named(names)}, in {max(counts[group])} steps")
    yield from _counts(opened, counts)


def bound(settings: Any) -> float:
    """Largest possible |m| / sqrt(v) of Adam's moments, whatever the gradients were.

    m = (1 - b1) sum b1^k g_k and v = (1 - b2) sum b2^k g_k^2, so by Cauchy and Schwarz
    |m| / sqrt(v) <= (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)); 7.3 for betas 0.9 and 0.999. Infinite if b1^2 >= b2.
    """
    first, second = (float(beta) for beta in settings["betas"])
    # The sum over (b1^2 / b2)^k has no end then.
    if first * first >= second:
        return math.inf
    return (1 - first) / math.sqrt((1 - second) * (1 - first * first / second))


def _broken(item: Moments, opened: OpenedCheckpoint) -> Finding | None:
    mean, square = item.state["exp_avg"].float(), item.state["exp_avg_sq"].float()
    where = f"{item.optimizer}: {item.name}"
    num = int((~mean.isfinite()).sum() + (~square.isfinite()).sum())
    if num:
        return problem("moments", where, f"{num} moments are not finite: the next step makes the weights NaN")
    if (square < 0).any():
        return problem("moments", where, "second moments are negative, which no sum of squares is")
    # v averages squared gradients, so its root is at most the largest of them.
    largest, limit = float(square.max().sqrt()) if square.numel() else 0.0, _clip(item.optimizer, opened)
    if largest > SLACK * (limit or LARGEST_GRADIENT):
        text = f"exploded: a gradient of about {largest:.3g} went in" + (
            f", though they are clipped to {limit:g}" if limit else ""
        )
        return problem("moments", where, text)
    if "betas" in item.settings:
        eps = float(item.settings.get("eps", 1e-8))  # Adam's default
        step = float((mean.abs() / (square.sqrt() + eps)).max()) if mean.numel() else 0.0
        if step > SLACK * bound(item.settings):
            text = (
                f"first and second moments do not belong together: the next step is {step:.3g} times the learning rate"
            )
            return problem("moments", where, text)
    return None


def _clip(optimizer: str, opened: OpenedCheckpoint) -> float | None:
    """The norm that the recipe clips an optimizer's gradients to."""
    section = "trainer" if optimizer == "optimizer" else "adversary"
    limit = (opened.config.get(section) or {}).get("grad_clip")
    return float(limit) if limit else None


def _counts(opened: OpenedCheckpoint, counts: dict[str, set[int]]) -> Iterator[Finding]:
    for group, steps in counts.items():
        # No step of the optimizer without a step of the run; fewer are fine, for what was frozen at first.
        if opened.step is not None and max(steps) > opened.step:
            text = f"its moments have counted {max(steps)} steps, the run {opened.step}: they are of another run"
            yield problem("moments", group, text)
        elif len(steps) > 1:
            yield note(
                "moments", group, f"its parameters were stepped {min(steps)} to {max(steps)} times, not all as often"
            )
