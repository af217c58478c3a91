"""A run as the trainer writes it, healthy until a test spoils it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.codec.checkpoint import bundled_directory, load_directory
from snac_exp.codec.heads import NativeHead, ResidualHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.start import initialise
from snac_exp.config.compose import compose_experiment
from snac_exp.doctor.examine import examine
from snac_exp.doctor.findings import problems
from snac_exp.doctor.report import Report
from snac_exp.system.files import read_json
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.optimization.groups import group_parameters
from snac_exp.training.optimization.weight_average import WeightAverage

BASE = "trunk.3.block.1"
GAIN = f"{BASE}.parametrizations.weight.original0"
DIRECTION = f"{BASE}.parametrizations.weight.original1"
CODEBOOK = "quantizer.quantizers.1.codebook.weight"
DEMO_BIN = bundled_directory("demo_codec") / "pytorch_model.bin"


def train(overrides: list[str], run_dir: Path, num_steps: int, save_at: set[int]) -> dict[int, Checkpoint]:
    """A run as the trainer writes it: real model, real gradients, AdamW and averages; head_48k alone for two steps."""
    experiment, values = compose_experiment(["+experiment=demo", *overrides])
    folder = RunFolder.create(values, [], run_dir)
    codec = load_directory("demo", DEMO_BIN.parent)
    wide = ResidualHead if experiment.init.name == "residual" else UpsampleHead
    model = MultiRateSnac.from_codec(codec, {"head_24k": NativeHead, "head_48k": wide})
    initialise(model, codec, experiment.init.name, 0)
    groups = group_parameters(model, experiment.lr.groups, ("encoder.", "quantizer."))
    named = [{"params": list(item.values()), "name": name} for name, item in groups.groups.items()]
    optimizer, average = torch.optim.AdamW(named, lr=1e-3), WeightAverage(model, 0.5)
    store, payloads = CheckpointStore(folder.checkpoints, None, 9), {}
    lines = []
    for step in range(num_steps + 1):
        if step:
            groups.set_trainable(frozenset(groups.groups) if step > 2 else frozenset({"head_48k"}))
            torch.manual_seed(step)
            codes = [torch.randint(1024, (1, 4 * 2**index)) for index in range(3)]
            loss = sum(waveform.square().mean() for waveform in model.decode(codes).values())
            assert isinstance(loss, Tensor)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update(model)
            lines.append({"step": step, "epoch": 1, "kind": "train", "train/loss": 2.0 + 0.1 * (step % 3)})
        if step in save_at:
            payloads[step] = copy.deepcopy(
                Checkpoint(
                    model=dict(model.state_dict()),
                    state=TrainState(epoch=1, batch=step, step=step),
                    provenance={"name": "demo", "fingerprint": "f", "config": codec.config},
                    config=values | {"trainer": values["trainer"] | {"ema_decay": 0.5}},
                    environment={},
                    optimizers={"optimizer": optimizer.state_dict()},
                    average=average.state_dict(),
                )
            )
            store.save(payloads[step], epoch=1, finished_epoch=False)
            objective = {"val/objective": 3.0 - 0.01 * step}
            lines.append({"step": step, "epoch": 1, "kind": "validation", **objective})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return payloads


def newest(run: Path) -> Path:
    return run / "checkpoints" / read_json(run / "checkpoints" / "latest.json")["checkpoints"][0]["file"]


def spoilt(run: Path, payload: Checkpoint, plant: Callable[[Checkpoint], object]) -> Report:
    """The report on the run after its newest checkpoint was spoilt and written as the trainer would."""
    plant(payload := copy.deepcopy(payload))
    payload.state.step = max(payload.state.step, 15)
    CheckpointStore(run / "checkpoints", None, 9).save(payload, epoch=1, finished_epoch=False)
    return examine(run)


def found(report: Report) -> set[tuple[str, str]]:
    return {(item.check, item.subject) for item in problems(report.findings)}
