"""The decoder task: codes or raw audio in, waveforms of every head out, measured against the audio they came from."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.schema import Loss
from snac_exp.config.seeding import derive_seed
from snac_exp.data.batch import Batch
from snac_exp.data.encoding import exact_float32
from snac_exp.losses.objective import Objective
from snac_exp.losses.pair import SignalPair


class DecoderTask(nn.Module):
    """Phase 12 and its kin: the frozen quantizer turns codes into a latent, trunk and heads turn it into audio."""

    def __init__(self, model: MultiRateSnac, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.objective = Objective(loss.terms, loss.head_terms, loss.n_ffts, loss.window, loss.normalized)

    def forward(self, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Scalar terms `head/term` of one batch; a head of weight 0 is measured without a graph."""
        measured: dict[str, Tensor] = {}
        for head, waveform in self.decode(batch, weights).items():
            with torch.autocast(waveform.device.type, enabled=False):  # losses are float32 whatever the precision
                measured |= self.objective.measure(head, self._pair(head, waveform, batch))
        return measured

    def decode(self, batch: Batch, weights: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """The scored slice of every head: name -> (B, 1, num_samples at the head's rate)."""
        latent = self.latent(batch)
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
        """The batch's codes; where it holds raw audio, encoder and VQ make them in plain float32, as cache-codes does.

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
        """Cut the decoded context away; the slice may sit off-centre at an utterance's end."""
        length = batch.audio[head].shape[-1]
        if waveform.shape[-1] == length:
            return waveform
        hop = self.model.geometry.audio_samples(1, self.model.rates[head])
        starts = (batch.slice_offset * hop).tolist()
        return torch.stack([row[:, start : start + length] for row, start in zip(waveform, starts, strict=True)])

    def _pair(self, head: str, waveform: Tensor, batch: Batch) -> SignalPair:
        rate = self.model.rates[head]
        valid = batch.valid_samples * rate // self.model.geometry.sampling_rate
        return self.objective.pair(head, waveform.float(), batch.audio[head].float(), valid, rate)
