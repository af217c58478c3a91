"""Jobs for the tests of the pool; a module of its own that imports little, since every process imports it."""

import os
import signal
from pathlib import Path

from snac_exp.data.device_pool import reported
from snac_exp.errors import DataError


def share(number: int, device: str) -> tuple[int, str, int]:
    with reported("name", 1) as advance:
        advance(1, "")
    return number, device, os.getpid()


def fail(number: int, _device: str) -> int:
    if number == 1:
        raise DataError("no such codec")
    return number


def die(number: int, _device: str) -> None:
    if number == 1:
        os._exit(9)


def wait(folder: str, number: int, _device: str) -> None:
    """Until it is stopped, which it notes; the second process stays even then."""
    try:
        (Path(folder) / f"{number} began").touch()
        while True:
            signal.pause()
    except KeyboardInterrupt:
        (Path(folder) / f"{number} stopped").touch()
        while number == 1:
            signal.pause()
        raise
