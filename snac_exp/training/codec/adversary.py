"""A codec's adversary: discriminators per head, and one pass that gives their loss and the terms of the codec.

Both sides move at once, from the same weights: the discriminators' loss and the codec's terms come from one pass, so
accumulating micro-batches and averaging over ranks are what they are for any other loss. The graphs do not touch: the
discriminators' loss reaches only discriminators, the codec's terms reach only its predictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from snac_exp.config.schema import adversary as config
from snac_exp.config.seeding import derive_seed
from snac_exp.errors import ConfigError
from snac_exp.losses.adversarial import GAN_LOSSES, feature_matching, scores_of
from snac_exp.losses.discriminators import Discriminators, Features
from snac_exp.training.codec.adversary_checks import check_adversary


@dataclass(frozen=True)
class AdversaryOutput:
    """Losses and scores of one pass.

    discriminator_loss: sum over heads, for the discriminators' optimizer. terms: `head/adversarial` and
    `head/feature_matching`, not yet weighted, for the codec. metrics: `head/score_real`, `head/score_fake` (means over
    all discriminators) and `head/discriminator`, without a graph.
    """

    discriminator_loss: Tensor
    terms: dict[str, Tensor]
    metrics: dict[str, Tensor]


class Adversary(nn.Module):
    """A set of discriminators per head; in float32 whatever the autocast.

    Args:
        settings: of the config group `adversary`; its `heads` are those with discriminators, null = all of `rates`.
        rates: head -> rate in Hz.
        seed: the weights are a function of it and the head's name; torch's global generator stays where it was.

    Raises:
        ConfigError: the settings are impossible, or there is nothing to build.
    """

    def __init__(self, settings: config.Adversary, rates: Mapping[str, int], seed: int) -> None:
        super().__init__()
        if settings.kind == "none":
            raise ConfigError("adversary.kind=none has no discriminators; choose adversary=dac")
        check_adversary(settings, rates)
        self.settings = settings
        self.rates = {head: rate for head, rate in rates.items() if settings.heads is None or head in settings.heads}
        # The name is that of the tensors in stored checkpoints.
        self.judges = nn.ModuleDict(
            {head: _seeded(settings, derive_seed(seed, f"adversary/{head}")) for head in self.rates}
        )

    def active(self, step: int) -> bool:
        """Whether the adversary takes part in this step (counted from 0)."""
        return step >= self.settings.start_step

    def forward(self, waveforms: Mapping[str, tuple[Tensor, Tensor]]) -> AdversaryOutput:
        """Score predictions: head -> (prediction, target), both (B, 1, N) and zero beyond the valid length.

        Heads without discriminators are left out. A prediction without a graph (at validation) is only measured.

        Raises:
            ValueError: none of the heads has discriminators.
        """
        scored = {head: pair for head, pair in waveforms.items() if head in self.judges}
        if not scored:
            raise ValueError(
                f"none of {list(waveforms)} has discriminators; the adversary has those of {list(self.rates)}"
            )
        losses: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        for head, (prediction, target) in scored.items():
            with torch.autocast(prediction.device.type, enabled=False):
                features = _passes(self.judges[head], _precise(prediction), _precise(target.detach()))
                loss, own_terms, own_metrics = self._losses(features)
            losses.append(loss)
            terms |= {f"{head}/{name}": value for name, value in own_terms.items()}
            metrics |= {f"{head}/{name}": value for name, value in own_metrics.items()}
        return AdversaryOutput(torch.stack(losses).sum(), terms, metrics)

    def total(self, terms: Mapping[str, Tensor], head_weights: Mapping[str, float]) -> Tensor:
        """The codec's loss: sum over heads of w_head (w_a adversarial + w_f feature_matching), a scalar."""
        weights = vars(self.settings.weights)
        parts = [
            head_weights[head] * weight * terms[f"{head}/{name}"]
            for head in self.rates
            if head_weights.get(head, 0.0) > 0 and f"{head}/adversarial" in terms
            for name, weight in weights.items()
            if weight > 0
        ]
        # A scalar of the CPU may be added to one of any device.
        return torch.stack(parts).sum() if parts else torch.zeros(())

    def _losses(self, features: "_Passes") -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Of one head: the discriminators' loss, the codec's terms by name, and metrics by name, a scalar each."""
        # `fake` has no graph to the codec and `prediction` none to the discriminators: neither side trains the other.
        of_discriminators, of_generator = GAN_LOSSES[self.settings.loss]
        loss = of_discriminators(scores_of(features.real), scores_of(features.fake))
        terms = {
            "adversarial": of_generator(scores_of(features.prediction)),
            "feature_matching": feature_matching(features.real, features.prediction),
        }
        scores = {"score_real": _mean_score(features.real), "score_fake": _mean_score(features.fake)}
        return loss, terms, scores | {"discriminator": loss.detach()}


@dataclass(frozen=True)
class _Passes:
    """Features of target and prediction with a graph to the discriminators, and of the prediction to itself alone."""

    real: list[Features]
    fake: list[Features]
    prediction: list[Features]


def _passes(discriminators: nn.Module, prediction: Tensor, target: Tensor) -> _Passes:
    """Features of two waveforms (B, 1, N), in two passes: one for the discriminators, one for the codec."""
    # Target and prediction in one batch: nothing in a discriminator mixes items, so this equals two passes.
    both: list[Features] = discriminators(torch.cat((target, prediction.detach())))
    halves = [[layer.chunk(2) for layer in features] for features in both]
    real, fake = ([[layer[half] for layer in features] for features in halves] for half in (0, 1))
    # With detached weights the gradient passes through to the prediction and reaches no discriminator.
    constant = {name: parameter.detach() for name, parameter in discriminators.named_parameters()}
    return _Passes(real, fake, functional_call(discriminators, constant, (prediction,)))


def _seeded(settings: config.Adversary, seed: int) -> Discriminators:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Discriminators(settings)


def _mean_score(features: list[Features]) -> Tensor:
    """Mean over all scores of all discriminators, a scalar."""
    return torch.stack([score.detach().mean() for score in scores_of(features)]).mean()


def _precise(waveform: Tensor) -> Tensor:
    """(B, 1, N) in float32 at least."""
    return waveform if waveform.dtype == torch.float64 else waveform.float()
