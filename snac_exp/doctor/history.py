"""The losses of a run: did it diverge, when, and what came before."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.config.schema.objective import Loss
from snac_exp.config.structure import structure
from snac_exp.doctor.findings import Finding, note, problem
from snac_exp.errors import ConfigError
from snac_exp.metrics.levels import cause, heads_below, levels_of
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder

Line = Mapping[str, Any]

# A curriculum or another phase changes a loss by tens of percent; this is neither.
LOSS_RISE = 5.0
# Lines whose median is the level of the training loss: single batches are noisy.
LEVEL_LINES = 5
# The validation objective is over fixed slices and weights, so twice its best is no noise either.
OBJECTIVE_RISE = 2.0
LINES_BEFORE, LINES_AFTER = 4, 2  # training lines shown around a divergence


@dataclass(frozen=True)
class Divergence:
    """Where a run went wrong: the last step that was still good, the first that was not, and why."""

    good_step: int
    step: int
    reason: str


def lines_of(run_dir: Path | None, last_step: int | None) -> list[dict[str, Any]]:
    """The run's metrics.jsonl, up to a step."""
    if run_dir is None or not RunFolder(run_dir).metrics.is_file():
        return []
    # A run may have gone on after a checkpoint, and that says nothing of it.
    return [line for line in read_metrics(run_dir) if last_step is None or line["step"] <= last_step]


def divergence(lines: Sequence[Line]) -> Divergence | None:
    """The first sign of a divergence: a value that is not finite, a training loss that rose and stayed up, or a
    validation objective far above its best."""
    # Three signs, since each alone misses some: NaN may come without a rise, and a rise without NaN.
    signs = [sign(lines) for sign in (_not_finite, _loss_rose, _objective_rose)]
    return min((sign for sign in signs if sign is not None), key=lambda sign: sign.step, default=None)


def examine_history(lines: Sequence[Line], run_dir: Path | None, *, whole_run: bool) -> Iterator[Finding]:
    """Findings about the losses; about the run itself only where it is looked at as a whole."""
    if run_dir is None:
        return
    found, folder = divergence(lines), RunFolder(run_dir)
    if found is not None:
        yield problem("history", folder.metrics.name, f"step {found.step}: {found.reason}")
    if not whole_run:
        return
    status = folder.status() or {}
    error = (str(status.get("error") or "").strip().splitlines() or [""])[-1]
    snapshots = sorted(path.name for path in folder.checkpoints.glob("nonfinite_*.pt"))
    failed = status.get("state") == "failed" and "DivergenceError" in error
    if failed:
        yield problem("history", folder.status_file.name, error.rpartition("DivergenceError: ")[2])
    for head, level in _silent_heads(lines).items():
        text = f"{head} is {-level:.1f} dB below its target. {_cause(folder, head)}"
        yield note("history", folder.metrics.name, text)
    if snapshots:
        text = "the state before a step whose figures were not finite; nothing was updated with it"
        yield note("history", ", ".join(snapshots), text)


def _cause(folder: RunFolder, head: str) -> str:
    """Why, by the objective that the run was begun with."""
    try:
        loss = structure(Loss, folder.values()["loss"])
    except ConfigError as error:
        return f"Its objective cannot be told: {error}"
    return cause(loss, head)


def _silent_heads(lines: Sequence[Line]) -> dict[str, float]:
    """Heads that the last validation found far below their targets, with their levels in dB."""
    last = next((line for line in reversed(lines) if line["kind"] == "validation"), None)
    return {} if last is None or last["step"] == 0 else heads_below(levels_of(last))


def around(lines: Sequence[Line], found: Divergence | None) -> list[Line]:
    """The training lines before and after a divergence, or the last ones."""
    trained = [line for line in lines if line["kind"] == "train"]
    if found is None:
        return trained[-LINES_BEFORE:]
    place = next((index for index, line in enumerate(trained) if line["step"] >= found.step), len(trained))
    return trained[max(0, place - LINES_BEFORE) : place + LINES_AFTER]


def _not_finite(lines: Sequence[Line]) -> Divergence | None:
    good = 0
    for line in lines:
        # metrics.jsonl has null where a value was not finite: JSON knows no NaN.
        names = [name for name, value in line.items() if value is None and name.startswith(("train/", "val/"))]
        if names:
            return Divergence(good, line["step"], f"{', '.join(names[:3])} not finite")
        good = line["step"]
    return None


def _loss_rose(lines: Sequence[Line]) -> Divergence | None:
    """The level of the last lines is far above the lowest one, and has stayed there since the line that is named."""
    series = [(line["step"], line["train/loss"]) for line in lines if line.get("train/loss") is not None]
    if len(series) < 2 * LEVEL_LINES:
        return None
    losses = [loss for _, loss in series]
    # Medians of neighbouring lines: one bad batch moves no median, a divergence moves all of them.
    levels = [statistics.median(losses[end - LEVEL_LINES : end]) for end in range(LEVEL_LINES, len(losses) + 1)]
    limit = LOSS_RISE * min(levels)
    if levels[-1] <= limit or limit <= 0:  # a GAN's or a log loss may be below 0, where a ratio means nothing
        return None
    # From this line on no loss came back below the limit; failing that, the last line.
    first = next(place for place in range(len(losses)) if min(losses[place:]) > limit or place == len(losses) - 1)
    good = series[first - 1][0] if first else 0
    text = f"the training loss is {levels[-1] / min(levels):.0f} times its lowest level and does not come back"
    return Divergence(good, series[first][0], text)


def _objective_rose(lines: Sequence[Line]) -> Divergence | None:
    series = [(line["step"], line["val/objective"]) for line in lines if line.get("val/objective") is not None]
    if not series:
        return None
    best_step, best = min(series, key=lambda pair: pair[1])
    # Only the last value counts: an objective that came back has recovered.
    if best <= 0 or series[-1][1] <= OBJECTIVE_RISE * best:
        return None
    step = next(step for step, value in series if step > best_step and value > OBJECTIVE_RISE * best)
    text = f"the validation objective is {series[-1][1]:.4g}, and was {best:.4g} at step {best_step}"
    return Divergence(best_step, step, text)
