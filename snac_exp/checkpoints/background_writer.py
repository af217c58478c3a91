"""Writing while training goes on: one piece of work at a time in a thread, whose failure is not lost."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch


class Background:
    """Runs one piece of work at a time beside the loop; the next one waits for it."""

    def __init__(self) -> None:
        # One thread: files reach the list of checkpoints in the order in which they were taken.
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._pending: Future[object] | None = None

    def run(self, work: Callable[[], object]) -> None:
        """Start a piece of work once the one before is done, whose exception is raised here."""
        self.wait()
        self._pending = self._threads.submit(work)

    def wait(self) -> None:
        """Until the work under way is done; raises what it raised."""
        # Forgotten before it is asked: a failure is raised once, not again when the run is closed.
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def snapshot(value: Any) -> Any:
    """Nested containers with every tensor copied to the CPU, so that training may go on changing the originals."""
    # State dicts hold the very tensors in use: writing them later would mix two steps.
    if isinstance(value, torch.Tensor):
        # Without copy=True a tensor on the CPU is returned itself, and the next step changes it.
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value
