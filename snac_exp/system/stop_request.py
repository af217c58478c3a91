"""Asking a run to stop: a signal or a search sets a flag, the loop finishes its step, saves and leaves."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: stopped on request, saved, try again
# SIGUSR2 is what submitit has SLURM send before a time limit and at preemption.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Stopped(BaseException):
    """A signal came while nothing was unsaved: the run leaves at once."""


@dataclass(frozen=True)
class Pruned:
    """A search gives a run up: after which step, and why."""

    step: int
    reason: str


class StopRequest:
    """Context manager that turns signals into a flag; a second SIGINT interrupts at once.

    Inside `finishing_steps` a signal only sets the flag. Elsewhere (loading before the first step, summing up after the
    last checkpoint) there is nothing to save, and the handler raises `Stopped`. pruned: set by who trains for a search.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self.pruned: Pruned | None = None
        self._previous: dict[int, object] = {}
        self._process = os.getpid()
        self._entered = False
        self._finishing_steps = False

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self.signal_name is not None or self.pruned is not None

    @property
    def cause(self) -> str | None:
        """Who asked, in words."""
        return self.signal_name if self.pruned is None else f"pruned ({self.pruned.reason})"

    def __enter__(self) -> "StopRequest":
        self._entered = True
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous.clear()
        self._entered = False

    @contextmanager
    def finishing_steps(self) -> Iterator["StopRequest"]:
        """While the loop runs: it asks `requested` after each step. Usable alone, or inside the context manager."""
        if not self._entered:
            with self, self.finishing_steps():
                yield self
            return
        self._finishing_steps = True
        try:
            yield self
        finally:
            self._finishing_steps = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data worker, forked from this process: its parent stops it
        if self.signal_name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal_name = signal.Signals(number).name
        if not self._finishing_steps:
            raise Stopped(self.signal_name)
