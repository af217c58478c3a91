"""The objective: named terms of every head, weighted and summed."""

import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.losses import reconstruction
from snac_exp.losses.pair import SignalPair

Term = Callable[[SignalPair], Tensor]

ALWAYS_MEASURED = ("l1", "stft_complex", "stft_magnitude")
"""Measured whatever a recipe trains with, so that recipes can be compared."""


class Objective:
    """sum over heads of w_head * sum over terms of w_term * term; a weight of 0 means measured, not trained.

    Args:
        terms: term -> weight within every head.
        head_terms: head -> term -> weight that stands over the one in `terms` for this head.
        n_ffts: head -> STFT sizes in samples.
        window: None for a rectangular window, or 'hann'.
        normalized: divide spectra by sqrt(n_fft).

    Raises:
        ConfigError: a term is no public function of `snac_exp.losses.reconstruction`.
    """

    def __init__(
        self,
        terms: Mapping[str, float],
        head_terms: Mapping[str, Mapping[str, float]],
        n_ffts: Mapping[str, Sequence[int]],
        window: str | None = None,
        normalized: bool = False,
    ) -> None:
        self._functions = available_terms()
        for key, names in (
            ("loss.terms", terms),
            *((f"loss.head_terms.{head}", own) for head, own in head_terms.items()),
        ):
            for name in names:
                if name not in self._functions:
                    raise ConfigError(f"{key}.{name} is no loss term{nearest(name, self._functions)}")
        self.terms = dict.fromkeys(ALWAYS_MEASURED, 0.0) | dict(terms)
        self.head_terms = head_terms
        self.n_ffts = n_ffts
        self.window = window
        self.normalized = normalized

    def weights(self, head: str) -> dict[str, float]:
        """Term -> weight for one head, measured terms included with weight 0."""
        return self.terms | dict(self.head_terms.get(head, {}))

    def pair(self, head: str, prediction: Tensor, target: Tensor, valid_samples: Tensor, rate: int) -> SignalPair:
        """A pair (B, 1, N) with this head's STFT sizes and the objective's window."""
        sizes = self.n_ffts[head]
        return SignalPair(prediction, target, valid_samples, rate, sizes, self.window, self.normalized)

    def measure(self, head: str, pair: SignalPair) -> dict[str, Tensor]:
        """Every term of one head as `head/term`; terms of weight 0 without a graph."""
        measured: dict[str, Tensor] = {}
        for name, weight in self.weights(head).items():
            with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                measured[f"{head}/{name}"] = self._functions[name](pair)
        return measured

    def total(self, measured: Mapping[str, Tensor], head_weights: Mapping[str, float]) -> Tensor:
        """The weighted sum; heads and terms of weight 0 take no part, not even with a NaN.

        Raises:
            ConfigError: every weight is 0.
        """
        parts = [
            head_weight * weight * measured[f"{head}/{name}"]
            for head, head_weight in head_weights.items()
            if head_weight > 0
            for name, weight in self.weights(head).items()
            if weight > 0
        ]
        if not parts:
            raise ConfigError("nothing to train: every weight in loss.weights or loss.terms is 0")
        return torch.stack(parts).sum()


def available_terms() -> dict[str, Term]:
    """All terms by name: the public functions of `snac_exp.losses.reconstruction`."""
    functions = inspect.getmembers(reconstruction, inspect.isfunction)
    return {
        name: function
        for name, function in functions
        if function.__module__ == reconstruction.__name__ and not name.startswith("_")
    }
