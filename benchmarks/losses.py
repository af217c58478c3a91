"""The complex multi-scale STFT loss of both heads against auraloss, forward and backward.

    python -m benchmarks.losses [--pairs 5]

auraloss has no loss on real and imaginary parts; its nearest is the multi-resolution loss of linear magnitudes at the
same sizes and hops, each signal transformed on its own. Two slices of 1 s at 24 and 48 kHz.
"""

import auraloss
import torch
from torch import Tensor

from benchmarks.harness import compare, options, ratio, record
from benchmarks.plain import N_FFTS, stft_loss
from snac_exp.losses.pair import SignalPair
from snac_exp.losses.terms.stft_complex import stft_complex
from snac_exp.losses.terms.stft_magnitude import stft_magnitude


def main() -> None:
    """Measure and record."""
    settings = options(__doc__, pairs=9)
    torch.manual_seed(0)
    signals = {
        head: [(0.1 * torch.randn(2, 1, num)).requires_grad_(i == 0) for i in range(2)]
        for head, num in (("head_24k", 22_528), ("head_48k", 45_056))
    }
    theirs = {
        head: auraloss.freq.MultiResolutionSTFTLoss(
            sizes, [n // 4 for n in sizes], sizes, window="ones", w_sc=0, w_log_mag=0, w_lin_mag=1
        )
        for head, sizes in N_FFTS.items()
    }
    rates = {"head_24k": 24_000, "head_48k": 48_000}

    def backward(terms: list[Tensor]) -> None:
        torch.stack(terms).sum().backward()

    def ours(term: object) -> None:
        found = []
        for head, (prediction, target) in signals.items():
            pair = SignalPair(prediction, target, torch.tensor([target.shape[-1]] * 2), rates[head], N_FFTS[head])
            found.append(term(pair))  # type: ignore[operator]
        backward(found)

    def aura() -> None:
        backward([theirs[head](*pair) for head, pair in signals.items()])

    def plain() -> None:
        backward([stft_loss(pair[0], pair[1], N_FFTS[head]) for head, pair in signals.items()])

    record(
        {
            "stft_loss": ratio(
                "multi-scale complex STFT loss at 24 + 48 kHz, against auraloss (magnitudes)",
                compare(aura, lambda: ours(stft_complex), settings.pairs),
                1.5,
            ),
            "stft_magnitude": ratio(
                "the same of magnitudes, as auraloss computes",
                compare(aura, lambda: ours(stft_magnitude), settings.pairs),
            ),
            "stft_plain": ratio(
                "the complex loss against torch.stft for each signal and size",
                compare(plain, lambda: ours(stft_complex), settings.pairs),
            ),
        },
        settings.results,
    )


if __name__ == "__main__":
    main()
