"""The decoder task: codes or raw audio in, waveforms of every head out, measured against the audio they came from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.schema import Loss
from snac_exp.config.seeding import derive_seed
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.data.slices.batch import Batch
from snac_exp.losses.objective import Objective
from snac_exp.losses.pair import SignalPair
from snac_exp.training.codec.adversary import Adversary
from snac_exp.training.plan import ADVERSARY, term_weights
from snac_exp.training.task import Task

ADVERSARY_LOSS = f"{ADVERSARY}/loss"
POWER, TARGET_POWER = "power", "target_power"
"""Last parts of the names of mean powers, from which a validation makes a level."""

CodeMetrics = Callable[[Callable[[Tensor], Tensor]], dict[str, float]]
"""From counts of codes, summed over the ranks by its argument, to metrics of their use."""


class DecoderTask(Task):
    """Phase 12 and its kin: the frozen quantizer turns codes into a latent, trunk and heads turn it into audio.

    objective: terms and their frozen feature models, if any; beside the model, so that no checkpoint, parameter group
    or average holds them. seed: of what these draw. draw: gives so many training batches for a purpose; set by `build`.
    """

    model: MultiRateSnac
    adversary: Adversary | None
    draw: Callable[[str, int], Iterator[Batch]]

    def __init__(self, model: MultiRateSnac, loss: Loss, adversary: Adversary | None = None, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.adversary = adversary
        self.loss = loss
        self.objective = Objective(loss.terms, loss.head_terms, loss.n_ffts, loss.window, loss.normalized, seed)

    def forward(self, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Terms `head/term` of one batch, a scalar each; a head of weight 0 is measured without a graph."""
        return self.measure(self.decode(batch, weights), batch, weights)

    def measure(self, waveforms: Mapping[str, Tensor], batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Every term, a scalar each, of the slices (B, 1, N) that `decode` gave, and the adversary's terms; without a
        graph also the mean powers of every head and of its target.
        """
        measured: dict[str, Tensor] = {}
        pairs = {head: self._pair(head, waveform, batch) for head, waveform in waveforms.items()}
        for head, pair in pairs.items():
            device = pair.prediction.device.type
            with self.timer.inner("loss"), torch.autocast(device, enabled=False):  # float32 whatever the precision
                measured |= self.objective.measure(head, pair, term_weights(weights))
                if not torch.is_grad_enabled():  # a validation
                    measured |= _powers(head, pair)
        if self.adversary is not None and weights.get(ADVERSARY, 0.0) > 0:
            adversarial = self.adversary({head: (pair.prediction, pair.target) for head, pair in pairs.items()})
            measured |= adversarial.terms | adversarial.metrics | {ADVERSARY_LOSS: adversarial.discriminator_loss}
        return measured

    def total(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The loss (), from scalar terms: heads by the plan's weights, terms by the recipe's; with the adversary's."""
        heads = {head: weights[head] for head in self.model.rates}
        total = self.objective.total(terms, heads, term_weights(weights))
        if self.adversary is None or not weights.get(ADVERSARY, 0.0) > 0:
            return total
        return total + self.adversary.total(terms, heads) + terms[ADVERSARY_LOSS]

    def weight(self, batch: Batch) -> float:
        """Valid samples: exact for means over samples; frames are counted per slice, so theirs may differ by one."""
        return float(batch.valid_samples.sum())

    @contextmanager
    def counting_codes(self) -> Iterator[CodeMetrics]:
        """How codebooks are used within it, where codes are made in the step by what trains; here nothing."""
        yield lambda total: {}

    def measured_codes(self) -> tuple[list[str], list[str]]:
        """Names of the terms of the quantizer, and of what `counting_codes` counts; here none."""
        return [], []

    def averages(self) -> frozenset[str]:
        """Names of the model's parameters that move as averages and not by gradients; here none."""
        return frozenset()

    def compile_model(self) -> None:
        """Compile trunk and heads, whose shapes change with the curriculum's segments only."""
        self.model.trunk.compile(dynamic=False)
        for name in self.model.rates:
            self.model.head(name).compile(dynamic=False)

    def decode(self, batch: Batch, weights: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """The scored slice of every head: name -> (B, 1, num_samples at the head's rate)."""
        return self.decode_latent(self.latent(batch), batch, weights)

    def decode_latent(
        self, latent: Tensor, batch: Batch, weights: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """As `decode`, from the latent (B, C, frames) of the batch's windows."""
        # Two calls on the same features: heads that are only measured record no graph.
        trained = {head for head in self.model.rates if weights is None or weights[head] > 0}
        features = self.model.features(latent)
        waveforms = self.model(features, heads=trained)
        with torch.no_grad():
            waveforms |= self.model(features, heads=set(self.model.rates) - trained)
        return {head: self._scored(head, waveforms[head], batch) for head in self.model.rates}

    def latent(self, batch: Batch) -> Tensor:
        """Quantized latent (B, C, frames) of the decoded windows, without a graph."""
        return self.model.latent(self.codes(batch), batch.window_tokens_valid)

    @torch.no_grad()
    def codes(self, batch: Batch) -> list[Tensor]:
        """The batch's codes[i] (B, T_i), or those of its raw audio (B, 1, N), in plain float32 as cache-codes.

        The encoder sees silence beyond the window, so tokens near its edges differ from those of the whole utterance.
        """
        if batch.source is None:
            return batch.codes
        with exact_float32(), torch.autocast(batch.source.device.type, enabled=False):
            return self.model.encode(batch.source)

    def seed_noise(self, seed: int, purpose: str, *position: int) -> None:
        """Make every noise draw of the next call a function of (seed, purpose, position)."""
        torch.manual_seed(derive_seed(seed, purpose, *position))
        self.model.seed_noise(derive_seed(seed, f"{purpose}/heads", *position))

    def _scored(self, head: str, waveform: Tensor, batch: Batch) -> Tensor:
        """Cut the decoded context away, (B, 1, N) -> (B, 1, N of the target); the slice lies off-centre at the ends."""
        length = batch.audio[head].shape[-1]
        if waveform.shape[-1] == length:
            return waveform
        # A coarse token is a whole number of samples at every head, so the cut is exact.
        hop = self.model.geometry.audio_samples(1, self.model.rates[head])
        starts = (batch.slice_offset * hop).tolist()
        return torch.stack([row[:, start : start + length] for row, start in zip(waveform, starts, strict=True)])

    def _pair(self, head: str, waveform: Tensor, batch: Batch) -> SignalPair:
        """What the loss terms of a head see of its waveform (B, 1, N)."""
        rate = self.model.rates[head]
        # Counted at the rate of the head: at that of the codec half of a 48 kHz slice would not be scored.
        valid = batch.valid_samples * rate // self.model.geometry.sampling_rate
        return self.objective.pair(head, waveform.float(), batch.audio[head].float(), valid, rate)


def _powers(head: str, pair: SignalPair) -> dict[str, Tensor]:
    """Mean powers over the valid samples, scalars: `head/power`, `head/target_power`."""
    signals = {POWER: pair.prediction, TARGET_POWER: pair.target}
    return {f"{head}/{name}": pair.sample_mean(signal.square()) for name, signal in signals.items()}
