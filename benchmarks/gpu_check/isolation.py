"""A part in a process of its own: forked from one that has imported all and has never touched a GPU.

So no part pays for imports, each starts CUDA anew, and none leaves memory, settings or a broken context to the next.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.gpu_check.report import FAILED, MISSED, OK, OUT_OF_MEMORY, Report
from snac_exp.system.files import read_json

_fork = multiprocessing.get_context("fork")


def isolated(work: Callable[[Report], None], log: Path, seconds: float | None) -> Report:
    """Run it, its output appended to a log, and end it with all that it began after so many seconds (None: never)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Report(Path(folder, "report.json"))
        report.write()
        process = _fork.Process(target=_run, args=(work, report, log))
        process.start()
        try:
            process.join(seconds)
            alive = process.is_alive()
        finally:  # also where the check itself is ended
            # What it began belongs to its group: readers of data, compilers, trainings.
            _kill_group(process.pid)
            process.kill()  # it may have got no group yet
            process.join()
        found = Report(report.place, **read_json(report.place))
    if not alive and process.exitcode != 0:
        found.status, found.error = FAILED, f"ended by itself with {process.exitcode}"
    return found


def forked(work: Callable[[], int | None]) -> int:
    """Exit status of a function in a process of its own; negative: the signal that ended it."""
    process = _fork.Process(target=lambda: sys.exit(work()))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _kill_group(pid: int | None) -> None:
    assert pid is not None
    with suppress(ProcessLookupError):  # it is over, and it left nothing behind
        os.killpg(pid, signal.SIGKILL)


def _run(work: Callable[[Report], None], report: Report, log: Path) -> None:
    """In the new process: the work, and its end in the report."""
    os.setpgrp()  # of the same session, which who began the check can end as a whole
    stream = log.open("a", buffering=1, encoding="utf-8")
    for number in (1, 2):  # what is not Python's writes there too
        os.dup2(stream.fileno(), number)
    sys.stdout = sys.stderr = stream
    try:
        work(report)
        report.status = MISSED if report.missed else OK
    except torch.OutOfMemoryError as error:
        report.status, report.error = OUT_OF_MEMORY, _last_line(error)
    except BaseException as error:
        traceback.print_exc()
        report.status, report.error = FAILED, f"{type(error).__name__}: {_last_line(error)}"
    report.write()


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
