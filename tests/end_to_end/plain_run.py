"""A finished run, and the same recipe computed once more by plain.py: every step, averages after every epoch."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from plain import Plain, Utterance, terms
from scipy.signal import resample_poly
from snac import SNAC
from torch import Tensor

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.codec.geometry import Geometry
from snac_exp.data.slices.sampling import SliceSampler, validation_specs
from snac_exp.tracking.metrics_file import read_metrics

BUNDLED = Path(__file__).parents[2] / "snac_exp" / "assets" / "demo_codec"
N_FFTS = {"head_24k": [256, 512], "head_48k": [512]}
STAGES = {1: 4, 2: 4, 3: 8}  # epoch -> coarse tokens of a slice, 85.3 ms each
VALIDATION_TOKENS = 6
DECAY, CLIP, BETAS, WEIGHT_DECAY = 0.7, 0.05, (0.8, 0.95), 0.5
RECIPE = [
    *("+experiment=phase12_dual_head", "codec=demo", "name=plain", "tracker.mode=off", "trainer.accelerator=cpu"),
    *("trainer.num_threads=1", "trainer.num_workers=0", "trainer.batch_size=4", "trainer.validation_batch_size=8"),
    *("loss.n_ffts.head_24k=[256,512]", "loss.n_ffts.head_48k=[512]", "trainer.log_every_steps=1"),
    *(f"trainer.ema_decay={DECAY}", f"trainer.grad_clip={CLIP}", f"trainer.betas={list(BETAS)}".replace(" ", "")),
    *(f"trainer.weight_decay={WEIGHT_DECAY}", "trainer.num_sample_clips=2", "trainer.samples_every_epochs=3"),
    *("data.validation_slices=4", "data.validation_seconds=0.512", "trainer.preflight=[start]"),
    "trainer.summary_utterances=null",
    "curriculum.stages.a={epochs: [1, 2], segment_seconds: 0.342, batch_multiplier: 1.0}",
    "curriculum.stages.b={epochs: [3, 3], segment_seconds: 0.683, batch_multiplier: 1.0}",
    *("~curriculum.stages.c", "~curriculum.stages.d", "lr.phases.main.epochs=[2,3]"),
    "lr.phases.main.groups={trunk: 1e-3, head_48k: 1e-3, head_24k: 2e-4}",
]  # fmt: skip


@dataclass(frozen=True)
class Material:
    """Files, codec and cache of a run: `train` and `validation` are the utterances in the order of the cache's rows."""

    root: Path
    codec: SNAC
    train: list[Utterance]
    validation: list[Utterance]


def write_files(found: list[Path], root: Path) -> None:
    """Sources at 24 kHz and, as a restoring model might make them, louder and noisier targets at 48 kHz."""
    noise = np.random.default_rng(0)
    for number, path in enumerate(found[:10]):
        wide, rate = soundfile.read(path, dtype="float32")
        assert rate == 48_000
        wide = wide[: 2 * (9_000 + 4_321 * number)]
        place = Path("val" if number >= 7 else "ann") / f"{number}.flac"
        target = 0.8 * wide + 1e-3 * noise.standard_normal(len(wide))
        for folder, samples, its_rate in (("audio", resample_poly(wide, 1, 2), 24_000), ("targets", target, 48_000)):
            (root / folder / place).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / folder / place, samples, its_rate, subtype="PCM_24")


@dataclass
class Both:
    """A finished run, and the same computed here as far as it has been asked for."""

    material: Material
    folder: Path
    context: int

    @cached_property
    def lines(self) -> dict[str, list[dict[str, Any]]]:
        lines = list(read_metrics(self.folder))
        return {kind: [line for line in lines if line["kind"] == kind] for kind in ("train", "validation")}

    @cached_property
    def start(self) -> dict[str, Tensor]:
        return dict(read_checkpoint(self.folder / "checkpoints" / "checkpoint_epoch0.pt").model)

    def model(self, weights: dict[str, Tensor]) -> Plain:
        return Plain(copy.deepcopy(self.material.codec)).take(weights)

    @cached_property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.material.root / "codec" / "config.json").read_text())
        return config

    @cached_property
    def trained(self) -> "Trained":
        return Trained(self)


class Trained:
    """What plain PyTorch makes of the recipe: every step, averages after every epoch."""

    def __init__(self, run: Both) -> None:
        model = run.model(run.start)
        groups = {
            "trunk": list(model.trunk.parameters()),
            "head_48k": list(model.heads["head_48k"].parameters()),
            "head_24k": list(model.heads["head_24k"].parameters()),
        }
        model.quantizer.requires_grad_(False)
        named = [{"params": parameters, "name": name} for name, parameters in groups.items()]
        optimizer = torch.optim.AdamW(named, lr=0.0, betas=BETAS, weight_decay=WEIGHT_DECAY)
        average = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.steps: list[dict[str, float]] = []
        self.averages = [dict(average)]
        logged = iter(run.lines["train"])
        for epoch, length in STAGES.items():
            weights = {"head_24k": 0.0 if epoch == 1 else 0.3, "head_48k": 1.0}
            learning = ("head_48k",) if epoch == 1 else tuple(groups)
            for name, parameters in groups.items():
                for parameter in parameters:
                    parameter.requires_grad_(name in learning)
            for batch in batches(run, epoch, length):
                pairs = [model.scored(run.material.train[row], first, length, run.context) for row, first in batch]
                found = terms(pairs, N_FFTS, length)
                loss = sum(w * (found[f"{head}/l1"] + found[f"{head}/stft_complex"]) for head, w in weights.items())
                assert isinstance(loss, Tensor)
                optimizer.zero_grad()
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
                line = next(logged)
                for group in optimizer.param_groups:  # the schedule has tests of its own
                    group["lr"] = line.get(f"lr/{group['name']}", 0.0)
                optimizer.step()
                for name, weight in model.named_parameters():
                    average[name] = DECAY * average[name] + (1 - DECAY) * weight.detach()
                numbers = {name: float(value.detach()) for name, value in found.items()}
                self.steps.append(numbers | {"loss": float(loss.detach()), "grad_norm": float(norm)})
            self.averages.append(dict(average))
        self.weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}


def batches(run: Both, epoch: int, length: int) -> Iterator[list[tuple[int, int]]]:
    """Row and first token of every slice of an epoch, as the seed draws them."""
    lengths = [item.num_tokens for item in run.material.train]
    sampler = SliceSampler(lengths, geometry(run), 0, 4, length, 0, epoch)
    return ([(spec.row, spec.start) for spec in specs] for specs in sampler)


def geometry(run: Both) -> Geometry:
    return Geometry.from_config(run.config)


def validated(both: Both) -> list[tuple[int, int]]:
    lengths = [item.num_tokens for item in both.material.validation]
    return [(spec.row, spec.start) for spec in validation_specs(lengths, geometry(both), 0, VALIDATION_TOKENS, 4, 0)]
