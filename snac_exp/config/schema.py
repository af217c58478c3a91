"""The choices of a recipe as frozen dataclasses, one per config group.

`snac_exp.config.structure` turns the composed YAML into an `Experiment` and refuses whatever is no field here, so the
rest of the package reads typed attributes and never a raw dictionary. Groups that users extend with classes of their
own (heads, data) are `Component`s: there the signature of the class is the schema.
Epoch numbers are 1-based and ranges are inclusive everywhere.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Component:
    """A class or function named by `_target_`, with the options it is called with."""

    target: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeclaredGeometry:
    """What a recipe expects of its checkpoint, so that it can be planned without one; see `codec.geometry`."""

    sampling_rate: int
    hop_length: int
    vq_strides: list[int]
    attn_window_size: int | None = None


@dataclass(frozen=True)
class Codec:
    """Which SNAC checkpoint: first of a directory in upstream's layout, one bundled with the package, or a hub id."""

    name: str
    path: str | None
    bundled: str | None
    hub_id: str | None
    geometry: DeclaredGeometry | None


@dataclass(frozen=True)
class Init:
    """How the new wide-band layers start: the function of this name in `snac_exp.codec.init`."""

    name: str


@dataclass(frozen=True)
class Stage:
    """A range of epochs with one segment length; a last epoch of null means to the end."""

    epochs: tuple[int, int | None]
    segment_seconds: float
    batch_multiplier: float = 1.0


@dataclass(frozen=True)
class Curriculum:
    """Segment length and batch size over the epochs."""

    rounding: Literal["floor", "round"]
    stages: dict[str, Stage]


@dataclass(frozen=True)
class OneCycle:
    """Shape of a one-cycle schedule: warm-up share, start = peak / div, end = start / final_div."""

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4


@dataclass(frozen=True)
class LrPhase:
    """A range of epochs with one schedule; peak learning rate per group, null = frozen."""

    epochs: tuple[int, int | None]
    schedule: Literal["constant", "cosine", "one_cycle"]
    groups: dict[str, float | None]


@dataclass(frozen=True)
class Lr:
    """Parameter groups by pattern and their learning rates by phase; a pattern of null means: no such group."""

    groups: dict[str, str | None]
    phases: dict[str, LrPhase]
    one_cycle: OneCycle = OneCycle()
    cosine_final_ratio: float = 0.1


@dataclass(frozen=True)
class Loss:
    """Objective: sum over heads of weight x sum over terms of weight x term. Weight 0 is measured, not trained."""

    terms: dict[str, float]
    weights: dict[str, float | None]
    n_ffts: dict[str, list[int]]
    head_terms: dict[str, dict[str, float]] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    window: Literal["hann"] | None = None
    normalized: bool = False


@dataclass(frozen=True)
class Augment:
    """Random changes of training slices; gain_db = lowest and highest gain in dB, null = none."""

    gain_db: tuple[float, float] | None = None


@dataclass(frozen=True)
class Task:
    """What is trained: which parts of the codec stay as they are."""

    freeze_encoder: bool
    freeze_vq: bool


@dataclass(frozen=True)
class Trainer:
    """Optimiser, hardware and the cadence of the loop."""

    batch_size: int
    validation_batch_size: int
    weight_decay: float
    betas: tuple[float, float]
    grad_clip: float
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"]
    devices: int
    precision: Literal["32-true", "bf16-mixed"]
    num_threads: int | None
    num_workers: int
    log_every_steps: int
    max_steps_per_epoch: int | None
    validate_every_epochs: int
    num_sample_clips: int
    preflight_rows: int
    summary_utterances: int | None


@dataclass(frozen=True)
class Checkpoint:
    """When the whole state is saved and how many of these files stay."""

    every_epochs: int
    every_steps: int
    every_minutes: float
    keep_epochs: int | None
    keep_intermediate: int


@dataclass(frozen=True)
class Tracker:
    """Where figures go beside metrics.jsonl."""

    mode: Literal["off", "offline", "online"]
    project: str
    entity: str | None
    tags: list[str]


@dataclass(frozen=True)
class Experiment:
    """One recipe, complete: everything a run needs to know."""

    name: str
    seed: int
    output_dir: str
    codec: Codec
    heads: dict[str, Component]
    init: Init
    curriculum: Curriculum
    lr: Lr
    loss: Loss
    data: Component
    task: Task
    trainer: Trainer
    checkpoint: Checkpoint
    tracker: Tracker
    augment: Augment = Augment()
