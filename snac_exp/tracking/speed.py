"""Where the time of a step goes, and how much memory it takes."""

import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

PARTS = ("data_wait", "forward", "loss", "backward", "optimizer", "logging", "checkpoint")
"""What a step consists of, in order."""

ON_DEVICE = frozenset({"forward", "loss", "backward", "optimizer"})
"""Parts whose work a GPU does while the program has long gone on."""

GIB = 2**30  # bytes
X = TypeVar("X")
Y = TypeVar("Y")
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in


class Event(Protocol):
    """A mark in a GPU's queue, as `torch.cuda.Event(enable_timing=True)`."""

    def record(self) -> Any: ...
    def query(self) -> bool: ...
    def elapsed_time(self, end_event: Any) -> float: ...


class Lap:
    """A `with` block whose time counts for one part of the step."""

    def __init__(self, timer: "StepTimer", part: str, is_inner: bool) -> None:
        self._timer, self._part, self._is_inner = timer, part, is_inner

    def __enter__(self) -> None:
        self._timer.enter(self._part, self._is_inner)

    def __exit__(self, *_: object) -> None:
        self._timer.leave()


class StepTimer:
    """Times the parts of steps; a lap costs about a microsecond, on CUDA some microseconds.

    A CUDA device works through a queue, so the program's own time says little there. Nothing is synchronised for that:
    where forward, loss, backward and optimizer begin and end, marks go into the queue, and `metrics` reads those which
    the device has passed by then. The times of these parts are the device's time between the marks, its idle waits
    for the program included. They need not add up to step_seconds, which is the program's time, as are the other parts:
    the program waits for the device where it first needs a value, which may be in no lap.
    """

    def __init__(
        self, on_cuda: bool = False, clock: Callable[[], float] = time.perf_counter, make_event: Any = None
    ) -> None:
        """`clock` in seconds; `make_event` gives an `Event`, by default torch's own; used on CUDA only."""
        self._clock = clock
        self._make_event: Callable[[], Event] | None = (make_event or _cuda_event) if on_cuda else None
        self._laps = {(part, is_inner): Lap(self, part, is_inner) for part in PARTS for is_inner in (False, True)}
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._stack: list[str | None] = []
        self._part: str | None = None
        self._since = 0.0
        self._began: float | None = None  # when this step's wait for data began
        self._before = 0.0  # seconds in laps between the last call of `metrics` and then
        self._marks: deque[tuple[str | None, Event]] = deque()

    def lap(self, part: str) -> Lap:
        """`with timer.lap("forward"): …`; may come several times in a step. A name that is not in PARTS is a KeyError.

        A lap inside another one interrupts it.
        """
        return self._laps[part, False]

    def inner(self, part: str) -> Lap:
        """As `lap`, where code does not know what it is part of: outside of any lap (as in a validation) it counts
        nowhere."""
        return self._laps[part, True]

    def timed(self, part: str, function: Callable[[X], Y]) -> Callable[[X], Y]:
        """The function, every call of which is a lap."""

        def call(argument: X) -> Y:
            with self.lap(part):
                return function(argument)

        return call

    def enter(self, part: str, is_inner: bool) -> None:
        """Begin a lap; called by `with`."""
        # A step begins where it first waits for its data.
        if part == PARTS[0] and self._began is None:
            self._began, self._before = self._clock(), sum(self._seconds.values())
        self._stack.append(self._part)
        if self._part is not None or not is_inner:
            self._switch(part)

    def leave(self) -> None:
        """End the innermost lap; called by `with`."""
        self._switch(self._stack.pop())

    def metrics(self, audio_seconds: float) -> dict[str, float]:
        """Times of a step, in which `audio_seconds` of audio were trained on.

        A step lasts from the beginning of its wait for data to this call. It is asked before it is logged, so its
        logging and its checkpoint count for the next one. What lies in no lap between two steps, as validation does,
        counts nowhere.

        Returns:
            `speed/step_seconds`, `speed/PART_seconds`, `speed/other_seconds` (of the step, in no lap),
            `speed/data_wait_share`, `speed/audio_seconds_per_second`.
        """
        taken, self._seconds = self._seconds, dict.fromkeys(PARTS, 0.0)
        in_laps = sum(taken.values())
        total = in_laps if self._began is None else self._clock() - self._began + self._before
        share = taken["data_wait"] / total if total else 0.0
        self._began = None
        if self._make_event is not None:
            taken |= self._device_seconds()
        return {
            "speed/step_seconds": total,
            **{f"speed/{part}_seconds": seconds for part, seconds in taken.items()},
            "speed/other_seconds": max(0.0, total - in_laps),
            "speed/data_wait_share": share,
            "speed/audio_seconds_per_second": audio_seconds / total if total else 0.0,
        }

    def _switch(self, part: str | None) -> None:
        """The time from here on is of another part, None: of no one."""
        now = self._clock()
        if self._part is not None:
            self._seconds[self._part] += now - self._since
        # Marks cost the queue something, so parts without work on the device set none between themselves.
        if self._make_event is not None and part != self._part and ON_DEVICE & {part, self._part}:
            event = self._make_event()
            event.record()
            self._marks.append((part, event))
        self._part, self._since = part, now

    def _device_seconds(self) -> dict[str, float]:
        """Time between the marks that the device has passed; the others are read the next time."""
        seconds = dict.fromkeys(ON_DEVICE, 0.0)
        # The newest mark stays: it is where the next part begins. query() does not wait for the device.
        while len(self._marks) > 1 and self._marks[1][1].query():
            part, begin = self._marks.popleft()
            if part in ON_DEVICE:
                seconds[part] += begin.elapsed_time(self._marks[0][1]) / 1000
        return seconds


def memory_metrics(on_cuda: bool = False) -> dict[str, float]:
    """Peaks since the start: `speed/peak_rss_gib` of this process (loader workers not included), on CUDA also
    `speed/peak_cuda_gib` of the tensors on the device. Meant for the steps that are logged.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    peaks = {"speed/peak_rss_gib": peak / GIB}
    if on_cuda:
        import torch

        peaks["speed/peak_cuda_gib"] = torch.cuda.max_memory_allocated() / GIB
    return peaks


def _cuda_event() -> Event:
    import torch

    event: Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
