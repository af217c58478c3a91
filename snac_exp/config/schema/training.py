"""What trains, how, and what is kept of it."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Augment:
    """Random changes of training slices, the same for what goes in and what must come out; null = none.

    gain_db: lowest and highest gain in dB. equalizer_db: standard deviation in dB of each octave, as other rooms and
    microphones have it; the strongest octave stays as it is, so that the mean falls by 1.5 of them.
    """

    gain_db: tuple[float, float] | None = None
    equalizer_db: float | None = None


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
class Guards:
    """What stands between a bad batch and the weights.

    outlier_ratio: a step whose loss exceeds this many times the running mean is skipped; null = none is.
    max_rollbacks: so often a value that is not finite sends the run back to its last checkpoint, with all learning
    rates times `rollback_haircut`, before it fails; 0 = it fails at once.
    silence_db: a head of a codec that is more than this below its target at a validation ends the run, in dB; null =
    it is only told.
    """

    outlier_ratio: float | None = None
    outlier_warmup_steps: int = 100  # all admitted, so that the mean means something
    outlier_max_in_row: int = 5  # after so many, one is admitted: the loss itself has risen
    max_rollbacks: int = 0
    rollback_haircut: float = 0.5
    silence_db: float | None = None


@dataclass(frozen=True)
class Trainer:
    """Optimiser, hardware and the cadence of the loop.

    preflight: the proofs made before the first step; one that is left out stands in plan, report and summary.
    kernels: what computes Snakes and residual units on a GPU; a CPU has loops of its own.
    """

    batch_size: int  # over all devices and micro-batches, before the curriculum multiplies it
    validation_batch_size: int
    weight_decay: float
    betas: tuple[float, float]
    grad_clip: float  # total norm that gradients are scaled down to
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"]
    devices: int
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    num_threads: int | None  # of PyTorch on a CPU; None = its own choice
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
    max_steps: int | None = None  # of the whole run; None = as the ranges of stages and phases say
    validate_every_steps: int | None = None  # in place of validate_every_epochs
    samples_every_steps: int | None = None  # in place of samples_every_epochs
    accumulation: int = 1
    ema_decay: float | None = None
    fused_optimizer: bool = False
    tf32: bool = False
    deterministic: bool = False
    compile: bool = False
    kernels: Literal["auto", "triton", "off"] = "auto"
    summary_quality: list[str] = field(default_factory=list)  # groups of metrics that cost time or packages
    prefetch: int | None = None
    quiet: bool = False
    guards: Guards = Guards()


@dataclass(frozen=True)
class Checkpoint:
    """When the whole state is saved and how many of these files stay."""

    every_epochs: int
    every_steps: int
    every_minutes: float
    keep_epochs: int | None  # None = all
    keep_intermediate: int


@dataclass(frozen=True)
class Tracker:
    """Where metrics are logged beside metrics.jsonl.

    mode, entity, artifacts: of W&B; artifacts: which checkpoints it gets a copy of. tensorboard: whether TensorBoard's
    event file is written. trackio: whether rows go to trackio's database on this machine. profile_steps: first and last
    of the steps that torch's profiler records, null = none; the first is at least 2.
    """

    mode: Literal["off", "offline", "online"]
    project: str
    entity: str | None
    tags: list[str]
    artifacts: Literal["none", "best"] = "none"
    tensorboard: bool = False
    trackio: bool = False
    profile_steps: tuple[int, int] | None = None
