"""Ranges in epochs or steps, what is periodic, and what of it counts for the hash of a recipe."""

import pytest

from snac_exp.config.cadence.ranges import Range, Timetable, timetable
from snac_exp.config.compose import compose_experiment
from snac_exp.config.meaning.digest import meaning_hash
from snac_exp.config.schema import Curriculum, Lr, LrPhase, Stage
from snac_exp.errors import ConfigError

Given = tuple[int, int | None]


def table(
    unit: str, stages: list[Given], phases: list[Given], max_steps: int | None = None, of_stages: str | None = None
) -> Timetable:
    of_stages, of_phases = of_stages or unit, unit
    made = {f"s{i}": Stage(**{of_stages: item}, segment_seconds=1.0) for i, item in enumerate(stages)}
    timed = {f"p{i}": LrPhase("constant", {}, **{of_phases: item}) for i, item in enumerate(phases)}
    return timetable(Curriculum("floor", made, of_stages), Lr({}, timed, unit=of_phases), max_steps)  # type: ignore[arg-type]


def test_ranges_are_ordered_and_an_open_end_reaches_to_the_others() -> None:
    found = table("steps", [(3, None), (1, 2)], [(1, 9)])
    assert found == Timetable("steps", (Range("s1", 1, 2), Range("s0", 3, None)), (Range("p0", 1, 9),), 9)
    assert table("steps", [(1, None)], [(1, 4), (5, None)], max_steps=100).last is None
    assert table("steps", [(1, None)], [(1, 9)], of_stages="epochs").unit == "steps", "one range over all has no unit"
    assert table("epochs", [(1, None)], [(1, None)], max_steps=100).unit == "steps"


@pytest.mark.parametrize(
    ("stages", "phases", "of_stages", "message"),
    [
        ([(1, None)], [(1, 2), (3, None)], None, "names a last step; give one range an end.* or set trainer.max_steps"),
        ([(1, 2), (3, 9)], [(1, 9)], "epochs", "curriculum.unit=epochs and lr.unit=steps: .* in one unit"),
        ([(1, 2), (4, 9)], [(1, 9)], None, r"curriculum.stages.s1.steps=\[4, 9\] leaves a gap: step 3 has no entry"),
        (
            [(1, 2), (2, 9)],
            [(1, 9)],
            {},
            r"curriculum.stages.s1.steps=\[2, 9\] overlaps curriculum.stages.s0; start at 3",
        ),
        (
            [(1, None), (3, 9)],
            [(1, 9)],
            {},
            r"curriculum.stages.s0.steps=\[1, null\] must end where the next one begins",
        ),
        ([(1, 9)], [(1, 8)], None, r"lr.phases ends at step 8 but the recipe has 9; set lr.phases.p0.steps=\[…, 9\]"),
        ([(1, 9)], [(5, 2)], None, "the first step comes after the last"),
    ],
)
def test_ranges_that_do_not_cover_a_run_are_named(
    stages: list[Given], phases: list[Given], of_stages: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        table("steps", stages, phases, of_stages=of_stages)


PHASE_12 = ["+experiment=phase12_dual_head", "data.cache_dir=/none"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lr.unit=steps"], "lr.phases.warmup has no steps, and lr.unit=steps counts in them; give it steps:"),
        (["trainer.max_steps=0"], "trainer.max_steps=0 must be greater than 0"),
        (["trainer.validate_every_steps=0"], "trainer.validate_every_steps=0 must be greater than 0"),
        (["trainer.samples_every_steps=5"], "samples are written at validations, and these go by epochs"),
        (["trainer.samples_every_steps=5", "trainer.validate_every_steps=2"], "use a multiple .*, like 4"),
        (["lr.unit=step"], "lr.unit='step' is not valid; did you mean 'steps'"),
    ],
)
def test_steps_that_make_no_sense_are_named_with_the_mend(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_experiment([*PHASE_12, *overrides])


@pytest.mark.slow
def test_what_validates_and_ends_a_run_counts_for_its_hash_and_what_one_hears_does_not() -> None:
    def digest(*overrides: str) -> str:
        return meaning_hash(compose_experiment([*PHASE_12, *overrides])[1])

    plain, validating = digest(), digest("trainer.validate_every_steps=2")
    assert len({plain, validating, digest("trainer.max_steps=9")}) == 3
    assert digest("trainer.validate_every_steps=2", "trainer.samples_every_steps=4") == validating
