"""Trainings that are killed at moments drawn by a seed, resumed, and compared with one that was not.

A moment is a share of the time that the whole run takes, so that some kills come before the first checkpoint, some
within one, some at the very end. What must be equal: weights, moments, counters and every logged value, bit for bit.
"""

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.campaigns.forked import Server
from tests.helpers.same_runs import assert_equal, logged, outcome

EQUAL, LEFTOVERS = "equal to the bit", "leftovers"


@dataclass(frozen=True)
class Kills:
    """Runs of one recipe below a folder. arguments: of train.py, without output_dir."""

    server: Server
    arguments: list[str]
    folder: Path
    seed: int

    def whole(self) -> tuple[Path, float]:
        """A run without a kill, and the seconds that it takes."""
        began = time.monotonic()
        assert self._train([*self.arguments, f"output_dir={self.folder / 'whole'}"], "whole") == 0, self._said("whole")
        return _run_below(self.folder / "whole"), time.monotonic() - began

    def killed(self, number: int, seconds: float) -> tuple[Path, int]:
        """A run that is killed once or twice on its way, then goes on to its end; with the number of kills."""
        draw, output = random.Random(f"{self.seed} {number}"), self.folder / f"killed{number}"
        moments = [draw.random() for _ in range(draw.choice((1, 1, 2)))]
        arguments, kills = [*self.arguments, f"output_dir={output}"], 0
        for share in [*moments, None]:
            status = self._train(arguments, output.name, None if share is None else share * seconds)
            if status == 0:
                break
            assert status == -signal.SIGKILL, self._said(output.name)
            kills += 1
            if list(output.glob("*/*/config.yaml")):  # killed before there was a run: its command is given once more
                arguments = [f"resume={_run_below(output)}"]
        return _run_below(output), kills

    def _train(self, arguments: list[str], name: str, killed_after: float | None = None) -> int:
        return self.server.train(arguments, str(self.folder / f"{name}.log"), killed_after)

    def _said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-2000:]


def campaign(kills: Kills, count: int) -> Counter[str]:
    """How runs that were killed `count` times in all compare with the one that was not; `kills` counts them."""
    expected, seconds = kills.whole()
    found: Counter[str] = Counter(kills=0)
    number = 0
    while found["kills"] < count:
        number += 1
        folder, times = kills.killed(number, seconds)
        found["kills"] += times
        if times:
            verdict = compared(folder, expected)
            found[verdict] += 1
            print(f"run {number} of seed {kills.seed}: killed {times}x, {verdict}", flush=True)
    return found


def compared(folder: Path, expected: Path) -> str:
    """EQUAL, LEFTOVERS or what differs."""
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
    if left:
        return f"{LEFTOVERS}: {', '.join(left)}"
    try:
        assert_equal(outcome(folder), outcome(expected))
        assert logged(folder) == logged(expected), "logged values"
    except AssertionError as error:
        return f"differs in {error}"
    return EQUAL


def _run_below(output: Path) -> Path:
    """The one run folder; of several, which a kill before the first line of one leaves, the one that went on."""
    found = [path.parent for path in output.glob("*/*/config.yaml")]
    return max(found, key=lambda path: path.stat().st_mtime_ns)
