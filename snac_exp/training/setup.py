"""Everything that a run trains with, as its task's package builds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.geometry import Geometry
from snac_exp.config.schema import Experiment
from snac_exp.training.optimization.groups import ParameterGroups
from snac_exp.training.task import DataModule, Evaluator, Task
from snac_exp.training.warm_start import WarmStart, warm_start


@dataclass(frozen=True)
class TrainingSetup:
    """A run before its first step.

    codec: the pretrained codec; None where there is no SNAC. splits: the opened data. provenance: which codec, and for
    tokens which frames, the weights belong to; checkpoints carry it. warm_start: what was loaded from `init_from`.
    """

    codec: LoadedCodec | None
    splits: Any
    task: Task
    data_module: DataModule
    evaluator: Evaluator
    groups: ParameterGroups
    provenance: dict[str, Any]
    warm_start: WarmStart | None

    @property
    def geometry(self) -> Geometry | None:
        """What a plan in seconds needs; None without a SNAC."""
        return None if self.codec is None else self.codec.geometry


def loaded_from(experiment: Experiment, task: Task, groups: ParameterGroups) -> WarmStart | None:
    """Load the weights that `init_from` names, if any, discriminators too; frozen parameters must be the same there."""
    if experiment.init_from is None:
        return None
    return warm_start(task.model, Path(experiment.init_from).expanduser(), groups.frozen, task.adversary)
