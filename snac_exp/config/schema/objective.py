"""What is minimised: loss terms of a codec, cross-entropy of a token model."""

from dataclasses import dataclass, field
from typing import Literal

from snac_exp.config.schema.component import Component


@dataclass(frozen=True)
class LossTerm:
    """A loss term with its weight: a function or a torch.nn.Module, from a `SignalPair` to a scalar."""

    weight: float
    component: Component


def weight_of(term: float | LossTerm) -> float:
    """Weight of a term of `loss.terms`, a bare number or described."""
    return term.weight if isinstance(term, LossTerm) else term


@dataclass(frozen=True)
class TokenLoss:
    """Cross-entropy of a token model. codebook_weights: auto (1 + alpha k / (K - 1)), equal, or one per codebook."""

    codebook_weights: Literal["auto", "equal"] | list[float]
    alpha: float
    label_smoothing: float


@dataclass(frozen=True)
class CodebookLoss:
    """Weights of the quantizer's losses, used where encoder or VQ train; unevenness keeps codes from collapsing."""

    commitment: float = 0.25
    codebook: float = 1.0
    unevenness: float = 0.0


@dataclass(frozen=True)
class Loss:
    """Objective: sum over heads of weight x sum over terms of weight x term. Weight 0 is measured, not trained.

    terms: a bare number is the weight of the term of that name in snac_exp/losses/terms; any other term is described,
    {weight: 1.0, _target_: my_module.MyTerm, option: value}. A token model has no heads, and `tokens` instead.
    phases, phase_terms: weights of heads and of terms while a phase of lr.phases trains, over all others; a validation
    weighs as always.
    """

    terms: dict[str, float | LossTerm] = field(default_factory=dict)
    weights: dict[str, float | None] = field(default_factory=dict)
    n_ffts: dict[str, list[int]] = field(default_factory=dict)
    head_terms: dict[str, dict[str, float]] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    phase_terms: dict[str, dict[str, float]] = field(default_factory=dict)
    window: Literal["hann"] | None = None
    normalized: bool = False
    codebook: CodebookLoss = CodebookLoss()
    tokens: TokenLoss | None = None

    def head_weights(self, phase: str) -> dict[str, float | None]:
        """Weight of each head in a phase of lr.phases."""
        return {**self.weights, **self.phases.get(phase, {})}

    def term_weights(self) -> dict[str, float]:
        """Weight of each term, of described ones too."""
        return {name: weight_of(term) for name, term in self.terms.items()}
