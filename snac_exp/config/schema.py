"""The choices of a recipe as frozen dataclasses, one per config group.

`snac_exp.config.structure` turns the composed YAML into an `Experiment` and refuses whatever is no field here, so the
rest of the package reads typed attributes and never a raw dictionary. Groups that users extend with classes of their
own (heads, data) are `Component`s: there the signature of the class is the schema.
Epoch numbers are 1-based and ranges are inclusive everywhere.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from snac_exp.config.adversary import Adversary


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
class Architecture:
    """Upstream's arguments of a SNAC that starts from random weights; latent_dim null = the encoder's end."""

    sampling_rate: int
    encoder_dim: int
    encoder_rates: list[int]
    decoder_dim: int
    decoder_rates: list[int]
    attn_window_size: int | None
    codebook_size: int
    codebook_dim: int
    vq_strides: list[int]
    noise: bool
    depthwise: bool
    latent_dim: int | None = None


@dataclass(frozen=True)
class Codec:
    """Which checkpoint: first of a directory in upstream's layout, one bundled with the package, or a hub id.

    kind: snac; or dac, which only token models use. scratch: no checkpoint but random weights of this architecture.
    """

    name: str
    path: str | None
    bundled: str | None
    hub_id: str | None
    geometry: DeclaredGeometry | None
    kind: Literal["snac", "dac"] = "snac"
    scratch: Architecture | None = None


@dataclass(frozen=True)
class Init:
    """How the new wide-band layers start: the function of this name in `snac_exp.codec.init`."""

    name: str


@dataclass(frozen=True)
class Stage:
    """A range of epochs with one segment length, in seconds of audio or in frames of tokens; a last epoch of null means
    to the end."""

    epochs: tuple[int, int | None]
    segment_seconds: float | None = None
    segment_frames: int | None = None
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
class WarmupCosine:
    """Shape of a warm-up with cosine decay: share of the phase that rises, and the rate at its end."""

    pct_start: float = 0.03
    eta_min: float = 0.0


@dataclass(frozen=True)
class LrPhase:
    """A range of epochs with one schedule; peak learning rate per group, null = frozen."""

    epochs: tuple[int, int | None]
    schedule: Literal["constant", "cosine", "one_cycle", "warmup_cosine"]
    groups: dict[str, float | None]


@dataclass(frozen=True)
class Lr:
    """Parameter groups by pattern and their learning rates by phase; a pattern of null means: no such group."""

    groups: dict[str, str | None]
    phases: dict[str, LrPhase]
    one_cycle: OneCycle = OneCycle()
    warmup_cosine: WarmupCosine = WarmupCosine()
    cosine_final_ratio: float = 0.1


@dataclass(frozen=True)
class TokenLoss:
    """Cross-entropy of a token model. codebook_weights: auto (1 + alpha k / (K - 1)), equal, or one per codebook."""

    codebook_weights: Literal["auto", "equal"] | list[float]
    alpha: float
    label_smoothing: float


@dataclass(frozen=True)
class CodebookLoss:
    """Weights of the quantizer's losses, used where encoder or VQ train; unevenness keeps codes from collapsing."""

    commitment: float = 0.25
    codebook: float = 1.0
    unevenness: float = 0.0


@dataclass(frozen=True)
class LossTerm:
    """A loss term with its weight: a function or a torch.nn.Module, from a `SignalPair` to a scalar."""

    weight: float
    component: Component


@dataclass(frozen=True)
class Loss:
    """Objective: sum over heads of weight x sum over terms of weight x term. Weight 0 is measured, not trained.

    terms: a bare number is the weight of the term of that name in snac_exp/losses/terms; any other term is described,
    {weight: 1.0, _target_: my_module.MyTerm, option: value}. A token model has no heads, and `tokens` instead.
    """

    terms: dict[str, float | LossTerm] = field(default_factory=dict)
    weights: dict[str, float | None] = field(default_factory=dict)
    n_ffts: dict[str, list[int]] = field(default_factory=dict)
    head_terms: dict[str, dict[str, float]] = field(default_factory=dict)
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    window: Literal["hann"] | None = None
    normalized: bool = False
    codebook: CodebookLoss = CodebookLoss()
    tokens: TokenLoss | None = None


@dataclass(frozen=True)
class Augment:
    """Random changes of training slices; gain_db = lowest and highest gain in dB, null = none."""

    gain_db: tuple[float, float] | None = None


@dataclass(frozen=True)
class Task:
    """What is trained: a codec (which parts of it stay as they are), or a language model on its tokens.

    name: codec, rvq_lm, or the path of a package of one's own, see `snac_exp.config.task_package`.
    quantizer_dropout: share of training items decoded from a random number of codebooks; used where the VQ trains.
    sample_frames: frames that a token model writes for each of its samples.
    """

    name: str
    freeze_encoder: bool = True
    freeze_vq: bool = True
    quantizer_dropout: float = 0.0
    sample_frames: int = 1290
    sample_temperature: float = 1.1


@dataclass(frozen=True)
class Depth:
    """The model over the streams inside one frame; used with pattern=depth only."""

    d_model: int
    num_layers: int
    num_heads: int


@dataclass(frozen=True)
class LanguageModel:
    """A token transformer.

    ctx_frames: longest window it can attend to, in frames. mlp_ratio: hidden units of the MLP per model dimension.
    checkpointing: recompute activations in the backward pass, for less memory.
    """

    pattern: Literal["parallel", "delay", "flatten", "depth"]
    d_model: int
    num_layers: int
    num_heads: int
    dropout: float
    ctx_frames: int
    positions: Literal["learned", "rotary"]
    depth: Depth
    mlp_ratio: float = 4.0
    checkpointing: bool = False


@dataclass(frozen=True)
class Guards:
    """What stands between a bad batch and the weights.

    outlier_ratio: a step whose loss exceeds this many times the running mean is skipped; null = none is.
    max_rollbacks: so often a value that is not finite sends the run back to its last checkpoint, with all learning
    rates times `rollback_haircut`, before it fails; 0 = it fails at once.
    """

    outlier_ratio: float | None = None
    outlier_warmup_steps: int = 100
    outlier_max_in_row: int = 5
    max_rollbacks: int = 0
    rollback_haircut: float = 0.5


@dataclass(frozen=True)
class Trainer:
    """Optimiser, hardware and the cadence of the loop.

    preflight: the proofs made before the first step; one that is left out stands in plan, report and summary.
    """

    batch_size: int
    validation_batch_size: int
    weight_decay: float
    betas: tuple[float, float]
    grad_clip: float
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"]
    devices: int
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    num_threads: int | None
    num_workers: int
    log_every_steps: int
    max_steps_per_epoch: int | None
    validate_every_epochs: int
    num_sample_clips: int
    preflight_rows: int
    summary_utterances: int | None
    preflight: list[Literal["start", "codes", "sound", "targets"]] = field(
        default_factory=lambda: ["start", "codes", "sound", "targets"]
    )
    samples_every_epochs: int = 1
    accumulation: int = 1
    ema_decay: float | None = None
    fused_optimizer: bool = False
    tf32: bool = False
    compile: bool = False
    prefetch: int | None = None
    quiet: bool = False
    guards: Guards = Guards()


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
    """Where figures go beside metrics.jsonl.

    artifacts: which checkpoints W&B gets a copy of. profile_steps: first and last of the steps that torch's profiler
    records, null = none; the first is at least 2.
    """

    mode: Literal["off", "offline", "online"]
    project: str
    entity: str | None
    tags: list[str]
    artifacts: Literal["none", "best"] = "none"
    profile_steps: tuple[int, int] | None = None


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
    augment: Augment = Augment()
    lm: LanguageModel | None = None
    init_from: str | None = None
    adversary: Adversary = field(default_factory=Adversary)
