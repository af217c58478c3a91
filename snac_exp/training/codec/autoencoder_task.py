"""The autoencoder task: raw audio through the whole codec, of which more than the decoder is trained."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from snac_exp.codec.fast.depthwise import use_fast_depthwise
from snac_exp.codec.fast.snake import use_fast_snake
from snac_exp.codec.from_data.kmeans import start_codebooks
from snac_exp.codec.from_data.upkeep import CodebookUpkeep
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.quantization import CodebookUsage, Quantized, quantize
from snac_exp.config.schema import Loss, Quantizer, Start
from snac_exp.config.schema import Task as Settings
from snac_exp.config.seeding import derive_seed
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.data.slices.batch import Batch
from snac_exp.errors import ConfigError
from snac_exp.training.codec.adversary import Adversary
from snac_exp.training.codec.decoder_task import CodeMetrics, DecoderTask
from snac_exp.training.collectives import Collectives

COMMITMENT, CODEBOOK, UNEVENNESS = (f"codebook/{name}" for name in ("commitment", "codebook", "unevenness"))

_PLAIN_START, _BY_GRADIENT = Start(), Quantizer()


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

    start, quantizer: of the recipe; without codebooks, only the heads' terms and `unevenness` train, and as averages
    codebooks learn from no term.
    """

    upkeep: CodebookUpkeep | None

    def __init__(
        self,
        model: MultiRateSnac,
        loss: Loss,
        settings: Settings,
        adversary: Adversary | None = None,
        seed: int = 0,
        start: Start = _PLAIN_START,
        quantizer: Quantizer = _BY_GRADIENT,
    ) -> None:
        super().__init__(model, loss, adversary, seed)
        if settings.freeze_encoder and settings.freeze_vq:
            raise ValueError("encoder and VQ are both frozen: that is the DecoderTask")
        self.settings = settings
        self.start, self.quantizer, self.seed = start, quantizer, seed
        self.without_codebooks = False  # in the step under way
        self._codebooks = {
            f"quantizer.quantizers.{i}.codebook.weight": level.codebook.weight
            for i, level in enumerate(model.quantizer.quantizers)
        }
        if quantizer.codebooks == "average" or quantizer.restart_below > 0:
            self.upkeep = CodebookUpkeep(model.quantizer, quantizer)
        if quantizer.codebooks == "average" or start.kmeans_batches > 0:
            self.unaveraged = frozenset(self._codebooks)
        self.usage: CodebookUsage | None = None
        self._draws: torch.Generator | None = None
        # The model has done so for trunk and heads; only in this task the encoder may train.
        use_fast_depthwise(use_fast_snake(model.encoder))

    def forward(self, batch: Batch, weights: Mapping[str, float]) -> dict[str, Tensor]:
        """Terms of a batch, a scalar each: `head/term`, and `codebook/commitment`, `.../codebook`, `.../unevenness`."""
        quantized = self.quantize(batch)
        if self.upkeep is not None and torch.is_grad_enabled() and not self.without_codebooks:
            self.upkeep.take_in(quantized, self._valid_frames(batch))
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
        moved_by_gradient = not self.settings.freeze_vq and not self.averages() and not self.without_codebooks
        of_codebook = own.codebook if moved_by_gradient else 0.0
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
        # Without a graph it is validation, which measures all codebooks, as the codec would be used.
        in_step = torch.is_grad_enabled()
        dropout = self.settings.quantizer_dropout if self.training and in_step else 0.0
        noise = self.start.autoencoder_noise if self.without_codebooks and in_step else None
        latent, unit = self._encode(batch.source), self.quantizer.unit_projections
        valid = self._valid_frames(batch)
        return quantize(self.model.quantizer, latent, dropout, self._draws, valid, unit=unit, noise=noise)

    def averages(self) -> frozenset[str]:
        """The codebooks, where they are averages."""
        return frozenset(self._codebooks if self.quantizer.codebooks == "average" else ())

    def begin_step(self, step: int) -> bool:
        """Without codebooks up to `start.autoencoder_steps`; at that step they begin, by k-means if asked for."""
        self.without_codebooks = step < self.start.autoencoder_steps
        if self.upkeep is not None:
            self.upkeep.begin_step()
            if step == 0:
                self.upkeep.take_up()  # weights of init_from, which came after it was made
        starts = step == self.start.autoencoder_steps and self.start.kmeans_batches > 0
        if starts:
            self._start_codebooks()
        return self._train_codebooks() or starts  # what was set must be the same on all ranks

    def end_step(self, collectives: Collectives, step: int) -> None:
        """Let the codebooks follow what chose them."""
        if self.upkeep is None or self.without_codebooks:
            return
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "codebooks/restart", step))
        self.upkeep.end_step(collectives.total, collectives.in_turn, generator)

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

    def _train_codebooks(self) -> bool:
        """Let codebooks that learn by gradient require one as soon as they are in use; whether that changed."""
        if self.settings.freeze_vq or self.averages() or self.start.autoencoder_steps == 0:
            return False  # as the groups have it
        changed = False
        for weight in self._codebooks.values():
            changed |= weight.requires_grad == self.without_codebooks
            weight.requires_grad_(not self.without_codebooks)
        return changed

    @torch.no_grad()
    def _start_codebooks(self) -> None:
        """K-means of what the encoder makes of training batches now."""
        device = next(self.model.parameters()).device
        latents, valid, num_batches = [], [], self.start.kmeans_batches
        for batch in self.draw("kmeans", num_batches):
            assert batch.source is not None  # checked with the recipe
            with exact_float32():
                latents.append(self._encode(batch.source.to(device)).cpu())
            valid.append(batch.window_tokens_valid * self.model.geometry.vq_strides[0])
        quantizer = copy.deepcopy(self.model.quantizer).cpu()  # where sums are in one order
        unit = self.quantizer.unit_projections
        counts = start_codebooks(quantizer, torch.cat(latents), torch.cat(valid), self.seed, unit=unit)
        for weight, level in zip(self._codebooks.values(), quantizer.quantizers, strict=True):
            weight.copy_(level.codebook.weight)
        if self.upkeep is not None:
            self.upkeep.begin_at([chosen / num_batches for chosen in counts])

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
