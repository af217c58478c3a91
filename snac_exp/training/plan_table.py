"""The plan as tables for people."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from snac_exp.config.schema import Experiment, Loss
from snac_exp.metrics.levels import SILENCING, trained_terms
from snac_exp.training.codec.preflight.proofs import PROOFS, left_out
from snac_exp.training.plan import EpochPlan, Plan

if TYPE_CHECKING:  # groups need torch, a plan does not
    from snac_exp.training.optimization.groups import NamedParameters, ParameterGroups


KERNELS = {
    "auto": "on CUDA Triton's, once a trial on the card succeeds, else the library's with a warning; loops on a CPU",
    "triton": "Triton's, or the run does not start",
    "off": "on CUDA the library's, loops on a CPU",
}
"""What `trainer.kernels` asks for."""

_TIGHT: dict[str, Any] = {"padding": (0, 1), "pad_edge": False, "collapse_padding": True}  # 80 columns are enough


def epoch_table(plan: Plan) -> Table:
    """One row per epoch, of a recipe in steps one per stage and phase: epochs and steps as far as they are known,
    segment, batch, peak rate of each group (- is frozen) and loss weight of each head."""
    first, places = plan.epochs[0], _places(plan)
    heads = "/".join(head.removeprefix("head_") for head in first.loss_weights)
    known = " and ".join(name for name in ("epochs", "steps") if name in places)
    table = Table(
        title=f"{known} (peak learning rate per group, - is frozen)", title_justify="left", box=SIMPLE_HEAD, **_TIGHT
    )
    if "epochs" in places:
        table.add_column("epoch")
    if "steps" in places:
        table.add_column("to step", justify="right")
    for column in ("stage", "phase"):
        table.add_column(column)
    in_frames = first.segment_seconds is None
    for column in ("sec", "frames" if in_frames else "tokens", "batch"):
        table.add_column(column, justify="right")
    for group in first.peak_rates:
        # A column more would leave names no room.
        table.add_column(escape(group.replace("_", "_\n") if len(places) > 1 else group), justify="right")
    table.add_column(escape(f"loss {heads}"), justify="right")
    for epoch, *named in zip(_rows(plan), *places.values(), strict=True):
        table.add_row(
            *(*named, escape(epoch.stage), escape(epoch.phase)),
            "-" if epoch.segment_seconds is None else f"{epoch.segment_seconds:g}",
            *(str(epoch.num_tokens), str(epoch.batch_size)),
            *("-" if rate is None else _compact(rate) for rate in epoch.peak_rates.values()),
            "/".join(f"{weight:g}" for weight in epoch.loss_weights.values()),
        )
    return table


def _rows(plan: Plan) -> list[EpochPlan]:
    return [parts[0] for parts in _merged(plan)]


def _places(plan: Plan) -> dict[str, list[str]]:
    """Of every row its epochs and its last step, those of both that are known."""
    rows, found = _merged(plan), dict[str, list[str]]()
    if plan.is_counted or plan.timetable.unit == "epochs":
        found["epochs"] = [_span(parts[0].epoch, parts[-1].epoch) for parts in rows]
    if plan.is_counted or plan.timetable.unit == "steps":
        found["steps"] = [str((parts[-1].first_step or 0) + (parts[-1].num_steps or 0)) for parts in rows]
    return found


def _merged(plan: Plan) -> list[list[EpochPlan]]:
    """The parts of a plan row by row: a recipe in steps may have very many epochs."""
    if plan.timetable.unit == "epochs":
        return [[epoch] for epoch in plan.epochs]
    return [list(parts) for _, parts in groupby(plan.epochs, key=lambda part: (part.stage, part.phase))]


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def cadence_line(experiment: Experiment) -> str:
    """What comes back every so often, and what ends the run early."""
    trainer, checkpoint = experiment.trainer, experiment.checkpoint
    by_step, samples = trainer.validate_every_steps, trainer.samples_every_steps
    validations = f"{by_step} steps" if by_step else f"{trainer.validate_every_epochs} epochs"
    clips = f"{samples or by_step} steps" if by_step else f"{trainer.samples_every_epochs} epochs"
    parts = [
        f"validation every {validations}",
        f"samples every {clips}" if trainer.num_sample_clips else "no samples",
        f"checkpoints every {checkpoint.every_epochs} epochs, {checkpoint.every_steps} steps and "
        f"{checkpoint.every_minutes:g} minutes",
        f"at most {trainer.max_steps} steps in all" if trainer.max_steps else "",
    ]
    return "; ".join(filter(None, parts))


def hardware_line(experiment: Experiment) -> str:
    """On what a recipe computes, in which precision, and what is made fast."""
    trainer = experiment.trainer
    prefetch = 2 if trainer.prefetch is None else trainer.prefetch
    reading = f"{trainer.num_workers} processes read {prefetch} batches ahead each" if trainer.num_workers else ""
    parts = [
        f"{trainer.devices} x {trainer.accelerator}",
        trainer.precision,
        f"TensorFloat-32 {'on' if trainer.tf32 else 'off'}",
        f"AdamW{' in one kernel' if trainer.fused_optimizer else ''}",
        "compiled" if trainer.compile else "not compiled",
        "sums in one order" if trainer.deterministic else "",
        reading or "the training process reads",
    ]
    return f"hardware: {', '.join(filter(None, parts))}"


def preflight_line(experiment: Experiment) -> str | None:
    """What the recipe leaves out of the preflight, or None where it proves everything."""
    missing = left_out(experiment.trainer.preflight)
    return f"the preflight leaves out: {'; '.join(f'{name} ({PROOFS[name]})' for name in missing)}" if missing else None


def start_line(experiment: Experiment) -> str | None:
    """How a codec that is trained whole begins and how its codebooks learn; None where nothing is made of data."""
    start, quantizer, parts = experiment.start, experiment.quantizer, list[str]()
    if start.standardise_batches:
        parts.append(f"every layer gets its scale on {start.standardise_batches} batches")
    if start.autoencoder_steps:
        parts.append(
            f"{start.autoencoder_steps} steps without codebooks (noise of {start.autoencoder_noise:g} stands for "
            "rounding; validations use the codebooks as they are)"
        )
    if start.kmeans_batches:
        parts.append(f"codebooks begin at step {start.autoencoder_steps} by k-means of {start.kmeans_batches} batches")
    if quantizer.codebooks == "average":
        parts.append(f"codebooks are moving averages of what chose them (decay {quantizer.decay:g})")
    if quantizer.restart_below:
        parts.append(f"entries chosen less than {quantizer.restart_below:g} of the mean begin anew")
    return f"start: {'; '.join(parts)}" if parts else None


def phases_line(experiment: Experiment) -> str | None:
    """Which terms phases weigh otherwise than validations do; None where none does."""
    parts = [
        f"{phase} trains with {', '.join(f'{name} {weight:g}' for name, weight in terms.items())}"
        for phase, terms in experiment.loss.phase_terms.items()
    ]
    return f"objective: {'; '.join(parts)}; validations weigh terms as loss.terms" if parts else None


def silence_line(experiment: Experiment) -> str | None:
    """That heads train, in some phase, on terms alone that teach silence; None where no head does, or an adversary
    trains too."""
    loss = experiment.loss
    quiet = [
        head
        for head in experiment.heads
        if any(loss.head_weights(phase)[head] and _teaches_silence(loss, head, phase) for phase in experiment.lr.phases)
    ]
    if not quiet or experiment.adversary.kind != "none":
        return None
    return (
        f"objective: {', '.join(quiet)} with {' and '.join(SILENCING)} alone may fall silent, since their best answer "
        "to a phase that cannot be foreseen is a smaller signal; loss=spectral, which has loss.terms.log_mel and "
        "loss.terms.stft_magnitude, or adversary=dac prevent it, and val/HEAD/level_db shows it"
    )


def _teaches_silence(loss: Loss, head: str, phase: str) -> bool:
    used = set(trained_terms(loss, head, phase))
    return bool(used) and used <= set(SILENCING)


def group_table(experiment: Experiment, groups: "ParameterGroups | None" = None) -> Table:
    """One row per group: pattern, peak rate per phase (or frozen), and with a model tensors and parameters."""
    table = Table(
        title="parameter groups (peak learning rate per phase)", title_justify="left", box=SIMPLE_HEAD, **_TIGHT
    )
    table.add_column("group")
    table.add_column("pattern", overflow="fold")
    if groups is not None:
        table.add_column("tensors", justify="right")
        table.add_column("parameters", justify="right")
    for phase, item in experiment.lr.phases.items():
        table.add_column(escape(f"{phase} ({item.schedule})"), justify="right")
    for name, pattern in experiment.lr.groups.items():
        if pattern is None:
            continue
        rates = [item.groups[name] for item in experiment.lr.phases.values()]
        counts = [] if groups is None else _counts(groups.groups[name])
        table.add_row(
            escape(name), escape(pattern), *counts, *("frozen" if rate is None else _compact(rate) for rate in rates)
        )
    if groups is not None and groups.frozen:
        table.add_row("(frozen)", "by task", *_counts(groups.frozen), *("frozen" for _ in experiment.lr.phases))
    if groups is not None and groups.averages:
        averages = ("average" for _ in experiment.lr.phases)
        table.add_row("(codebooks)", "by quantizer.codebooks", *_counts(groups.averages), *averages)
    return table


def _compact(rate: float) -> str:
    """5e-05 -> 5e-5, 0.0002 -> 2e-4: the form that recipes use."""
    # Python writes exponents with two digits at least.
    digits, _, exponent = f"{rate:e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"


def _counts(parameters: "NamedParameters") -> list[str]:
    return [str(len(parameters)), f"{sum(item.numel() for item in parameters.values()):,}"]
