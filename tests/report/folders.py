"""Run folders as training leaves them, made by hand in milliseconds."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
import yaml

CONFIG: dict[str, Any] = {
    "name": "toy",
    "seed": 0,
    "output_dir": "outputs",
    "lr": {"phases": {"main": {"groups": {"trunk": 5e-5, "head_48k": 1e-3}}}},
    "loss": {"weights": {"head_24k": 0.3, "head_48k": 1.0}},
    "tracker": {"mode": "off"},
}
TRACEBACK = """Traceback (most recent call last):
  File "run.py", line 50, in _run
    finished = _train(experiment)
snac_exp.errors.DivergenceError: step 5 of epoch 1: loss not finite <b>bold</b>
"""
LOG = """2026-11-21 09:36:00  run folder: /somewhere
epochs (peak learning rate per group, - is frozen)
 1      a      warmup
2026-11-21 09:36:00  104 training rows, 39 validation rows, 8 steps
2026-11-21 09:36:00  preflight: head_24k equals the pretrained decoder bit for bit
2026-11-21 09:36:11  preflight: 4 rows re-encode to their cached tokens: 100.00% of 1512
2026-11-21 09:36:15  start  validation  head_24k/l1 0.05  objective 2.8
2026-11-21 09:36:16  epoch 1/2 a/warmup  batch 1/4  step 1/8  left ?  loss 1.8
2026-11-21 09:36:17  step 3: loss 9.1 is 4.5 times the running mean 2: step skipped (1 in a row, 1 in all)
2026-11-21 09:36:18  SIGTERM: saved at step 4; go on with: python train.py resume=/somewhere
2026-11-21 09:36:19  summary:    /somewhere/summary.json
"""


def alive() -> dict[str, Any]:
    """What status.json says of a process that lives: this one."""
    started = psutil.Process().create_time()
    return {"host": socket.gethostname(), "pid": os.getpid(), "process_started": started, "slurm_job_id": None,
            "slurm_restarts": 0, "heartbeat": 1.0}  # fmt: skip


def make_run(
    path: Path,
    *,
    config: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    status: Mapping[str, Any] | None = None,
    lines: Sequence[Mapping[str, Any]] | None = None,
    summary: Mapping[str, Any] | None = None,
    clips: int = 1,
    seed: int = 0,
    speech: int = 0,
) -> Path:
    """A run of two epochs of four steps with clips at epochs 0 to 2; `speech` seeds what is said, `seed` the rest."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "seed": seed, **(config or {})}))
    (path / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    state = {"state": "finished", "error": None, **alive(), **(status or {})}
    (path / "status.json").write_text(json.dumps(state))
    (path / "plan.json").write_text(json.dumps(plan()))
    (path / "environment.json").write_text(json.dumps({"torch": "2.13", "device": "cpu <i>", "codec": "demo"}))
    (path / "train.log").write_text(LOG)
    written = metric_lines(seed) if lines is None else lines
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written))
    if summary is not None:
        (path / "summary.json").write_text(json.dumps(summary))
    for epoch in range(3):
        for clip in range(clips):
            write_clip(path / "samples" / f"epoch{epoch:03d}", f"clip{clip}", seed + 10 * epoch, speech + clip)
    return path


def plan() -> dict[str, Any]:
    """Two epochs: a warm-up that freezes the trunk, then all."""
    epochs = [
        {"epoch": number, "stage": stage, "phase": phase, "segment_seconds": 0.5 * number, "num_tokens": 5 * number,
         "batch_size": 8 // number, "schedule": "one_cycle", "peak_rates": {"trunk": trunk, "head_48k": 1e-3},
         "loss_weights": {"head_24k": 0.3, "head_48k": 1.0}, "trainable": ["head_48k"]}
        for number, stage, phase, trunk in ((1, "a", "warmup", None), (2, "b", "main", 5e-5))
    ]  # fmt: skip
    return {"epochs": epochs, "num_steps": 8}


def metric_lines(seed: int = 0) -> list[dict[str, Any]]:
    """Eight training lines, three validations; the validation objective falls from 3 + seed / 10 by a half an epoch."""
    numbers = np.random.default_rng(seed)
    lines = [validation(0, 0, seed)]
    for step in range(1, 9):
        epoch = 1 if step <= 4 else 2
        metrics = {"train/loss": 3.0 - step / 8, "train/head_48k/l1": 0.1 + 0.01 * float(numbers.normal())}
        rates = {"lr/head_48k": 1e-3} | ({"lr/trunk": 5e-5 / step} if epoch == 2 else {})
        speed = {"speed/step_seconds": 0.2, "speed/data_wait_share": 0.25, "speed/audio_seconds_per_second": 10.0}
        header = {"step": step, "epoch": epoch, "kind": "train", "time": 1000.0 + step}
        lines.append({**header, **metrics, **rates, **speed})
        if step % 4 == 0:
            lines.append(validation(step, epoch, seed))
    return lines


def validation(step: int, epoch: int, seed: int) -> dict[str, Any]:
    """A validation line."""
    value = 3.0 + seed / 10 - 0.5 * epoch
    header = {"step": step, "epoch": epoch, "kind": "validation", "time": 1000.0 + step}
    return {**header, "val/head_48k/l1": value / 30, "val/head_48k/objective": value - 1, "val/objective": value}


def summary(lsd: float = 6.0) -> dict[str, float]:
    """The figures of an evaluation over four utterances."""
    return {
        "head_48k/l1": 0.05, "head_48k/lsd_high_db": lsd, "head_48k/lsd_high_db_low95": lsd - 0.5,
        "head_48k/lsd_high_db_high95": lsd + 0.5, "head_48k/stoi": 0.8, "head_24k/l1": 0.04, "head_24k/stoi": 0.9,
        "baseline/l1": 0.06, "baseline/lsd_high_db": 8.0, "baseline/stoi": 0.7,
        "count/utterances": 4.0, "count/undefined_stoi": 1.0, "seconds/audio": 12.0,
        "head_48k/lsd_high_under_baseline": 1 - lsd / 8.0,
    }  # fmt: skip


def write_clip(folder: Path, name: str, seed: int, speech: int, seconds: float = 0.3) -> None:
    """Reference (a function of `speech`), 48k and 24k (functions of `seed` too) as 16-bit wavs."""
    folder.mkdir(parents=True, exist_ok=True)
    for label, rate, source in (("reference_48k", 48_000, (speech,)), ("48k", 48_000, (speech, seed)),
                                ("24k", 24_000, (speech, seed))):  # fmt: skip
        numbers = np.random.default_rng(source)
        times = np.arange(round(seconds * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * 220 * times) + 0.1 * numbers.normal(size=len(times)) * (times > seconds / 2)
        soundfile.write(folder / f"{name}_{label}.wav", wave.clip(-1, 1), rate, subtype="PCM_16")
