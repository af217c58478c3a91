"""The autoencoder task: raw audio through the whole codec, of which more than the decoder is trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from snac_exp.codec.fast.depthwise import use_fast_depthwise
from snac_exp.codec.fast.snake import use_fast_snake
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.quantization import CodebookUsage, Quantized, quantize
from snac_exp.config.schema import Loss
from snac_exp.config.schema import Task as Settings
from snac_exp.config.seeding import derive_seed
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.data.slices.batch import Batch
from snac_exp.errors import ConfigError
from snac_exp.training.codec.adversary import Adversary
from snac_exp.training.codec.decoder_task import CodeMetrics, DecoderTask

COMMITMENT, CODEBOOK, UNEVENNESS = (f"codebook/{name}" for name in ("commitment", "codebook", "unevenness"))


class AutoencoderTask(DecoderTask):
    """The decoder task with a latent made in the step, and terms of the quantizer beside those of the heads.

    Which gradient goes where, by `settings` (see `snac_exp.codec.quantization` for the terms):

    - Nothing frozen: the heads' terms and `commitment` train encoder and projections, `codebook` the codebook vectors.
    - freeze_encoder: the encoder runs without a graph in plain float32, as for cached codes. The projections learn from
      the heads' terms and `commitment`, the codebook vectors from `codebook`.
    - freeze_vq: codes and their vectors mean what they did. The encoder learns from the heads' terms, straight through
      the quantizer, and from `commitment`; `codebook` is measured and no part of the loss.

    `unevenness` trains what `commitment` does, where its weight in `loss.codebook` is above 0; it is the one term that
    is not the mean of its micro-batches. The parameter groups do the freezing itself. With both frozen there is nothing
    to do that DecoderTask does not.
    """

    def __init__(
        self,
        model: MultiRateSnac,
        loss: Loss,
        settings: Settings,
        adversary: Adversary | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, loss, adversary, seed)
        if settings.freeze_encoder and settings.freeze_vq:
            raise ValueError("encoder and VQ are both frozen: that is the DecoderTask")
        self.settings = settings
        self.usage: CodebookUsage | None = None
        self._draws: torch.Generator | None = None
        # The model has done so for trunk and heads; only in this task the encoder may train.
        use_fast_depthwise(use_fast_snake(model.encoder))

    def forward(self, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Terms of a batch, a scalar each: `head/term`, and `codebook/commitment`, `.../codebook`, `.../unevenness`."""
        quantized = self.quantize(batch)
        measured = self.measure(self.decode_latent(self._masked(quantized, batch), batch, weights), batch, weights)
        if self.usage is not None:
            self.usage.update(quantized.codes, self._valid_frames(batch))
        # Weighted as the heads' terms are, which are means over the batch's valid samples.
        item_weights = batch.valid_samples / batch.valid_samples.sum().clamp_min(1)
        return measured | {
            COMMITMENT: (quantized.commitment * item_weights).sum(),
            CODEBOOK: (quantized.codebook * item_weights).sum(),
            UNEVENNESS: quantized.unevenness,
        }

    def total(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The decoder task's loss (), and the quantizer's scalar terms by `loss.codebook`."""
        own = self.loss.codebook
        # It has a gradient to the codebook vectors alone, which do not train then.
        of_codebook = 0.0 if self.settings.freeze_vq else own.codebook
        weighted = {COMMITMENT: own.commitment, CODEBOOK: of_codebook, UNEVENNESS: own.unevenness}
        weighted_terms = [weight * terms[name] for name, weight in weighted.items() if weight > 0]
        return torch.stack([super().total(terms, weights), *weighted_terms]).sum()

    def latent(self, batch: Batch) -> Tensor:
        """Quantized latent (B, C, frames) of the decoded windows, zero beyond the end."""
        return self._masked(self.quantize(batch), batch)

    def quantize(self, batch: Batch) -> Quantized:
        """The batch's windows through encoder and quantizer; dropout only in a step, where a graph is recorded.

        Raises:
            ConfigError: the batch holds codes instead of audio.
        """
        if batch.source is None:
            raise ConfigError(
                "task.freeze_encoder=false and task.freeze_vq=false train on raw audio, and this data holds codes; "
                "choose data=audio_folder"
            )
        # Without a graph it is validation, which measures all codebooks.
        dropout = self.settings.quantizer_dropout if self.training and torch.is_grad_enabled() else 0.0
        latent = self._encode(batch.source)
        return quantize(self.model.quantizer, latent, dropout, self._draws, self._valid_frames(batch))

    def seed_noise(self, seed: int, purpose: str, *position: int) -> None:
        """Make every draw of the next call, quantizer dropout included, a function of (seed, purpose, position)."""
        super().seed_noise(seed, purpose, *position)
        self._draws = torch.Generator().manual_seed(derive_seed(seed, f"{purpose}/codebooks", *position))

    @contextmanager
    def counting_codes(self) -> Iterator[CodeMetrics]:
        """Within it every forward counts its codes; what is given says how evenly they used the codebooks so far."""
        usage = self.usage = CodebookUsage.of(self.model.quantizer)
        try:
            yield lambda total: usage.summed(total).metrics()
        finally:
            self.usage = None

    def measured_codes(self) -> tuple[list[str], list[str]]:
        """Names of the terms of the quantizer, and of what is counted of its codebooks."""
        return [COMMITMENT, CODEBOOK, UNEVENNESS], CodebookUsage.of(self.model.quantizer).names()

    def _encode(self, source: Tensor) -> Tensor:
        """Audio (B, 1, N), padded to whole steps as upstream does -> latent (B, C, frames)."""
        geometry = self.model.geometry
        num_samples = geometry.coarse_tokens_of(source.shape[-1]) * geometry.coarse_hop
        padded = F.pad(source, (0, num_samples - source.shape[-1]))
        if not self.settings.freeze_encoder:
            latent: Tensor = self.model.encoder(padded)
            return latent
        # As precisely as cache-codes encodes, whatever precision the rest trains in.
        with torch.no_grad(), exact_float32(), torch.autocast(source.device.type, enabled=False):
            frozen: Tensor = self.model.encoder(padded)
        return frozen

    def _masked(self, quantized: Quantized, batch: Batch) -> Tensor:
        """The latent (B, C, frames), zero beyond the end of the utterances, as that of cached codes."""
        frames = torch.arange(quantized.latent.shape[-1], device=quantized.latent.device)
        padding = frames >= self._valid_frames(batch)[:, None]
        return quantized.latent.masked_fill(padding[:, None], 0.0)

    def _valid_frames(self, batch: Batch) -> Tensor:
        """Finest frames (B,) of each window that are real."""
        return batch.window_tokens_valid * self.model.geometry.vq_strides[0]
