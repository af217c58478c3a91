"""The training step of phase 12 on a CPU: time, memory and equality of results, against the plain script.

    python -m benchmarks.step [--pairs 5] [--threads 1]

Model of snac_24khz's shape with random weights and two heads; a batch of 2 slices of 1 s; float32.
"""

import argparse

import torch

from benchmarks import plain
from benchmarks.dual_head import DualHead, bytes_kept, same_parameters, without_noise
from benchmarks.harness import Figure, compare, options, ratio, record


def main() -> None:
    """Measure and record."""
    settings = options(__doc__)
    pair = DualHead.build()
    figures = {"step_parity": parity(pair), "step_bytes": kept(pair)}
    figures["noise"] = ratio(
        "A/A: the plain step against itself", compare(pair.plain_step, pair.plain_step, settings.pairs, 1)
    )
    title = "training step, main phase, eager, against the plain step"
    figures["step_main_eager"] = ratio(title, compare(pair.plain_step, pair.step, settings.pairs), 2.2)
    figures["step_main_eager_two"] = on_two_threads(pair, title, settings)
    figures |= warmup(pair, settings.pairs)
    record(figures, settings.results)


def on_two_threads(pair: DualHead, title: str, settings: argparse.Namespace) -> Figure:
    """The step with two threads each, by the wall's clock: a thread that waits costs its processor nothing."""
    torch.set_num_threads(2)
    found = compare(pair.plain_step, pair.step, settings.pairs, clock="wall")
    torch.set_num_threads(settings.threads)
    return ratio(f"{title}, two threads", found, 2.2, threads=2)


def parity(pair: DualHead) -> Figure:
    """Largest difference of outputs and gradients, relative to the largest value of each tensor; noise blocks off.

    Both get the loss's gradient at upstream's outputs: L1 has a kink where a sample or bin meets its target, and there
    the last bit of an output decides between -1 and 1.
    """
    quiet = without_noise(pair)
    expected = quiet.naive(quiet.batch.codes)
    actual = quiet.task.decode(quiet.batch, plain.MAIN)
    waves = {head: wave.detach().requires_grad_() for head, wave in expected.items()}
    plain.loss(waves, quiet.batch.audio, plain.MAIN).backward()
    for outputs in (expected, actual):
        torch.autograd.backward([outputs[head] for head in waves], [wave.grad for wave in waves.values()])
    pairs = [(expected[head], actual[head]) for head in expected]
    gradients = [(p.grad, q.grad) for p, q in same_parameters(quiet)]
    pairs += [(p, q) for p, q in gradients if p is not None and q is not None]
    worst = max(float((p - q).abs().max() / p.abs().max()) for p, q in pairs)
    title = "outputs and gradients against upstream's modules, largest relative error"
    return Figure(title, float(f"{worst:.2g}"), "", "at_most", 1e-5, {"tensors": len(pairs)})


def kept(pair: DualHead) -> Figure:
    """Bytes kept for the backward pass of the main phase."""

    def ours() -> object:
        return pair.task.total(pair.task(pair.batch, plain.MAIN), plain.MAIN)

    before = bytes_kept(lambda: plain.loss(pair.naive(pair.batch.codes), pair.batch.audio, plain.MAIN))
    after = bytes_kept(ours)
    details = {"plain_bytes": before, "ours_bytes": after}
    return Figure(
        "bytes kept for the backward pass, against plain", round(after / before, 4), "x", "at_most", 0.32, details
    )


def warmup(pair: DualHead, pairs: int) -> dict[str, Figure]:
    """The step that trains the new head alone, against our main step and the plain main step, and the plain warm-up."""

    def step_of(method: object, frozen: bool) -> object:
        def work() -> object:
            pair.freeze(frozen)
            return method(plain.WARMUP if frozen else plain.MAIN)  # type: ignore[operator]

        return work

    ours = step_of(pair.step, True)
    against = {
        "step_warmup_against_main": ("warm-up step against our main step", step_of(pair.step, False), 1.6),
        "step_warmup_against_plain": ("warm-up step against the plain main step", step_of(pair.plain_step, False), 3.0),
        "step_warmup_against_plain_warmup": (
            "warm-up step against the plain warm-up",
            step_of(pair.plain_step, True),
            None,
        ),
    }
    found = {
        name: ratio(title, compare(other, ours, pairs, 1), floor)  # type: ignore[arg-type]
        for name, (title, other, floor) in against.items()
    }
    pair.freeze(False)
    return found


if __name__ == "__main__":
    main()
