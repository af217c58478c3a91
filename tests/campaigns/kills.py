"""Trainings that are killed at points and moments drawn by a seed, resumed, and compared with one that was not.

A run is killed first at a point (tests/campaigns/points.py): those that a whole run passes have their turns. Then it is
resumed and killed up to three times more, at points or from outside at a share of the time of a whole run, which also
meets what lies between points. What must be equal: weights, moments, counters and every logged value, bit for bit, and
the names of all files.
"""

import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.points import passed
from tests.helpers.commands import ROOT
from tests.helpers.killed import kill
from tests.helpers.same_runs import assert_equal, logged, outcome
from tests.helpers.waiting import GUARD_SECONDS

EQUAL, LEFTOVERS = "equal to the bit", "leftovers"
RUN = "*/[!.]*/config.yaml"  # of a run below its output; a hidden folder is what a kill left of one
FURTHER_KILLS = (1, 2, 3)  # of one run after its first, drawn


@dataclass(frozen=True)
class Whole:
    """A run that was not killed: its folder, the seconds that it took, and how often it passed each point."""

    folder: Path
    seconds: float
    points: Counter[str]


@dataclass(frozen=True)
class Moment:
    """When to kill: at a point, the nth time; or so many seconds after the start."""

    point: str = "-"
    times: int = 0
    seconds: float = GUARD_SECONDS


@dataclass
class Kills:
    """Runs of one recipe below a folder. arguments: of train.py, without output_dir. where: kills by what they met."""

    arguments: list[str]
    folder: Path
    seed: int

    def __post_init__(self) -> None:
        self.where: Counter[str] = Counter()

    def whole(self) -> Whole:
        """A run without a kill."""
        output, began = self.folder / "whole", time.monotonic()
        status = self._train([*self.arguments, f"output_dir={output}"], output, Moment())
        assert status == 0, self._said(output)
        points = Counter(passed(output / "points"))
        return Whole(_run_below(output), time.monotonic() - began, points)

    def killed(self, number: int, first: str, whole: Whole, most: int) -> tuple[Path, int]:
        """A run that is killed at a point, up to `most` times in all, and goes on to its end; with that number."""
        draw, output = random.Random(f"{self.seed} {number}"), self.folder / f"killed{number}"
        moments = [Moment(first, draw.randint(1, whole.points[first]))]
        moments += [_drawn(draw, whole) for _ in range(draw.choice(FURTHER_KILLS))]
        arguments, kills = [*self.arguments, f"output_dir={output}"], 0
        for moment in [*moments[:most], Moment()]:
            status = self._train(arguments, output, moment)
            if status == 0:
                break
            assert status == -signal.SIGKILL, self._said(output)
            kills += 1
            self.where[_met(output, moment)] += 1
            if list(output.glob(RUN)):  # killed before there was a run: its command is given once more
                arguments = [f"resume={_run_below(output)}"]
        return _run_below(output), kills

    def _train(self, arguments: list[str], output: Path, moment: Moment) -> int:
        output.mkdir(exist_ok=True)
        command = ["-m", "tests.campaigns.points", str(output / "points"), moment.point, str(moment.times), *arguments]
        with open(output / "log", "ab") as log:
            process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            return process.wait(moment.seconds)
        except subprocess.TimeoutExpired:
            return kill(process)

    def _said(self, output: Path) -> str:
        return (output / "log").read_text()[-2000:]


def campaign(kills: Kills, count: int) -> Counter[str]:
    """How runs that were killed `count` times in all compare with the one that was not; `kills` counts them."""
    whole = kills.whole()
    found: Counter[str] = Counter(kills=0)
    for number, point in enumerate(_turns(whole, kills.seed), start=1):
        if found["kills"] == count:
            return found
        folder, times = kills.killed(number, point, whole, count - found["kills"])
        found["kills"] += times
        verdict = compared(folder, whole.folder)
        found[verdict] += 1
        print(f"run {number} of seed {kills.seed}: killed {times}x, first at {point}: {verdict}", flush=True)
    raise AssertionError("a whole run passes no point")


def compared(folder: Path, expected: Path) -> str:
    """EQUAL, LEFTOVERS or what differs."""
    differing = _files(folder) ^ _files(expected) | {path.name for path in folder.parent.iterdir() if path != folder}
    if differing:
        return f"{LEFTOVERS}: {', '.join(sorted(differing))}"
    try:
        assert_equal(outcome(folder), outcome(expected))
        assert logged(folder) == logged(expected), "logged values"
    except AssertionError as error:
        return f"differs in {error}"
    return EQUAL


def _turns(whole: Whole, seed: int) -> Iterator[str]:
    """Every kind of point in an order drawn by the seed, again and again."""
    draw, kinds = random.Random(seed), sorted(whole.points)
    while kinds:
        yield from draw.sample(kinds, len(kinds))


def _drawn(draw: random.Random, whole: Whole) -> Moment:
    """A moment of a run that was resumed and has less before it: mostly by the clock, else a point's first time."""
    if draw.random() < 2 / 3:
        return Moment(seconds=draw.random() * whole.seconds)
    return Moment(draw.choice(sorted(whole.points)), 1)


def _met(output: Path, moment: Moment) -> str:
    """The point at which it was killed, or behind which."""
    points = passed(output / "points")
    return f"at {moment.point}" if moment.times else f"behind {points[-1] if points else 'nothing'}"


def _files(folder: Path) -> set[str]:
    return {re.sub(r"\s", " ", str(path.relative_to(folder))) for path in folder.rglob("*") if path.is_file()}


def _run_below(output: Path) -> Path:
    """The one run folder."""
    (found,) = output.glob(RUN)
    return found.parent
