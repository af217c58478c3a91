"""The epochs of a run as arithmetic: which steps each has, and where stages and phases divide it.

An epoch is one pass over the data. A stage begins an epoch of its own: where stages are in steps and one ends in the
middle of an epoch, that epoch ends there, since the next has other batches. A phase goes on within an epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from snac_exp.config.cadence.ranges import Timetable, range_at

NumBatches = Callable[[str], int]
"""Batches of one pass over the data in a stage."""


@dataclass(frozen=True)
class Part:
    """Consecutive steps of one epoch that are of one stage and one phase.

    first_step: steps of the run before it. first_batch: batches of its epoch before it. num_steps: None where only the
    data can tell, and then first_step is None from there on.
    """

    epoch: int
    stage: str
    phase: str
    first_batch: int = 0
    first_step: int | None = None
    num_steps: int | None = None


def parts_of(table: Timetable, max_steps: int | None, num_batches: NumBatches | None = None) -> Iterator[Part]:
    """The parts of a run in order; `num_batches` None: nothing is known of the data.

    Without it parts in epochs have no steps, and parts in steps are of one epoch per stage, as of endless data.
    """
    if table.unit == "steps":
        yield from _in_steps(table, max_steps, num_batches)
    else:
        yield from _in_epochs(table, max_steps, num_batches)


def _in_epochs(table: Timetable, max_steps: int | None, num_batches: NumBatches | None) -> Iterator[Part]:
    assert table.last is not None  # a recipe in epochs has an end
    step = 0
    for epoch in range(1, table.last + 1):
        stage, phase = range_at(table.stages, epoch).name, range_at(table.phases, epoch).name
        if num_batches is None:
            yield Part(epoch, stage, phase)
            continue
        num = num_batches(stage) if max_steps is None else min(num_batches(stage), max_steps - step)
        if num == 0:
            return
        yield Part(epoch, stage, phase, 0, step, num)
        step += num


def _in_steps(table: Timetable, max_steps: int | None, num_batches: NumBatches | None) -> Iterator[Part]:
    ends = [end for end in (table.last, max_steps) if end is not None]
    step, epoch, end = 0, 0, min(ends)
    while step < end:
        stage, epoch, first = range_at(table.stages, step + 1), epoch + 1, step
        epoch_end = min(end, stage.last or end)
        if num_batches is not None:
            epoch_end = min(epoch_end, step + num_batches(stage.name))
        while step < epoch_end:
            phase = range_at(table.phases, step + 1)
            part_end = min(epoch_end, phase.last or end)
            yield Part(epoch, stage.name, phase.name, step - first, step, part_end - step)
            step = part_end
