"""The objective: named terms of every head, weighted and summed."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Self, cast

import torch
from torch import Tensor, nn

from snac_exp.config.instantiate import imported, instantiate
from snac_exp.config.loss_terms import target_of_term, term_names
from snac_exp.config.schema import Component, LossTerm, weight_of
from snac_exp.config.seeding import derive_seed
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.losses.pair import SignalPair

Term = Callable[[SignalPair], Tensor]

ALWAYS_MEASURED = ("l1", "stft_complex", "stft_magnitude")
"""Measured whatever a recipe trains with, so that recipes can be compared."""

_NO_PHASE: Mapping[str, float] = MappingProxyType({})


class Objective(nn.Module):
    """sum over heads of w_head * sum over terms of w_term * term; a weight of 0 means measured, not trained.

    Terms that are modules (a pretrained feature model, say) are frozen: they move to the device of whoever holds the
    objective, stay in eval mode, and pass gradients to the prediction but keep none.

    Args:
        terms: term -> weight within every head, of a term of `snac_exp.losses.terms` or of a described one.
        head_terms: head -> term -> weight that stands over the one in `terms` for this head.
        n_ffts: head -> STFT sizes in samples.
        window: None for a rectangular window, or 'hann'.
        normalized: divide spectra by sqrt(n_fft).
        seed: of the weights that a term's module draws.

    Raises:
        ConfigError: there is no such term, or it cannot be built.
    """

    def __init__(
        self,
        terms: Mapping[str, float | LossTerm],
        head_terms: Mapping[str, Mapping[str, float]],
        n_ffts: Mapping[str, Sequence[int]],
        window: str | None = None,
        normalized: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        described = dict.fromkeys(ALWAYS_MEASURED, 0.0) | dict(terms)
        # Built for the heads that have it; others do not even measure it.
        described |= {name: 0.0 for own in head_terms.values() for name in own if name not in described}
        _check_names(described, terms, head_terms)
        opened = {name: open_term(name, term, seed) for name, term in described.items()}
        self.feature_models = nn.ModuleDict({key: item for key, item in opened.items() if isinstance(item, nn.Module)})
        self._functions = {key: item for key, item in opened.items() if not isinstance(item, nn.Module)}
        self.eval()
        self.terms = {name: weight_of(described[name]) for name in dict.fromkeys(ALWAYS_MEASURED) | dict(terms)}
        self.head_terms = head_terms
        self.n_ffts = n_ffts
        self.window = window
        self.normalized = normalized

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: dropout and batch statistics of a feature model have no part in a loss."""
        return super().train(False)

    def weights(self, head: str, phase: Mapping[str, float] = _NO_PHASE) -> dict[str, float]:
        """Term -> weight for one head, measured terms included with weight 0; those of a phase stand over all."""
        return self.terms | dict(self.head_terms.get(head, {})) | dict(phase)

    def pair(self, head: str, prediction: Tensor, target: Tensor, valid_samples: Tensor, rate: int) -> SignalPair:
        """A pair (B, 1, N) with this head's STFT sizes and the objective's window; valid_samples (B,), rate in Hz."""
        sizes = self.n_ffts[head]
        return SignalPair(prediction, target, valid_samples, rate, sizes, self.window, self.normalized)

    def measure(self, head: str, pair: SignalPair, phase: Mapping[str, float] = _NO_PHASE) -> dict[str, Tensor]:
        """Every term of one head, a scalar each, as `head/term`; terms of weight 0 without a graph."""
        measured: dict[str, Tensor] = {}
        for name, weight in self.weights(head, phase).items():
            with torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled()):
                value = self._term(name)(pair)
            if value.dim() > 0:
                raise ConfigError(f"loss.terms.{name} must give a scalar for a batch, not a tensor {list(value.shape)}")
            measured[f"{head}/{name}"] = value
        return measured

    def total(
        self,
        measured: Mapping[str, Tensor],
        head_weights: Mapping[str, float],
        phase: Mapping[str, float] = _NO_PHASE,
    ) -> Tensor:
        """The weighted sum (), of scalars; heads and terms of weight 0 take no part, not even with a NaN.

        Raises:
            ConfigError: every weight is 0.
        """
        weighted = [
            head_weight * weight * measured[f"{head}/{name}"]
            for head, head_weight in head_weights.items()
            # Left out rather than multiplied: 0 * NaN is NaN.
            if head_weight > 0
            for name, weight in self.weights(head, phase).items()
            if weight > 0
        ]
        if not weighted:
            raise ConfigError("nothing to train: every weight in loss.weights or loss.terms is 0")
        return torch.stack(weighted).sum()

    def _term(self, name: str) -> Term:
        return self._functions[name] if name in self._functions else cast(Term, self.feature_models[name])


def open_term(name: str, term: float | LossTerm, seed: int) -> Term:
    """The function of a term, or its frozen module; what the module draws is a function of (seed, name).

    Raises:
        ConfigError: it cannot be built, or a file that it needs is missing.
    """
    component = term.component if isinstance(term, LossTerm) else Component(target_of_term(name))
    target = imported(component.target)
    if not inspect.isclass(target):
        return partial(target, **component.options)
    # Modules are built on the CPU, so its generator is the one to put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, f"loss/{name}"))
        try:
            module = instantiate(component, f"loss.terms.{name}")
        except OSError as error:
            raise ConfigError(f"loss.terms.{name}: {component.target} cannot read its files: {error}") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"loss.terms.{name}: {component.target} is neither a function nor a torch.nn.Module")
    return cast(Term, module.eval().requires_grad_(False))


def _check_names(
    described: Mapping[str, float | LossTerm],
    terms: Mapping[str, float | LossTerm],
    head_terms: Mapping[str, Mapping[str, float]],
) -> None:
    """Every bare number belongs to a file of `snac_exp.losses.terms`."""
    own = [name for name, term in described.items() if isinstance(term, LossTerm)]
    known = [*term_names(), *own]
    places = {"loss.terms": list(terms), **{f"loss.head_terms.{head}": list(own) for head, own in head_terms.items()}}
    for key, names in places.items():
        for name in names:
            if name not in known:
                raise ConfigError(f"{key}.{name} is no loss term{nearest(name, known)}")
