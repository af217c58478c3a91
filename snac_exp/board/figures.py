"""What the lines of a metrics.jsonl say in sum: where the run is, how fast, the last and the best of every metric."""

import math
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from snac_exp.metrics.levels import silence_in
from snac_exp.metrics.sides import goal_of
from snac_exp.metrics.table import metric_of
from snac_exp.status.overview import paces_of

_PACES = 50  # training lines of which the pace is the mean


class Figures:
    """Grows by a line at a time. speed: audio-seconds per second; paces: seconds per step of late; warning: what the
    last validation says of heads far below their targets."""

    def __init__(self) -> None:
        self.num_lines = 0
        self.step: int | None = None
        self.epoch: int | None = None
        self.speed: float | None = None
        self.warning: str | None = None
        self.paces: deque[float] = deque(maxlen=_PACES)
        self._last: dict[str, float] = {}
        self._validated: dict[str, tuple[float, float, float]] = {}  # lowest, highest, closest to 0; training is noise

    @property
    def names(self) -> set[str]:
        """All metrics so far."""
        return set(self._last)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line."""
        kind, self.num_lines = line.get("kind"), self.num_lines + 1
        if kind == "train":
            self.step, self.epoch = line["step"], line["epoch"]
            self.speed = line.get("speed/audio_seconds_per_second")
            self.paces.extend(paces_of([line]))
        if kind == "validation":
            self.warning = silence_in(line)
        for key, value in line.items():
            if "/" not in key or value is None or not math.isfinite(value):
                continue
            name = sys.intern(key)  # the same few names in thousands of runs
            self._last[name] = value
            if kind == "validation":
                low, high, closest = self._validated.get(name, (value, value, value))
                self._validated[name] = (min(low, value), max(high, value), min(closest, value, key=abs))

    def best(self, name: str, goal: str) -> float | None:
        """The best value of validations; None without one. goal: minimize, maximize or closest_to_0."""
        found = self._validated.get(name)
        return None if found is None else found[("minimize", "maximize", "closest_to_0").index(goal)]

    def value(self, name: str) -> float | None:
        """The best of what is validated and has a better side, else the last value."""
        better = metric_of(name).better
        if name in self._validated and better is not None:
            return self.best(name, goal_of(better))
        return self._last.get(name)
