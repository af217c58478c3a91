"""Folders of runs that nothing has trained: thousands of them in seconds, as training leaves them."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from snac_exp.config.stored import stored_yaml
from snac_exp.system.checksums.json_digest import LINE_KEY, signed
from snac_exp.system.checksums.json_lines import signed_line

RECIPES = ("phase12_dual_head", "phase11_standard", "phase10_decoder_only", "rvq_run1_base")
STATES = ("finished",) * 12 + ("running", "running", "failed", "preempted")
_RATES = (1e-3, 5e-4, 2e-4, 1e-4)
_STEPS = 1000
_BEGAN = 1_790_000_000.0  # seconds since the epoch


def write_runs(folder: Path, number: int, validations: int = 20) -> list[Path]:
    """Runs of their own and, a third of all, in sweeps of ten jobs; each with so many validations.

    Those that run do so as this process, with a heartbeat of now.
    """
    configs = {recipe: stored_yaml(config(recipe)) for recipe in RECIPES}
    paths = []
    for index in range(number):
        recipe = RECIPES[index % len(RECIPES)]
        path = _place(folder, recipe, index)
        overrides = [f"+experiment={recipe}", f"lr.phases.main.groups.head_48k={_RATES[index % 4]}", f"seed={index}"]
        write_run(path, configs[recipe], overrides, STATES[index % len(STATES)], index, validations)
        paths.append(path)
    for sweep in {path.parent for path in paths if path.parent.parent.name == "rates"}:
        _write_sweep(sweep)
    return paths


def config(recipe: str) -> dict[str, Any]:
    """A resolved config in small."""
    groups = {"trunk": 5e-5, "head_48k": 1e-3}
    return {
        "name": recipe,
        "seed": 0,
        "output_dir": "outputs",
        "lr": {"phases": {"main": {"epochs": [1, 20], "groups": groups}}},
        "loss": {"weights": {"head_24k": 0.3, "head_48k": 1.0}},
        "tracker": {"mode": "off", "tags": ["pilot", "wide band"] if recipe.startswith("phase12") else []},
    }


def write_run(path: Path, config_text: str, overrides: list[str], state: str, seed: int, validations: int) -> None:
    """One run folder. state: as status.json says it."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(config_text)
    (path / "overrides.yaml").write_text(stored_yaml(overrides))
    done = validations if state == "finished" else max(1, validations * 2 // 3)
    (path / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines(seed, validations, done)))
    (path / "status.json").write_text(json.dumps(signed(status(state, _STEPS * done // validations))))


def status(state: str, step: int) -> dict[str, Any]:
    """What a run says of itself; of one that runs, as this process."""
    process = psutil.Process()
    return {
        "state": state,
        "error": "Traceback\nDivergenceError: the loss is not finite" if state == "failed" else None,
        "attempts": 1,
        "epoch": 1 + step * 20 // (_STEPS + 1),
        "step": step,
        "num_steps": _STEPS,
        "seconds_left": 2.5 * (_STEPS - step) if state == "running" else None,
        "host": socket.gethostname(),
        "pid": process.pid,
        "process_started": process.create_time(),
        "slurm_job_id": None,
        "slurm_restarts": 0,
        "heartbeat": time.time() if state == "running" else _BEGAN + step,
    }


def lines(seed: int, validations: int, done: int) -> list[str]:
    """Two training lines and one validation for each of `done` parts of the run."""
    found = []
    for part in range(1, done + 1):
        step = _STEPS * part // validations
        value = 2.0 + 1.5 / part + (seed % 37) / 100
        head = {"epoch": part, "time": _BEGAN + 2.5 * step}
        train = {"train/loss": value * 1.1, "train/head_48k/l1": value / 20, "train/grad_norm": 1.0 + (seed % 7) / 7}
        speed = {"speed/step_seconds": 2.5, "speed/audio_seconds_per_second": 9.0 + seed % 11}
        measured = {f"val/head_48k/{name}": value / size for name, size in (("l1", 30), ("stft_complex", 3))}
        measured["val/head_48k/level_db"] = -14.0 if seed % 5 == 2 else -1.0  # some heads are silent
        for at in (step - 1, step):
            found.append({"step": at, **head, "kind": "train", **train, **speed, "lr/trunk": 5e-5, "lr/head_48k": 1e-3})
        found.append({"step": step, **head, "kind": "validation", "val/objective": value, **measured})
    return [signed_line(line, LINE_KEY) for line in found]


def _place(folder: Path, recipe: str, index: int) -> Path:
    if index % 3:
        return folder / recipe / f"2026-11-{1 + index % 28:02}_10-{index // 60 % 60:02}-{index % 60:02}-{index:06x}"
    return folder / "sweeps" / "rates" / f"2026-11-20_12-00-00-{index // 30:06x}" / f"{index:06x}"


def _write_sweep(path: Path) -> None:
    jobs = sorted(item for item in path.iterdir() if item.is_dir())
    question = {"name": "rates", "metric": "val/objective", "goal": "minimize", "question": "Which learning rate?"}
    stored: dict[str, Any] = {
        "question": question,
        "backend": {},
        "directory": str(path),
        "command": [],
        "search": None,
    }
    (path / "sweep.json").write_text(json.dumps(signed(stored)))
    rows = [_row(number, job, len(jobs)) for number, job in enumerate(jobs)]
    (path / "ledger.jsonl").write_text("".join(f"{json.dumps(signed(row))}\n" for row in rows))


def _row(number: int, job: Path, num_jobs: int) -> dict[str, Any]:
    state = json.loads((job / "status.json").read_text())["state"]
    varied = [f"lr.phases.main.groups.head_48k={_RATES[number % 4]}", f"seed={number}"]
    known = {"slurm_id": None, "cluster": None, "submitted": None, "attempts": 1, "best": None, "error": None}
    return {"job": number, "hash": job.name, "overrides": varied, "run_dir": job.name, "state": state} | known | {
        "num_jobs": num_jobs
    }  # fmt: skip


def touch(path: Path, seed: int) -> None:
    """One more training line and a heartbeat, as of a run that goes on."""
    with open(path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(f"{lines(seed, 20, 20)[-3]}\n")
    new = path / f".status.{os.getpid()}.tmp"
    new.write_text(json.dumps(signed(status("running", _STEPS - 1))))
    new.replace(path / "status.json")
