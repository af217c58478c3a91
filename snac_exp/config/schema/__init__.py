"""The choices of a recipe as frozen dataclasses, one per config group.

`snac_exp.config.structure` turns the composed YAML into an `Experiment` and refuses whatever is no field here, so the
rest of the package reads typed attributes and never a raw dictionary. Groups that users extend with classes of their
own (heads, data) are `Component`s: there the signature of the class is the schema.
Epoch numbers are 1-based and ranges are inclusive everywhere.
"""

from snac_exp.config.schema.adversary import Adversary, AdversaryWeights
from snac_exp.config.schema.alerts import Alerts
from snac_exp.config.schema.codec import Architecture, Codec, DeclaredGeometry, Init
from snac_exp.config.schema.component import Component
from snac_exp.config.schema.experiment import Experiment
from snac_exp.config.schema.language_model import Depth, LanguageModel
from snac_exp.config.schema.layout import Specials, TokenLayout
from snac_exp.config.schema.objective import CodebookLoss, Loss, LossTerm, TokenLoss, weight_of
from snac_exp.config.schema.quantizer import Quantizer, Start
from snac_exp.config.schema.schedule import Curriculum, Lr, LrPhase, OneCycle, Stage, WarmupCosine
from snac_exp.config.schema.training import Augment, Checkpoint, Guards, Task, Tracker, Trainer

__all__ = [
    "Adversary",
    "AdversaryWeights",
    "Alerts",
    "Architecture",
    "Augment",
    "Checkpoint",
    "CodebookLoss",
    "Codec",
    "Component",
    "Curriculum",
    "DeclaredGeometry",
    "Depth",
    "Experiment",
    "Guards",
    "Init",
    "LanguageModel",
    "Loss",
    "LossTerm",
    "Lr",
    "LrPhase",
    "OneCycle",
    "Quantizer",
    "Specials",
    "Stage",
    "Start",
    "Task",
    "TokenLayout",
    "TokenLoss",
    "Tracker",
    "Trainer",
    "WarmupCosine",
    "weight_of",
]
