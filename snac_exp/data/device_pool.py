"""One process per device for a job of independent parts; one progress display for all of them."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from snac_exp.data.worker import end_with_parent
from snac_exp.errors import DataError
from snac_exp.system.progress import Advance, progress_display

Result = TypeVar("Result")

_reports: Any = None  # in a process of the pool: where it reports its progress to
_busy, _told = False, False  # in a process of the pool: whether it works, and whether it is to stop


def run_on_devices(function: Callable[[int, str], Result], devices: list[str], total: int, name: str) -> list[Result]:
    """Call `function(number, device)` in a fresh process for each device; results in the order of the devices.

    `function` must be importable by name (or a partial of such a function) and shows its progress with `reported`.
    Raises what the first process raised, after the others have finished their parts; DataError if one was killed. At
    Ctrl-C all of them clean up and stop; a second one kills them.
    """
    # Fresh processes: a CUDA context, and a lock that another thread holds, do not survive a fork.
    context = multiprocessing.get_context("spawn")
    # A plain pipe: Queue sends from a thread of its own, and loses what that still holds when a process is killed.
    reports = context.SimpleQueue()
    with progress_display(name, total) as advance:
        thread = threading.Thread(target=_show, args=(reports, advance), daemon=True)
        thread.start()
        try:
            pool = ProcessPoolExecutor(len(devices), context, initializer=_start, initargs=(reports,))
            with _at_ctrl_c(BaseProcess.kill), pool, _at_ctrl_c(BaseProcess.terminate):
                part = partial(_part, function)
                futures = [pool.submit(part, number, device) for number, device in enumerate(devices)]
                return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise DataError(
                f"{name}: a process was killed, perhaps for want of memory; run the same command again, finished work "
                "is kept (fewer devices or a smaller max_batch_seconds need less)"
            ) from error
        finally:
            # Ends the thread, so that the display shows every report before it closes.
            reports.put(None)
            thread.join()


def device_names(device: str, num_devices: int) -> list[str]:
    """The devices of a pool: cuda:0, cuda:1, … for cuda; a device without numbers, such as cpu, as often as wanted.

    Raises DataError for a number below 1, or together with one particular device.
    """
    if num_devices < 1:
        raise DataError(f"devices={num_devices} must be at least 1")
    # A single device may be named with its number, cuda:1; several are numbered here.
    if num_devices == 1:
        return [device]
    kind, _, number = device.partition(":")
    if number:
        raise DataError(f"device={device} is one device; with devices={num_devices} write device={kind}")
    return [f"{kind}:{i}" if kind != "cpu" else kind for i in range(num_devices)]


@contextmanager
def reported(_name: str, _total: int) -> Iterator[Advance]:
    """Stands for progress_display in a process of the pool."""
    yield lambda num, _note: _reports.put(num)


@contextmanager
def _at_ctrl_c(end: Callable[[BaseProcess], None]) -> Iterator[None]:
    """Around waiting for the processes of a pool: do this to each at Ctrl-C, whichever process it was meant for."""
    try:
        yield
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            end(process)
        raise


def _start(reports: Any) -> None:
    global _reports
    _reports = reports
    # Ctrl-C reaches every process of the terminal, `kill -INT` one: the parent tells its workers in either case, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    end_with_parent()


def _stop(_number: int, _frame: object) -> None:
    global _told
    _told = True
    if _busy:
        raise KeyboardInterrupt


def _part(function: Callable[[int, str], Result], number: int, device: str) -> Result:
    """The work of one process, which cleans up after itself when it is told to stop."""
    global _busy
    _busy = True
    try:
        if _told:
            raise KeyboardInterrupt
        return function(number, device)
    finally:
        _busy = False


def _show(reports: Any, advance: Advance) -> None:
    while (num := reports.get()) is not None:
        advance(num, "")
