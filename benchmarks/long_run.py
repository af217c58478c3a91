"""What a run over millions of rows costs before it computes: its plan, the beginning of an epoch, and a resume there.

    python -m benchmarks.long_run [--rows 3400000]

Rows are simulated (benchmarks/simulated_rows.py): codes and audio are made, not read, so that nothing but the size of
the table counts. Phase 12 in steps, which validates every 2,000 of them; a mixture of three sources balanced by
speakers. Peaks are of the process, from before the table is made, imports and the codec left out.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import RESULTS, Figure, record
from snac_exp.codec.opening import open_codec
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.data.mixture.streams import Streams
from snac_exp.training.codec.data_module import CodecDataModule
from snac_exp.training.plan import Plan, unroll

SECONDS, GIB = 10.0, 2.0  # what a resume may take, and the tables of a run
SHARES = (0.6, 0.3, 0.1)
RECIPE = [
    "+experiment=phase12_dual_head", "codec=demo", "curriculum=phase12_large", "lr=phase12_large",
    "trainer.validate_every_steps=2000", "trainer.num_workers=0",
]  # fmt: skip


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_400_000)
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that keeps the figures")
    settings, _ = parser.parse_known_args()
    torch.set_num_threads(1)
    before, times = peak_gib(), dict[str, float]()
    experiment, plan, module = opened(settings.rows, times)
    resumed_at(plan, module, times)
    times["mixture"] = seconds(lambda: mixed(settings.rows))
    held = round(peak_gib() - before, 2)
    details: dict[str, Any] = {name: round(value, 3) for name, value in times.items()}
    details |= {"rows": settings.rows, "steps": plan.num_steps, "epochs": plan.num_epochs}
    rows = f"{settings.rows / 1e6:.1f} million rows"
    record(
        {
            "long_run_resume": Figure(
                f"{rows}: from a checkpoint within an epoch to its next batch", round(times["resume"], 3), "s",
                "at_most", SECONDS, details,
            ),
            "long_run_memory": Figure(
                f"{rows}: memory for table, plan, epoch and a mixture of three", held, "GiB", "at_most", GIB,
                {"of": experiment.name},
            ),
        },
        settings.results,
    )  # fmt: skip


def opened(num_rows: int, times: dict[str, float]) -> tuple[Experiment, Plan, CodecDataModule]:
    """The recipe, its plan and its data; the time of each into `times`."""
    from benchmarks.simulated_rows import SimulatedRows

    experiment, _ = compose_experiment(RECIPE, complete=False)
    codec = open_codec(experiment.codec, 0)
    started = time.process_time()
    splits = SimulatedRows(cache_dir="", num_rows=num_rows).open(codec, {"head_24k": 24_000, "head_48k": 48_000}, 0)
    times["open"] = time.process_time() - started
    module = CodecDataModule(experiment, splits, codec.geometry)
    started = time.process_time()
    plan = unroll(experiment, codec.geometry, 1).counted(module.num_items)
    times["plan"] = time.process_time() - started
    return experiment, plan, module


def resumed_at(plan: Plan, module: CodecDataModule, times: dict[str, float]) -> None:
    """The first batch of the run, and one in the middle of its longest epoch; both with the reading of it."""
    first, longest = plan.epochs[0], max(plan.epochs, key=lambda part: part.num_steps or 0)
    middle = longest.first_batch + (longest.num_steps or 0) // 2
    times["first_batch"] = seconds(lambda: next(iter(module.batches(first, 0, 0, 1, False))))
    times["resume"] = seconds(lambda: next(iter(module.batches(longest, middle, 0, 1, False))))


def mixed(num_rows: int) -> None:
    """Three sources by speakers, made, and an epoch of them."""
    sizes = [round(num_rows * share) for share in (0.8, 0.15, 0.05)]
    groups = [np.arange(size) % 5000 for size in sizes]
    streams = Streams.of(("a", "b", "c"), groups, [round(num_rows * share) for share in SHARES], 0)
    assert len(streams.epoch_items(3)) == streams.num_items


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, whatever others do with it."""
    started = time.process_time()
    work()
    return time.process_time() - started


def peak_gib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
