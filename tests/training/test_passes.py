"""Epochs, stages and phases of a run as arithmetic."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.config.cadence.periodic import Moment, validates
from snac_exp.config.cadence.ranges import Range, Ranges, Timetable
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Trainer
from snac_exp.training.passes import Part, parts_of
from snac_exp.training.plan import Plan, planned_geometry, unroll


@st.composite
def ranges(draw: st.DrawFn, last: int, prefix: str) -> Ranges:
    """1..last in up to four ranges, the last one open or not."""
    cuts = sorted(draw(st.sets(st.integers(2, max(2, last)), max_size=3)))
    firsts = [1, *(cut for cut in cuts if cut <= last)]
    ends: list[int | None] = [first - 1 for first in firsts[1:]]
    ends.append(draw(st.sampled_from([None, last])))
    return tuple(Range(f"{prefix}{i}", first, end) for i, (first, end) in enumerate(zip(firsts, ends, strict=True)))


@st.composite
def tables(draw: st.DrawFn) -> Timetable:
    last = draw(st.integers(1, 40))
    stages, phases = draw(ranges(last, "s")), draw(ranges(last, "p"))
    return Timetable(draw(st.sampled_from(["epochs", "steps"])), stages, phases, last)


def inside(table: Timetable, part: Part, number: int) -> bool:
    """Whether an epoch or step is of the stage and the phase of a part."""
    found = [
        next(it for it in group if it.name == name)
        for group, name in ((table.stages, part.stage), (table.phases, part.phase))
    ]
    return all(item.first <= number <= (item.last or number) for item in found)


@pytest.mark.slow
@given(table=tables(), max_steps=st.none() | st.integers(1, 50), batches=st.lists(st.integers(1, 9), min_size=4))
@settings(max_examples=150)
def test_every_step_is_in_one_part_of_its_stage_and_phase(
    table: Timetable, max_steps: int | None, batches: list[int]
) -> None:
    sizes = {stage.name: batches[i] for i, stage in enumerate(table.stages)}
    parts = list(parts_of(table, max_steps, sizes.__getitem__))
    total = sum(part.num_steps or 0 for part in parts)
    if table.unit == "steps":
        assert total == min(table.last or 0, max_steps or 999)
    elif max_steps is None:
        assert total == sum(sizes[part.stage] for part in parts)
        assert [part.epoch for part in parts] == list(range(1, (table.last or 0) + 1))
    else:
        assert total <= max_steps
    assert parts[0].first_step == 0
    for before, part in pairwise(parts):
        assert part.first_step == (before.first_step or 0) + (before.num_steps or 0)
        goes_on = part.epoch == before.epoch
        assert part.first_batch == (before.first_batch + (before.num_steps or 0) if goes_on else 0)
        assert goes_on or part.epoch == before.epoch + 1
        assert not goes_on or (part.stage == before.stage and part.phase != before.phase)
    for part in parts:
        assert part.first_batch + (part.num_steps or 0) <= sizes[part.stage], "an epoch is one pass over the data"
        steps = range((part.first_step or 0) + 1, (part.first_step or 0) + (part.num_steps or 0) + 1)
        assert all(inside(table, part, number) for number in ([part.epoch] if table.unit == "epochs" else steps))


def plan_in_steps(*overrides: str) -> Plan:
    arguments = [
        *("+experiment=phase12_dual_head", "data.cache_dir=none", "curriculum=plain_4s", "lr.unit=steps"),
        *("+lr.phases.warmup.steps=[1,3]", "+lr.phases.main.steps=[4,25]", "trainer.batch_size=10", *overrides),
    ]
    experiment, _ = compose_experiment(arguments)
    return unroll(experiment, planned_geometry(experiment))


def test_a_position_leads_to_its_part_and_schedules_go_by_the_steps_of_the_run() -> None:
    plan = plan_in_steps().counted(lambda _: 101)  # eleven batches in an epoch
    epoch, batch, seen, rates = 1, 0, [], []
    while (part := plan.at(epoch, batch)) is not None:
        seen.append((part.epoch, part.phase, part.end_batch))
        for _ in range(part.end_batch - batch):
            rates.append(plan.learning_rates(part, batch).get("trunk"))
            batch += 1
        if plan.ends_epoch(part):
            epoch, batch = epoch + 1, 0
    assert seen == [(1, "warmup", 3), (1, "main", 11), (2, "main", 11), (3, "main", 3)]
    assert (plan.num_steps, plan.num_epochs, plan.num_batches(1), plan.num_batches(3)) == (25, 3, 11, 3)
    main = [rate for rate in rates if rate is not None]
    assert len(main) == 22
    assert rates[:3] == [None] * 3
    assert main.index(max(main)) == pytest.approx(0.3 * 22, abs=1)
    assert main[-1] == pytest.approx(5e-5 / 25 / 1e4), "one cycle over the phase, whose epochs are no matter"
    after_all = plan.at(1, 11)
    assert after_all is not None, "saved between the last step of an epoch and its end"
    assert after_all.phase == "main"


def test_the_most_steps_end_a_run_in_epochs_and_its_schedule() -> None:
    overrides = ["+experiment=phase12_dual_head", "data.cache_dir=none", "trainer.max_steps=100"]
    experiment, _ = compose_experiment([*overrides, "trainer.batch_size=10"])
    plan = unroll(experiment, planned_geometry(experiment)).counted(lambda _: 500)
    assert plan.num_steps == 100
    assert [part.num_steps for part in plan.epochs] == [25, 25, 50]
    assert plan.learning_rates(plan.epochs[-1], 49)["trunk"] == pytest.approx(5e-5 / 25 / 1e4)
    assert plan.validations(replace(experiment.trainer, validate_every_epochs=1)) == [25, 50]
    assert plan.validations(replace(experiment.trainer, validate_every_steps=40)) == [40, 80]
    assert plan.validations(replace(experiment.trainer, validate_every_steps=100)) == []


@cache
def settings_of_trainer() -> Trainer:
    return compose_experiment(["+experiment=phase12_dual_head"], complete=False)[0].trainer


@pytest.mark.slow
@given(every=st.integers(1, 7), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6))
@settings(max_examples=50)
def test_validations_by_steps_come_once_each_and_at_the_end(every: int, lengths: list[int]) -> None:
    trainer = replace(settings_of_trainer(), validate_every_steps=every)
    found, step = [0] if validates(trainer, Moment(0, 0)) else [], 0
    for epoch, length in enumerate(lengths, 1):
        for _ in range(length):
            step += 1
            found += [step] if validates(trainer, Moment(epoch, step)) else []
        last = epoch == len(lengths)
        found += [step] if validates(trainer, Moment(epoch, step, ends_epoch=True, ends_run=last)) else []
    assert found == sorted({0, *range(every, step + 1, every), step})
