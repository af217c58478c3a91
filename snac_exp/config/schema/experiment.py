"""A whole recipe."""

from dataclasses import dataclass, field

from snac_exp.config.schema.adversary import Adversary
from snac_exp.config.schema.alerts import Alerts
from snac_exp.config.schema.codec import Codec, Init
from snac_exp.config.schema.component import Component
from snac_exp.config.schema.language_model import LanguageModel
from snac_exp.config.schema.objective import Loss
from snac_exp.config.schema.quantizer import Quantizer, Start
from snac_exp.config.schema.schedule import Curriculum, Lr
from snac_exp.config.schema.training import Augment, Checkpoint, Task, Tracker, Trainer


@dataclass(frozen=True)
class Experiment:
    """One recipe, complete: everything a run needs to know."""

    name: str
    seed: int
    output_dir: str
    codec: Codec
    curriculum: Curriculum
    lr: Lr
    loss: Loss
    data: Component
    task: Task
    trainer: Trainer
    checkpoint: Checkpoint
    tracker: Tracker
    heads: dict[str, Component] = field(default_factory=dict)
    init: Init | None = None
    start: Start = field(default_factory=Start)
    quantizer: Quantizer = field(default_factory=Quantizer)
    augment: Augment = field(default_factory=Augment)
    lm: LanguageModel | None = None
    init_from: str | None = None
    adversary: Adversary = field(default_factory=Adversary)
    alerts: Alerts = field(default_factory=Alerts)
