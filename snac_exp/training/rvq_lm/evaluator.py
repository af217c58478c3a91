"""What measures the training of a token model and lets one hear it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.config.schema import Experiment
from snac_exp.data.tokens.baseline import unigram_metrics
from snac_exp.data.tokens.codecs import TokenCodec
from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.data.tokens.windows import WindowSpec
from snac_exp.errors import ConfigError, PreflightError
from snac_exp.lm.sampling import Sampling
from snac_exp.losses.tokens import TokenMetrics
from snac_exp.system.files import write_signed_json
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.rvq_lm.task import ALL, Share, TokenTask, count_tokens, validate_tokens, write_token_samples
from snac_exp.training.task import Evaluator, Note

REJECTED_SHOWN = 20  # of the files, by name
PROMPT_SHARE = 4  # a prompt is this part of the context
START_TOLERANCE = 0.15  # of the nats of guessing


def _with_objective(values: dict[str, float]) -> dict[str, float]:
    return values | {"objective": values["cross_entropy"]}


@dataclass(frozen=True)
class TokenEvaluator(Evaluator):
    """Tokens must be learnable at all; fixed windows during training; samples decoded by the tokens' codec.

    make_codec: loads the codec to listen with, on the CPU; called when there is something to hear.
    """

    experiment: Experiment
    splits: TokenSplits
    task: TokenTask
    make_codec: Callable[[], TokenCodec]

    def __post_init__(self) -> None:
        if self.experiment.task.sample_frames < 1:
            raise ConfigError(f"task.sample_frames={self.experiment.task.sample_frames} must be greater than 0")
        self._sampling()  # refuses a temperature that is not possible

    def preflight(self, note: Note, attempt: int = 0) -> list[str]:
        """No file is on both sides of the split, no frame sees itself, an untrained model knows nothing, and there is a
        codec to decode samples with; bad files are named."""
        lines = [*self._rejected(), self._split(), self._causal(), self._untrained(), *self._audible()]
        for line in lines:
            note(f"preflight: {line}")
        return lines

    def validate(self, fabric: Fabric) -> dict[str, float]:
        """Metrics over windows of the model's whole context, whatever the curriculum does; ranks share the batches. Of
        a mixture also `source/NAME/...`, the same of each source."""
        return self._measured(fabric, Share.of(fabric))

    def _measured(self, fabric: Fabric, share: Share) -> dict[str, float]:
        lm, size = self.experiment.lm, self.experiment.trainer.validation_batch_size
        assert lm is not None
        counted = {
            name: count_tokens(self.task.model, self.splits, specs, size, fabric.device, fabric.autocast, share)
            for name, specs in self.splits.validation_groups(lm.ctx_frames, self.experiment.seed).items()
        }
        values = _with_objective(TokenMetrics.joined(list(counted.values())).result())
        for name, metrics in counted.items():
            own = _with_objective(metrics.result()) if name else {}
            values |= {f"source/{name}/{key}": value for key, value in own.items()}
        return values

    def measured(self) -> list[str]:
        """The objective, and cross-entropy, perplexity, accuracy and bits over all codebooks and of each; of a mixture
        also of every source."""
        values = ["objective", *TokenMetrics(self.splits.layout).names()]
        return [*values, *(f"source/{source}/{name}" for source in self.splits.sources for name in values)]

    def write_samples(self, fabric: Fabric, directory: Path) -> None:
        """What the model writes from nothing and after real prompts; on rank 0 alone."""
        if not fabric.is_global_zero:
            return
        codec, num_frames = self.make_codec(), self.experiment.task.sample_frames
        write_token_samples(self.task.model, codec, self._prompts(), num_frames, self._sampling(), directory)

    def sum_up(self, fabric: Fabric, folder: RunFolder, note: Note, sources: Mapping[str, float]) -> None:
        """The final metrics beside those of a model that knows how often each token comes, and no more."""
        final = self._measured(fabric, ALL)  # on rank 0 alone
        specs = self._specs()
        baseline = unigram_metrics(self.splits, specs)
        path = folder.summary
        measured = {"task": "rvq_lm", "validation": final, "unigram": baseline, "num_windows": len(specs)}
        write_signed_json(path, measured | dict(sources))
        ours, known = final["bits_per_second"], baseline["bits_per_second"]
        gain = f"{abs(1 - ours / known):.0%} {'fewer' if ours <= known else 'more'}"
        note(
            f"bits per second of audio: {ours:.1f}, {gain} than token frequencies alone need ({known:.1f}); "
            f"perplexity {final['perplexity']:.1f}"
        )
        note(f"summary:    {path}")

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.experiment.task.sample_temperature, seed=self.experiment.seed)

    def _specs(self) -> list[WindowSpec]:
        assert self.experiment.lm is not None
        return self.splits.validation_specs(self.experiment.lm.ctx_frames, self.experiment.seed)

    def _prompts(self) -> list[Tensor]:
        """Prompts (P, K): an empty one, then beginnings of validation windows, of whole ones where there are enough."""
        alignment, streams = self.splits.layout.alignment, self.splits.layout.num_streams
        assert self.experiment.lm is not None
        # Whole periods, so that every stream of the prompt ends with a complete token.
        num_frames = max(self.experiment.lm.ctx_frames // PROMPT_SHARE // alignment, 1) * alignment
        lengths = self.splits.validation.source.lengths
        specs = sorted(self._specs(), key=lambda spec: -min(int(lengths[spec.file]) - spec.start, num_frames))
        specs = specs[: self.experiment.trainer.num_sample_clips - 1]
        batches = [self.splits.validation.batch([spec]) for spec in specs]
        real = [batch.frames[0, : min(num_frames, int(batch.valid_frames[0]))] for batch in batches]
        return [torch.zeros(0, streams, dtype=torch.int64), *real]

    def _rejected(self) -> list[str]:
        """The files that do not train, the first of them by name."""
        bad = self.splits.rejected
        named = [f"not used: {item.path}: {item.reason}" for item in bad[:REJECTED_SHOWN]]
        more = len(bad) - len(named)
        return [*named, *([f"and {more} more files; snac-exp tokens check lists them all"] if more else [])]

    def _split(self) -> str:
        train, validation = (set(part.files.tolist()) for part in (self.splits.train, self.splits.validation))
        # Windows of one file share frames: a model would be validated on what it was trained on.
        both = train & validation
        if both:
            name = self.splits.train.source.name(min(both))
            raise PreflightError(f"{len(both)} files are in both splits, {name} among them; split by file")
        return f"{len(train)} training and {len(validation)} validation files, none in both"

    def _audible(self) -> list[str]:
        """The codec to listen with, where there are samples to decode; it refuses what is not its own."""
        if self.experiment.trainer.num_sample_clips == 0:
            return []
        return [f"samples are decoded by codec {self.make_codec().name}, which has these frames"]

    @torch.no_grad()
    def _causal(self) -> str:
        """Changing a frame must not change the logits of it or of earlier frames in its first stream."""
        model, layout = self.task.model, self.splits.layout
        was_training = model.training
        # Dropout would make any two passes differ.
        model.eval()
        size = 2 * math.lcm(layout.alignment, 2)
        frames = self.splits.validation.batch(
            [WindowSpec(spec.file, spec.start, size) for spec in self._specs()[:1]]
        ).frames
        changed = frames.clone()
        # Another token of the same vocabulary at every place of one frame.
        changed[:, size // 2] = (changed[:, size // 2] + 1) % torch.tensor(layout.vocab_sizes)
        before, after = model(frames)[0], model(changed)[0]
        model.train(was_training)
        if not torch.equal(before[:, : size // 2 + 1], after[:, : size // 2 + 1]):
            raise PreflightError("the prediction of a frame depends on that frame itself: the model would only copy")
        return "no frame is predicted from itself or from later ones"

    @torch.no_grad()
    def _untrained(self) -> str:
        """At the start the loss is that of guessing: log of the vocabulary."""
        model, layout = self.task.model, self.splits.layout
        assert self.experiment.lm is not None
        values = validate_tokens(model, self.splits, self._specs()[:1], 1)
        nats = sum(math.log(size) / period for size, period in zip(layout.vocab_sizes, layout.periods, strict=True))
        guess = nats / sum(1 / period for period in layout.periods)
        if self.experiment.init_from is None and not abs(values["cross_entropy"] - guess) < START_TOLERANCE * guess:
            raise PreflightError(
                f"an untrained model has {values['cross_entropy']:.3f} nats per token, guessing has {guess:.3f}: the "
                "model does not start where a token model should"
            )
        return f"before training {values['cross_entropy']:.3f} nats per token, guessing has {guess:.3f}"
