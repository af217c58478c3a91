"""Discriminators outlive their run: exported beside the codec, taken up by another run, told tensor by tensor."""

import json
from pathlib import Path

import pytest
import torch

from snac_exp import cli
from snac_exp.checkpoints.file import read_checkpoint, write_checkpoint
from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.release.loading import exported_adversary
from snac_exp.training.build import build
from snac_exp.verbs.training.train import main
from tests.end_to_end.recipe import ADVERSARY, recipe, run_dir

JUDGED = [*ADVERSARY, "adversary.start_step=1"]
SHORT = [
    "lr.phases.main.epochs=[2,2]",
    "trainer.max_steps_per_epoch=1",
    "~curriculum.stages.b",
    "~curriculum.stages.c",
    "trainer.validate_every_epochs=2",
]


@pytest.fixture(scope="module")
def run(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, of which the second is with discriminators."""
    output = tmp_path_factory.mktemp("judged")
    assert main([*recipe(corpus_dir, output), *JUDGED, *SHORT]) == 0
    return run_dir(output)


@pytest.mark.slow
def test_discriminators_are_exported_and_taken_up(run: Path, corpus_dir: Path, tmp_path: Path) -> None:
    trained = read_checkpoint(run / "checkpoints" / "best_model.pt")
    assert trained.adversary
    assert trained.state.step == 2
    assert read_checkpoint(run / "checkpoints" / "best_model_48k.pt").adversary is None
    folder = tmp_path / "codec"
    export = ["export", f"checkpoint={run}", f"output={folder}"]
    assert cli.run([*export, "adversary=true"]) == 0
    saved = exported_adversary(folder)
    assert saved is not None
    assert all(torch.equal(saved.tensors[name], tensor) for name, tensor in trained.adversary.items())
    assert "adversary.safetensors" in json.loads((folder / "snac_exp.json").read_text())["files"]

    plain = hydra_overrides([*recipe(corpus_dir, tmp_path / "again"), *SHORT, "seed=7", f"init_from={folder}"])
    setup = build(compose_experiment([*plain, *JUDGED])[0])
    assert setup.task.adversary is not None
    assert setup.warm_start is not None
    taken = setup.task.adversary.state_dict()
    assert all(torch.equal(taken[name], tensor) for name, tensor in trained.adversary.items())
    names = [f"adversary.{name}" for name in trained.adversary]
    assert [name for name in setup.warm_start.loaded if name.startswith("adversary.")] == names
    assert f"init_from: {len(names)} tensors of discriminators loaded from {folder}" in setup.warm_start.lines()
    assert not setup.warm_start.kept
    assert not setup.warm_start.unused

    alone = build(compose_experiment(plain)[0])
    assert alone.warm_start is not None
    assert sorted(alone.warm_start.unused) == sorted(names)
    with pytest.raises(CheckpointError, match=r"init_from=.*: judges\.\S+ is .* there and .* here; choose adversary\."):
        build(compose_experiment([*plain, *JUDGED, "adversary.band_channels=8"])[0])


@pytest.mark.slow
def test_what_holds_no_trained_discriminators_is_refused(run: Path, tmp_path: Path) -> None:
    export = ["export", f"output={tmp_path / 'out'}", "adversary=true"]
    with pytest.raises(CheckpointError, match=r"holds no discriminators; train with adversary=dac, or"):
        cli.run([*export, f"checkpoint={run / 'checkpoints' / 'best_model_48k.pt'}"])
    with pytest.raises(ConfigError, match=r"adversary=true goes beside multirate"):
        cli.run([*export, f"checkpoint={run}", "formats=[snac]"])
    early = read_checkpoint(run / "checkpoints" / "best_model.pt")
    early.config["adversary"]["start_step"] = early.state.step
    write_checkpoint(tmp_path / "early.pt", early)
    with pytest.raises(CheckpointError, match=r"join at adversary\.start_step=2: they have learned nothing"):
        cli.run([*export, f"checkpoint={tmp_path / 'early.pt'}"])
    assert not (tmp_path / "out").exists()
