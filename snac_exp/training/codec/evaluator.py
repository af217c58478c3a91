"""What proves, measures and sums up the training of a codec."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console as RichConsole

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.schema import Experiment
from snac_exp.data.slices.splits import Splits
from snac_exp.evaluation.summary import summarize, summary_table, write_summary
from snac_exp.evaluation.utterance_rows import write_utterances
from snac_exp.metrics.waveform.level import LEVEL
from snac_exp.release.blueprint import Blueprint
from snac_exp.release.codec import ReleasedCodec
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.codec.autoencoder_task import AutoencoderTask
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.codec.preflight.all_rows import check_all_rows
from snac_exp.training.codec.preflight.proofs import left_out
from snac_exp.training.codec.preflight.run import Preflight
from snac_exp.training.codec.samples import write_samples
from snac_exp.training.codec.validation import SOURCE, validate
from snac_exp.training.task import Evaluator, Note


@dataclass(frozen=True)
class CodecEvaluator(Evaluator):
    """Alignment and start before the first step; fixed slices during training; whole utterances at the end.

    initial: makes the model as it was before training, to be measured beside the final one.
    """

    experiment: Experiment
    codec: LoadedCodec
    splits: Splits
    task: DecoderTask
    initial: Callable[[], MultiRateSnac]

    def preflight(self, note: Note, attempt: int = 0) -> list[str]:
        """Heads start where the recipe says; codes and audio line up; cached codes come back."""
        return self._preflight(self._proofs(), attempt).run(note)

    def check_all_rows(self, folder: Path, note: Note) -> int:
        """The proofs by codes and by targets of every row; before it, those that are not of single rows."""
        of_rows = [name for name in self._proofs() if name in ("codes", "targets")]
        others = [name for name in self._proofs() if name not in of_rows]
        num_bad = check_all_rows(self._preflight(of_rows), folder, note)
        self._preflight(others).run(lambda line: None if "left out" in line else note(line))
        return num_bad

    def _preflight(self, proofs: list[str], attempt: int = 0) -> Preflight:
        experiment = self.experiment
        # Weights of another run start where that run ended: there is no init to prove.
        init = None if experiment.init is None or experiment.init_from is not None else experiment.init.name
        rows, seed = experiment.trainer.preflight_rows, experiment.seed
        return Preflight(self.task, self.codec, self.splits, init, proofs, rows, seed, attempt)

    def _proofs(self) -> list[str]:
        """Those the recipe asks for; what random weights decode can be compared with nothing."""
        untrained = self.experiment.codec.scratch is not None
        return [name for name in self.experiment.trainer.preflight if name != "sound" or not untrained]

    def validate(self, fabric: Fabric) -> dict[str, float]:
        """Means of every term over the fixed validation slices."""
        return validate(self.task, self.splits, self.experiment, fabric)

    def measured(self) -> list[str]:
        """Terms, objective and level of every head, the objective of all, and what is known of the codebooks; of a
        mixture also of every source."""
        terms, usage = self.task.measured_codes()
        values = ["objective", *terms]
        for head in self.task.model.rates:
            own = (*self.task.objective.weights(head), "objective", LEVEL.name)
            values += [f"{head}/{name}" for name in own]
        of_sources = [f"{SOURCE}{source}/{name}" for source in self.splits.sources for name in values]
        return [*values, *usage, *of_sources]

    def write_samples(self, fabric: Fabric, directory: Path) -> None:
        """Audio and pictures of the first fixed clips."""
        original = None if self.experiment.codec.scratch is not None else self.codec
        write_samples(self.task, self.splits, self.experiment, fabric, directory, original)

    def sum_up(self, fabric: Fabric, folder: RunFolder, note: Note, sources: Mapping[str, float]) -> None:
        """The final model beside interpolation, noise and itself before training, as `snac-exp evaluate` measures."""
        summary = summarize(
            self._released(self.task.model, fabric.device),
            self._released(self.initial(), fabric.device),
            self.splits,
            num_utterances=self.experiment.trainer.summary_utterances,
            quality=self.experiment.trainer.summary_quality,
            encode=isinstance(self.task, AutoencoderTask),  # the data's codes are those of the codec it began with
            keep=lambda utterances, scores: write_utterances(folder.path, utterances, scores),
        )
        # Beside the metrics, where whoever compares runs finds it.
        summary |= {f"preflight_left_out/{name}": 1.0 for name in left_out(self._proofs())}
        path = write_summary(folder.path, summary | dict(sources))
        text = StringIO()
        RichConsole(file=text, width=120).print(summary_table(summary))
        note(text.getvalue())
        note(f"summary:    {path}")

    def _released(self, model: MultiRateSnac, device: torch.device) -> ReleasedCodec:
        """A copy of a model in the form in which it is released and evaluated."""
        heads = {name: {"_target_": head.target, **head.options} for name, head in self.experiment.heads.items()}
        blueprint = Blueprint(self.codec.name, dict(self.codec.config), heads, self.codec.fingerprint)
        return ReleasedCodec(copy.deepcopy(model), blueprint, device=device)
