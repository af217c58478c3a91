"""Starts on data that make no sense are refused before anything is built, and the plan says what there is."""

import pytest

from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError
from snac_exp.training.plan import planned_geometry, unroll
from snac_exp.training.plan_table import start_line

SCRATCH = ["+experiment=snac_from_scratch", "codec=scratch_demo", "start=on_data", "quantizer=average"]
WHOLE = ["+experiment=phase10_full_model", "codec=demo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+experiment=phase12_dual_head", "start.autoencoder_steps=5", "start.kmeans_batches=2"],
         "start.autoencoder_steps trains codebooks, and task.freeze_vq=true; choose task=codec"),
        (["+experiment=phase12_dual_head", "quantizer=average"], "quantizer.codebooks=average trains codebooks"),
        ([*WHOLE, "task.freeze_encoder=true", "start.kmeans_batches=2"],
         "start.kmeans_batches trains codebooks, and task.freeze_encoder=true"),
        ([*WHOLE, "task.freeze_vq=true", "quantizer.restart_below=0.1"], "quantizer.restart_below trains codebooks"),
        ([*WHOLE, "start=on_data"], "start.standardise_batches rescales random weights, and codec=demo has trained"),
        ([*SCRATCH, "init_from=/data/run"], "and init_from has trained ones; set it to 0"),
        ([*SCRATCH, "start.kmeans_batches=0"], "start.autoencoder_steps without start.kmeans_batches"),
        ([*SCRATCH, "start.autoencoder_noise=-1"], "start.autoencoder_noise=-1.0 must not be negative"),
        ([*SCRATCH, "quantizer.decay=1.0"], "quantizer.decay=1.0 must lie between 0 and 1"),
        ([*SCRATCH, "quantizer.restart_below=1.0"], "quantizer.restart_below=1.0 must be below 1"),
        ([*SCRATCH, "lr.phases.main.groups.trunk=null"],
         r"start.autoencoder_steps trains the whole codec .* lr.phases.main.groups.trunk is null"),
        (["+experiment=rvq_toy", "start=on_data"], "start is for codecs"),
        (["+experiment=rvq_toy", "quantizer=average"], "quantizer is for codecs"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_experiment(arguments, complete=False)


def test_a_run_that_ends_before_its_codebooks_is_refused_and_the_plan_says_when_they_begin() -> None:
    experiment, _ = compose_experiment([*SCRATCH, "trainer.max_steps=20", "start.autoencoder_steps=20"], complete=False)
    plan = unroll(experiment, planned_geometry(experiment))
    with pytest.raises(ConfigError, match="autoencoder_steps=20: the run has 20 steps"):
        plan.counted(lambda _: 1000)
    experiment, _ = compose_experiment([*SCRATCH, "trainer.max_steps=20", "start.autoencoder_steps=19"], complete=False)
    plan = unroll(experiment, planned_geometry(experiment)).counted(lambda _: 1000)
    assert plan.to_json()["autoencoder_steps"] == 19
    line = start_line(experiment)
    assert line is not None
    assert "19 steps without codebooks" in line
    assert "codebooks begin at step 19 by k-means of 64 batches" in line
    assert start_line(compose_experiment([*WHOLE], complete=False)[0]) is None
