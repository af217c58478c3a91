"""Two ways of doing one thing by turns in one process, and the file that keeps what came out.

A figure is the median over pairs of (time of the plain way) / (time of ours). On a machine that others use too, the
time that counts is the processor's, where the work is one thread's, and the clock's where several take part.
"""

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from snac_exp.system.environment import cpu_name, versions
from snac_exp.system.files import read_json, write_json

RESULTS = Path(__file__).with_name("results.json")
MARGIN = 0.1
"""Share by which a figure may miss its floor before `make bench` fails: what two equal runs differ by at worst."""

Work = Callable[[], object]
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A row of the table. bound: at_least or at_most a floor, or stated. value: None where it could not be measured."""

    title: str
    value: float | None
    unit: str = "x"
    bound: str = "stated"
    floor: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    def missed(self) -> bool:
        """Whether it misses its floor by more than the margin."""
        if self.value is None or self.floor is None:
            return False
        below = self.value < self.floor * (1 - MARGIN)
        return below if self.bound == "at_least" else self.value > self.floor * (1 + MARGIN)

    def line(self) -> str:
        """For the terminal."""
        value = f"empty: {self.reason}" if self.value is None else f"{self.value:.4g} {self.unit}"
        wanted = "" if self.floor is None else f"   ({self.bound.replace('_', ' ')} {self.floor:g})"
        return f"{self.title:<76} {value}{wanted}{'   MISSED' if self.missed() else ''}"


@dataclass(frozen=True)
class Pairs:
    """Seconds of both ways, pair by pair."""

    plain: list[float]
    ours: list[float]
    clock: str

    @property
    def ratio(self) -> float:
        """Median of plain over ours."""
        return statistics.median(self.ratios)

    @property
    def ratios(self) -> list[float]:
        """Plain over ours, pair by pair."""
        return [first / second for first, second in zip(self.plain, self.ours, strict=True)]

    def details(self) -> dict[str, Any]:
        """What results.json says beside the ratio."""
        return {
            "plain_seconds": round(statistics.median(self.plain), 6),
            "ours_seconds": round(statistics.median(self.ours), 6),
            "lowest": round(min(self.ratios), 4),
            "highest": round(max(self.ratios), 4),
            "pairs": len(self.plain),
            "clock": self.clock,
        }


def seconds(work: Work, clock: Callable[[], float] = time.process_time) -> float:
    """Time of one call."""
    started = clock()
    work()
    return clock() - started


def compare(plain: Work, ours: Work, pairs: int = 5, warmup: int = 2, clock: str = "processor") -> Pairs:
    """Both ways by turns, first the one and then the other, after `warmup` calls of each."""
    read = {"processor": time.process_time, "wall": time.perf_counter}[clock]
    for _ in range(warmup):
        plain(), ours()
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(pairs):
        gc.collect()
        order = ((0, plain), (1, ours)) if number % 2 == 0 else ((1, ours), (0, plain))
        for which, work in order:
            times[which].append(seconds(work, read))
    return Pairs(*times, clock)


def ratio(title: str, found: Pairs, floor: float | None = None, **details: Any) -> Figure:
    """A figure of a comparison."""
    bound = "stated" if floor is None else "at_least"
    return Figure(title, round(found.ratio, 4), "x", bound, floor, found.details() | details)


def record(figures: dict[str, Figure], path: Path = RESULTS) -> None:
    """Print the figures and put them into their section of results.json, in place of earlier ones of the same name."""
    known = read_results(path)
    stamp = {"measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "threads": torch.get_num_threads()}
    for name, figure in figures.items():
        print(figure.line(), flush=True)
        row = asdict(figure) | stamp | {"machine": machine(), "missed": figure.missed()}
        section_of(name, known)[name] = row
    write_json(path, known)


def read_results(path: Path = RESULTS) -> Results:
    """Rows by name: under "processors" those that each processor measured, under "gpu" what a GPU did or would do."""
    known: Results = read_json(path) if path.exists() else {"processors": {}, "gpu": {}}
    return known


def section_of(name: str, results: Results) -> dict[str, Any]:
    """The section that a figure belongs to: what is counted for a GPU is the same wherever it is counted."""
    if name.startswith("gpu_"):
        return results["gpu"]
    section: dict[str, Any] = results["processors"].setdefault(cpu_name(), {})
    return section


def machine() -> dict[str, Any]:
    """What was measured on, and how many processes wanted its cores in the minute before."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    load = round(os.getloadavg()[0], 1)
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "gpu": gpu, "load": load, **versions()}


def options(doc: str | None, pairs: int = 5) -> argparse.Namespace:
    """The arguments that every file here takes; sets the number of threads."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=pairs, help="pairs that the median is taken over")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that keeps the figures")
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    return found
