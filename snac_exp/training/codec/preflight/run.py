"""The preflight of a codec's training, proof by proof; the first that fails keeps the run from starting."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.start import start_promise
from snac_exp.data.slices.dataset import AlignedDataset, SliceDataset
from snac_exp.data.slices.splits import Splits
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.codec.preflight.codes import prove_codes
from snac_exp.training.codec.preflight.proofs import PROOFS, left_out
from snac_exp.training.codec.preflight.rows import sample_rows
from snac_exp.training.codec.preflight.sound import prove_sound
from snac_exp.training.codec.preflight.targets import prove_targets


@dataclass(frozen=True)
class Preflight:
    """What is proved, and on what.

    init: how the heads promise to start; None where they start from weights of another run. proofs: those of `PROOFS`
    that are made. num_sound_rows: of the proof by sound, in each split. attempt: number of this start of the run;
    every start looks at other rows of a large split.
    """

    task: DecoderTask
    codec: LoadedCodec
    splits: Splits
    init: str | None
    proofs: Collection[str]
    num_sound_rows: int
    seed: int
    attempt: int = 0

    def run(self, note: Callable[[str], None]) -> list[str]:
        """Make the proofs; one line per promise that holds, also given to `note` at once.

        Raises:
            PreflightError: the first promise that does not hold. The run must not start.
        """
        lines = []
        for line in self._lines():
            lines.append(line)
            note(f"preflight: {line}")
        return lines

    def _lines(self) -> Iterator[str]:
        yield from (f"left out, {name}: {PROOFS[name]}" for name in left_out(self.proofs))
        if "start" in self.proofs and self.init is not None:
            yield from start_promise(self.task.model, self.codec, self.init, self.seed)
        for split, dataset in split_datasets(self.splits):
            rows = sample_rows(dataset, encoder_millions(self.codec), self.seed, self.attempt)
            # Raw audio has no cached codes: they are made in the step.
            if "codes" in self.proofs and isinstance(dataset, SliceDataset):
                yield prove_codes(self.codec, dataset, split, rows, self.seed)
            if "targets" in self.proofs:
                yield from self._targets(dataset, split, rows)
            if "sound" in self.proofs:
                yield from self._sound(dataset, split)

    def _targets(self, dataset: AlignedDataset, split: str, rows: list[int]) -> Iterator[str]:
        """Heads of another rate than the codec's are trained towards files of their own, where there are such."""
        # Without targets of its own a head is trained towards the source, which is in time with itself.
        if dataset.folders_of(rows[0]).targets is None:
            return
        for head, rate in self.task.model.rates.items():
            if rate != dataset.geometry.sampling_rate:
                yield prove_targets(dataset, head, rate, split, rows)

    def _sound(self, dataset: AlignedDataset, split: str) -> Iterator[str]:
        context, rates = self.splits.context_tokens, self.task.model.rates
        yield from prove_sound(self.codec, dataset, rates, split, context, self.num_sound_rows, self.seed)


def split_datasets(splits: Splits) -> Iterator[tuple[str, AlignedDataset]]:
    """The datasets of both splits by name; of a mixture those of every source, each proved by itself: a small one is
    hardly met among rows of all."""
    for name, source in splits.by_source().items():
        of = f" of {name}" if name else ""
        yield from ((f"train{of}", source.train), (f"validation{of}", source.validation))


def encoder_millions(codec: LoadedCodec) -> float:
    """Millions of parameters that encoding goes through."""
    num = sum(parameter.numel() for parameter in codec.model.encoder.parameters())
    return float(num) / 1e6
