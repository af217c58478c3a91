"""A trace of a few steps by torch's profiler, for `+debug=profile`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from snac_exp.errors import ConfigError
from snac_exp.system.files import atomic_path
from snac_exp.tracking.run_folder import RunFolder

NUM_OPERATIONS = 15  # rows of the table in the log


class StepProfiler:
    """Records steps `first` to `last` of a run into RUN_DIR/trace.json, and tells which operations cost most.

    The trace opens in https://ui.perfetto.dev and chrome://tracing. Recorded steps take longer than others. A run that
    was resumed beyond `first` records nothing.
    """

    def __init__(
        self, run_dir: Path, steps: tuple[int, int] | None, num_steps: int, on_cuda: bool, note: Callable[[str], None]
    ) -> None:
        """`steps`: the config's tracker.profile_steps, None = never; `num_steps`: how many the run has.

        Raises:
            ConfigError: the run has no such steps.
        """
        self._path, self._on_cuda, self._note = RunFolder(run_dir).trace, on_cuda, note
        self._first, self._last = steps or (0, 0)
        self._profiler: Any = None
        if steps is not None and not 2 <= self._first <= min(self._last, num_steps):
            raise ConfigError(
                f"tracker.profile_steps={list(steps)}: the run has {num_steps} steps; give a first one of at least 2, "
                "since the one before it is spent on starting, and a last one that is not before it"
            )
        self._last = min(self._last, num_steps)

    def after_step(self, step: int) -> None:
        """Begin or end the recording where it is due; called once after every step with its number, from 1."""
        if step == self._first - 1:  # the profiler records what comes after its start
            self._begin()
        elif step == self._last and self._profiler is not None:
            self._end()

    def _begin(self) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self._on_cuda:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=activities, profile_memory=True)
        self._profiler.start()

    def _end(self) -> None:
        self._profiler.stop()
        with atomic_path(self._path) as temporary:
            self._profiler.export_chrome_trace(str(temporary))
        # On CUDA the program's own time is mostly that of queueing kernels.
        order = "self_device_time_total" if self._on_cuda else "self_cpu_time_total"
        table = self._profiler.key_averages().table(sort_by=order, row_limit=NUM_OPERATIONS, max_name_column_width=48)
        self._note(f"profile of steps {self._first} to {self._last}: {self._path}\n{table}")
        self._profiler = None
