"""Step times with a clock of our own, a device that is slow to answer, and what a lap does."""

import sys
from collections import Counter
from types import FrameType

import pytest

from snac_exp.tracking.sections import data_metrics
from snac_exp.tracking.speed import PARTS, StepTimer, memory_metrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Device:
    """A queue as a GPU has it: marks are passed only once the device has done `progress` of them."""

    def __init__(self) -> None:
        self.now, self.marks, self.progress = 0.0, 0, 0
        self.waits = 0

    def event(self) -> "Mark":
        return Mark(self)


class Mark:
    def __init__(self, device: Device) -> None:
        self.device, self.at, self.number = device, 0.0, 0

    def record(self) -> None:
        self.device.marks += 1
        self.at, self.number = self.device.now, self.device.marks

    def query(self) -> bool:
        return self.number <= self.device.progress

    def synchronize(self) -> None:
        self.device.waits += 1

    def elapsed_time(self, end: "Mark") -> float:
        assert end.query(), "asked before the device had passed the mark: torch would raise"
        return 1000 * (end.at - self.at)


def spend(timer: StepTimer, clock: Clock, **seconds: float) -> None:
    for part, duration in seconds.items():
        with timer.lap(part):
            clock.now += duration


def test_parts_add_up_to_the_step() -> None:
    clock = Clock()
    timer = StepTimer(clock=clock)
    spend(timer, clock, data_wait=1.0, forward=2.0, loss=0.5, backward=4.0, optimizer=0.5)
    figures = timer.metrics(audio_seconds=16.0)
    assert figures["speed/other_seconds"] == pytest.approx(0.0)
    assert figures["speed/step_seconds"] == pytest.approx(8.0)
    assert figures["speed/audio_seconds_per_second"] == pytest.approx(2.0)
    assert figures["speed/data_wait_share"] == pytest.approx(0.125)
    parts = {part: figures[f"speed/{part}_seconds"] for part in PARTS}
    assert parts == pytest.approx(
        dict.fromkeys(PARTS, 0.0) | {"data_wait": 1.0, "forward": 2.0, "loss": 0.5, "backward": 4.0, "optimizer": 0.5}
    )


def test_what_a_step_spends_outside_of_its_laps_is_told_and_validation_is_not() -> None:
    clock = Clock()
    timer = StepTimer(clock=clock)
    timer.metrics(1.0)
    spend(timer, clock, logging=0.5)
    clock.now += 100  # a validation between two steps
    spend(timer, clock, data_wait=1.0, backward=1.0)
    clock.now += 2.0  # the loss is read, and the device waited for
    figures = timer.metrics(audio_seconds=9.0)
    assert figures["speed/step_seconds"] == pytest.approx(4.5)
    assert figures["speed/other_seconds"] == pytest.approx(2.0)
    assert figures["speed/audio_seconds_per_second"] == pytest.approx(2.0)
    assert figures["speed/logging_seconds"] == pytest.approx(0.5)


def test_every_call_of_a_timed_function_is_a_lap() -> None:
    clock = Clock()
    timer = StepTimer(clock=clock)

    def work(seconds: float) -> str:
        clock.now += seconds
        return "done"

    timed = timer.timed("forward", work)
    assert (timed(1.0), timed(2.0)) == ("done", "done")
    assert timer.metrics(1.0)["speed/forward_seconds"] == pytest.approx(3.0)


def test_logging_and_checkpoint_count_in_the_next_step_and_micro_batches_add() -> None:
    clock = Clock()
    timer = StepTimer(clock=clock)
    spend(timer, clock, forward=1.0)
    spend(timer, clock, forward=1.0)
    assert timer.metrics(1.0)["speed/forward_seconds"] == pytest.approx(2.0)
    spend(timer, clock, logging=0.25, checkpoint=3.0, forward=1.0)
    figures = timer.metrics(1.0)
    assert figures["speed/checkpoint_seconds"] == pytest.approx(3.0)
    assert figures["speed/step_seconds"] == pytest.approx(4.25)
    assert timer.metrics(1.0)["speed/step_seconds"] == 0.0


def test_a_lap_counts_though_the_step_failed() -> None:
    clock = Clock()
    timer = StepTimer(clock=clock)

    def failing() -> None:
        with timer.lap("forward"):
            clock.now += 2.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert timer.metrics(1.0)["speed/forward_seconds"] == pytest.approx(2.0)
    with pytest.raises(KeyError, match="forwards"):
        timer.lap("forwards")


def test_a_lap_inside_a_lap_interrupts_it() -> None:
    clock = Clock()
    timer = StepTimer(clock=clock)
    with timer.lap("forward"):
        clock.now += 1.0
        with timer.inner("loss"):
            clock.now += 0.25
        clock.now += 0.5
    with timer.inner("loss"):  # of a validation
        clock.now += 100.0
        with timer.inner("loss"):
            clock.now += 100.0
    figures = timer.metrics(1.0)
    assert figures["speed/forward_seconds"] == pytest.approx(1.5)
    assert figures["speed/loss_seconds"] == pytest.approx(0.25)
    assert figures["speed/step_seconds"] == pytest.approx(1.75)


def test_on_cuda_the_device_is_timed_and_never_waited_for() -> None:
    clock, device = Clock(), Device()
    timer = StepTimer(on_cuda=True, clock=clock, make_event=device.event)
    with timer.lap("data_wait"):
        clock.now += 0.5
    assert device.marks == 0  # waiting for data is the program's time
    with timer.lap("forward"):
        clock.now += 0.001  # the launch
        device.now += 2.0
        with timer.inner("loss"):
            device.now += 0.5
    device.now += 7.0  # idle, in no lap
    with timer.lap("backward"):
        device.now += 3.0
    assert device.marks == 6  # forward, loss, forward, none, backward, none
    device.progress = 5  # the device is in the middle of the backward pass
    figures = timer.metrics(1.0)
    assert figures["speed/forward_seconds"] == pytest.approx(2.0)
    assert figures["speed/loss_seconds"] == pytest.approx(0.5)
    assert figures["speed/backward_seconds"] == 0.0
    assert figures["speed/data_wait_seconds"] == pytest.approx(0.5)
    assert figures["speed/step_seconds"] == pytest.approx(0.501)
    device.progress = 6
    assert timer.metrics(1.0)["speed/backward_seconds"] == pytest.approx(3.0)
    assert timer.metrics(1.0)["speed/backward_seconds"] == 0.0
    assert device.waits == 0


def test_a_lap_reads_the_clock_twice_and_does_little_else() -> None:
    """What that costs beside a step is a figure of `make bench`."""
    clock, calls = Clock(), Counter()
    timer = StepTimer(clock=clock)
    with timer.lap("forward"):
        pass

    def count(frame: FrameType, event: str, _: object) -> None:
        if event in ("call", "c_call"):
            calls[frame.f_code.co_name] += 1

    sys.setprofile(count)
    with timer.lap("forward"):
        pass
    sys.setprofile(None)
    assert calls["__call__"] == 2, calls
    assert sum(calls.values()) <= 30, calls


def test_memory_is_that_of_this_process() -> None:
    held = bytearray(200 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    figures = memory_metrics()
    assert set(figures) == {"speed/peak_rss_gib"}
    assert 0.2 < figures["speed/peak_rss_gib"] < 64


def test_the_section_data() -> None:
    assert data_metrics(batch_size=4, batch_seconds=6.0, run_seconds=7200.0, epoch_share=0.25) == {
        "data/batch_size": 4.0,
        "data/segment_seconds": 1.5,
        "data/audio_hours": 2.0,
        "data/epoch_share": 0.25,
    }
