"""Outputs folders made by hand: runs that ended long ago, with parts of known sizes, and a sweep."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated_runs import config, write_run
from snac_exp.cleaning.plan import moves_of
from snac_exp.cleaning.survey import survey
from snac_exp.cleaning.table import lines_of
from snac_exp.config.stored import stored_yaml
from snac_exp.system.checksums.json_digest import signed
from snac_exp.system.files import read_json, write_signed_json
from snac_exp.system.owner import Owner
from tests.helpers.commands import Done, verb

LONG_AGO = 1_700_000_000  # seconds since the epoch
CHECKPOINT, SAMPLE = 3000, 500  # bytes
NO_RULE = ("keep_best=0", "keep_last=0", "keep_tagged=false", "keep_younger=0", "keep_winners=0")
ELSEWHERE = replace(Owner.me(), host="another")


def make_outputs(folder: Path, number: int = 4) -> list[Path]:
    """Finished runs of one recipe, the first the best and the oldest."""
    return [
        make_run(folder / "toy" / f"2026-01-0{place}_10-00-00-00000{place}", place) for place in range(1, number + 1)
    ]


def make_run(path: Path, seed: int, state: str = "finished", values: dict[str, Any] | None = None) -> Path:
    """A run whose process has ended; its best objective grows with the seed."""
    write_run(path, stored_yaml(config("toy") | (values or {})), ["seed=1"], state, seed, 2)
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "best_model.pt").write_bytes(bytes(CHECKPOINT))
    (path / "samples" / "epoch001").mkdir(parents=True)
    (path / "samples" / "epoch001" / "clip.wav").write_bytes(bytes(SAMPLE))
    said(path, process_started=1.0, heartbeat=float(LONG_AGO))
    return aged(path)


def make_sweep(path: Path, jobs: Sequence[str] = ("aaaaaa", "bbbbbb", "cccccc")) -> Path:
    """A sweep of finished jobs, the first the best."""
    rows = []
    for number, name in enumerate(jobs):
        make_run(path / name, number)
        rows.append(
            {"job": number, "hash": name, "overrides": [f"seed={number}"], "run_dir": name, "state": "finished"}
        )
    question = {"name": "rates", "metric": "val/objective", "goal": "minimize", "question": "Which?"}
    stored = {"question": question, "backend": {}, "directory": str(path), "command": ["train"], "search": None}
    write_signed_json(path / "sweep.json", stored)
    (path / "ledger.jsonl").write_text(
        "".join(f"{json.dumps(signed(row | {'num_jobs': len(rows)}))}\n" for row in rows)
    )
    (path / "code" / "snac_exp").mkdir(parents=True)
    (path / "code" / "snac_exp" / "__init__.py").write_text("")
    return aged(path)


def aged(path: Path) -> Path:
    """As if nothing in it had been written since."""
    for place in (*path.rglob("*"), path):
        os.utime(place, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    return path


def said(run: Path, owner: Owner | None = None, **values: Any) -> None:
    """Change what a run says of itself."""
    known = read_json(run / "status.json") | ({} if owner is None else asdict(owner)) | values
    write_signed_json(run / "status.json", known)


def clean(folder: Path, *options: str) -> dict[str, Any]:
    """What the verb says, as JSON."""
    return dict(json.loads(verb("clean", str(folder), *options, "format=json").succeeded().out))


def refused(*arguments: object) -> str:
    """What a command that is refused says."""
    done: Done = verb(*map(str, arguments))
    assert done.status == 2, done.out
    return done.err


def why(folder: Path, run: Path, *referrers: Path) -> str:
    """Why a run stays that no rule keeps."""
    found = survey(folder, referrers)
    lines = {line.name: line for line in lines_of(found, moves_of(found))}
    return "; ".join(lines[str(run.relative_to(folder))].why)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """All below a folder with size and time, but what locks leave."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name != ".lock" and not path.is_dir():
            known = path.lstat()
            found[str(path.relative_to(folder))] = known.st_size, known.st_mtime_ns
    return found


def queue_says(folder: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM that knows job 7, or none where it says nothing."""
    folder.mkdir()
    (folder / "squeue").write_text(f'#!/bin/sh\n[ -n "{state}" ] && echo "7|{state}"\n')  # status 1: out of reach
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
