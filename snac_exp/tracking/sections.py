"""The sections that metrics are named by, and the axis each is drawn over in W&B."""

from collections.abc import Iterable
from typing import Any

BY_STEP = ("train", "lr", "speed", "data")
"""Logged while training: drawn over the optimiser step."""

BY_EPOCH = ("val", "codebook", "samples", "pictures", "clips")
"""Logged at validations: drawn over the epoch, so that recipes of different batch sizes lie under each other."""


def validation_key(name: str) -> str:
    """How a value that a validation measures is logged: `val/NAME`; codebooks have a section of their own."""
    return name if name.startswith("codebook/") else f"val/{name}"


def define_axes(run: Any, heads: Iterable[str], validates_by: str = "epoch") -> None:
    """Tell a W&B run its axes; of objectives its table also shows the lowest value.

    validates_by: `step` where validations come within epochs, which may be several in one.

    W&B's patterns have a star at their end only, so the objectives are named one by one.
    """
    for axis in ("step", "epoch"):
        run.define_metric(axis, hidden=True)
    for axis, sections in (("step", BY_STEP), (validates_by, BY_EPOCH)):
        for section in sections:
            run.define_metric(f"{section}/*", step_metric=axis)
    for name in ("val/objective", *(f"val/{head}/objective" for head in heads)):
        run.define_metric(name, step_metric=validates_by, summary="min,last")


def data_metrics(batch_size: int, batch_seconds: float, run_seconds: float, epoch_share: float) -> dict[str, float]:
    """The section `data`: slices in a batch and seconds in a slice as the curriculum has them, hours of audio trained
    on in the run so far, and the fraction of the epoch that is done; padding counts as audio."""
    return {
        "data/batch_size": float(batch_size),
        "data/segment_seconds": batch_seconds / batch_size,
        "data/audio_hours": run_seconds / 3600,
        "data/epoch_share": epoch_share,
    }
