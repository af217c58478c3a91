"""A signal is a flag while steps are done, an exit where nothing is unsaved, and nothing to a data worker."""

import multiprocessing
import os
import signal
import subprocess
from multiprocessing.connection import Connection

import pytest

from snac_exp.data.loader import leave_signals_to_the_parent
from snac_exp.system.stop_request import Stopped, StopRequest
from tests.helpers.waiting import GUARD_SECONDS


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_inside_the_loop_a_signal_only_sets_the_flag(number: int) -> None:
    with StopRequest() as stop, stop.finishing_steps():
        assert not stop.requested
        send(number)
        assert stop.signal_name == signal.Signals(number).name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_outside_the_loop_it_leaves_at_once(number: int) -> None:
    stop = StopRequest()
    with pytest.raises(Stopped, match=signal.Signals(number).name), stop:
        send(number)
    assert stop.requested


def test_the_former_handlers_come_back() -> None:
    calls: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: calls.append(number))
    try:
        with StopRequest().finishing_steps() as stop:
            send(signal.SIGUSR2)
            assert stop.requested
        assert calls == []
        send(signal.SIGUSR2)
        assert calls == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_second_ctrl_c_does_not_wait() -> None:
    with StopRequest() as stop, stop.finishing_steps():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_a_forked_worker_passes_the_signal_over() -> None:
    with StopRequest():
        child = os.fork()
        if child == 0:
            send(signal.SIGUSR2)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def work(pipe: Connection) -> None:
    """Answer every question, as a worker that is alive does."""
    leave_signals_to_the_parent(0)
    while True:
        pipe.send(pipe.recv())


def test_only_its_parent_ends_a_data_worker() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=work, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    ours.send("begun?")
    assert ours.recv() == "begun?"
    for name in ("TERM", "USR2", "INT"):
        subprocess.run(["sh", "-c", f"kill -{name} {worker.pid}"], check=True)
    ours.send("alive?")
    assert ours.recv() == "alive?"
    worker.terminate()
    worker.join(GUARD_SECONDS)
    assert worker.exitcode == 0
