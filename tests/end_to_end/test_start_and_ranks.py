"""A run that begins with another's weights says what it took; two ranks give the losses of one process."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from recipe import recipe, run_dir
from snac import SNAC
from snac.layers import NoiseBlock

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.codec.checkpoint import load_directory, save_snac
from snac_exp.config.arguments import quoted
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.tracking.metrics_file import read_metrics
from tests.helpers.commands import python_process, train

ROOT = Path(__file__).parents[2]
SHORT = ["trainer.max_steps_per_epoch=2", "checkpoint.every_steps=100", "trainer.validate_every_epochs=4"]


@pytest.fixture(scope="module")
def first(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first")
    done = train(*recipe(corpus_dir, output), *SHORT)
    assert done.status == 0, done.err
    return run_dir(output)


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another_and_says_so_tensor_by_tensor(
    first: Path, corpus_dir: Path, tmp_path: Path
) -> None:
    wide_only = ["heads=wideband", "loss.phases.warmup={}", f"init_from={quoted(str(first))}"]
    done = train(*recipe(corpus_dir, tmp_path), *SHORT, *wide_only)
    assert done.status == 0, done.err
    folder = run_dir(tmp_path)
    best = read_checkpoint(first / "checkpoints" / "best_model.pt").model
    started = read_checkpoint(folder / "checkpoints" / "checkpoint_epoch0.pt").model
    fates = dict(reversed(line.split("\t")) for line in (folder / "init_from.txt").read_text().splitlines())
    assert set(fates) == set(best)
    for name, fate in fates.items():
        assert fate == ("unused" if name.startswith("heads.head_24k.") else "loaded"), name
        assert name not in started or torch.equal(started[name], best[name])
    log = (folder / "train.log").read_text()
    assert f"init_from: {len(started)} tensors loaded from" in log
    assert "have no place in this model: heads.head_24k." in log


@pytest.fixture(scope="module")
def quiet(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The demo codec without noise blocks, and its codes: noise is drawn per rank."""
    folder = tmp_path_factory.mktemp("quiet")
    demo = load_directory("demo", ROOT / "snac_exp" / "assets" / "demo_codec")
    config = demo.config | {"noise": False}
    model = SNAC(**config).eval()
    model.load_state_dict(without_noise(demo.model, model))
    save_snac(model, folder / "codec")
    manifest = Manifest.read(corpus_dir / "prepared")
    cache_codes(manifest, load_directory("quiet", folder / "codec"), folder / "codes", num_readers=1)
    return ["codec.name=quiet", f"codec.path={folder / 'codec'}", f"data.cache_dir={folder / 'codes'}"]


def without_noise(noisy: SNAC, quiet: SNAC) -> dict[str, Any]:
    """The noisy model's weights under the names that they have without noise blocks, whose layers are numbered on."""
    blocks = tuple(f"{name}." for name, part in noisy.named_modules() if isinstance(part, NoiseBlock))
    assert blocks, "the demo codec has noise blocks"
    values = [value for name, value in noisy.state_dict().items() if not name.startswith(blocks)]
    return dict(zip(quiet.state_dict(), values, strict=True))


@pytest.mark.slow
def test_two_ranks_give_the_losses_of_one_process(quiet: list[str], corpus_dir: Path, tmp_path: Path) -> None:
    """Batches of 4, 3 and 2, so that ranks have unequal parts; within 2e-4 of each loss, over 8 steps of training.

    Ranks add up in another order than one process does, and training carries the last bits on.
    """
    unequal = [
        "trainer.batch_size=3",
        "curriculum.stages.a.batch_multiplier=1.4",
        "curriculum.stages.c.batch_multiplier=0.7",
    ]
    one, two = on_one_and_two(corpus_dir, tmp_path, *quiet, *unequal, "trainer.accumulation=1")
    assert len(one["train"]) == len(two["train"]) == 8
    for ours, theirs in zip(two["train"], one["train"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=2e-4), name


@pytest.mark.thorough
def test_two_ranks_share_a_validation_and_measure_what_one_measures(
    quiet: list[str], corpus_dir: Path, tmp_path: Path
) -> None:
    """In bfloat16 with accumulation: three batches of validation, each on one rank, before anything is trained."""
    mixed = ["trainer.precision=bf16-mixed", "trainer.accumulation=2", "trainer.validation_batch_size=1"]
    changes = [
        *mixed,
        "trainer.batch_size=4",
        "data.validation_slices=3",
        "trainer.max_steps_per_epoch=1",
        "trainer.validate_every_epochs=99",
    ]
    one, two = on_one_and_two(corpus_dir, tmp_path, *quiet, *changes)
    ours, theirs = two["val"][0], one["val"][0]
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-6), name
    # The same weights, micro-batches of other sizes.
    for name, value in one["train"][0].items():
        assert two["train"][0][name] == pytest.approx(value, rel=1e-2), name


def on_one_and_two(corpus_dir: Path, tmp_path: Path, *changes: str) -> list[dict[str, list[dict[str, float]]]]:
    """Logged `train/` and `val/` of a run on one device and of one on two; the second reduces once a step."""
    found = []
    for devices in (1, 2):
        output = tmp_path / str(devices)
        arguments = [*recipe(corpus_dir, output), *SHORT, *changes, f"trainer.devices={devices}"]
        done = train(*arguments) if devices == 1 else python_process("-c", COUNTING, *arguments)
        assert done.status == 0, done.err
        lines = read_metrics(run_dir(output))
        kinds = {"train": "train", "val": "validation"}
        found.append(
            {
                prefix: [
                    {name: value for name, value in line.items() if name.startswith(f"{prefix}/")}
                    for line in lines
                    if line["kind"] == kind
                ]
                for prefix, kind in kinds.items()
            }
        )
        assert json.loads((run_dir(output) / "environment.json").read_text())["world_size"] == devices
        if devices == 2:
            epochs = len(json.loads((run_dir(output) / "plan.json").read_text())["epochs"])
            # Of every step one, of every epoch one at its start and one at its end.
            assert f"reductions: {len(found[1]['train']) + 2 * epochs}" in done.out
    return found


COUNTING = """
import sys
from lightning_fabric import Fabric
from snac_exp.verbs.training.train import main
reduce, calls = Fabric.all_reduce, []
Fabric.all_reduce = lambda fabric, *given, **named: (calls.append(1), reduce(fabric, *given, **named))[1]
status = main(sys.argv[1:])
print(f"reductions: {len(calls)}")
sys.exit(status)
"""
