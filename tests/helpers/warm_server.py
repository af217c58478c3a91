"""The server of warm processes: imports what the package imports, then forks one for everyone who asks.

Started cold all the same, since a fork would not be equal: options of Python itself, and other values of variables that
are read while Python or torch starts. Of another copy of the package nothing but the libraries is warm.

usage: python -m tests.helpers.warm_server SOCKET STAND_IN     until standard input ends
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas  # noqa: F401 (imported late, by the first array of pyarrow)
import pesq  # noqa: F401 (imported late, by the first figure)
import pystoi  # noqa: F401 (imported late, by the first figure)
import torch._dynamo  # noqa: F401 (imported late, by the first optimizer)
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton

import snac_exp
from snac_exp.codec.fast.kernels import snake_rows
from snac_exp.report.render import environment
from snac_exp.report.settings import differs_from_defaults
from tests.helpers.parsed_once import parse_once
from tests.helpers.warm import seconds_file

ROOT = Path(__file__).resolve().parents[2]
READ_AT_START = ("OMP_", "MKL_", "OPENBLAS_", "PYTHON", "LD_", "TORCH", "PYTORCH_", "TRITON_", "CUDA_")
OF_A_COPY = ("snac_exp", "tests", "hydra_plugins")
TAKEN_OVER = ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUNBUFFERED")
# Set by torch when it is imported, by trainings for CUDA, by submitit and for ranks; CUDA reads its own at first use.
WITHOUT_EFFECT = (
    "CUDA_VISIBLE_DEVICES",
    "TORCHELASTIC_RUN_ID",
    "TORCHINDUCTOR_CACHE_DIR",
    "PYTORCH_NVML_BASED_CUDA_CHECK",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
)


@dataclass(frozen=True)
class Asked:
    """What a process is to be: the arguments of `python`, its environment, folder, three files and how it writes."""

    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    files: list[int]
    unbuffered: bool

    @property
    def folder(self) -> str:
        """What stands first on the path of imports."""
        first = self.arguments[0]
        return self.cwd if first in ("-c", "-m") else str(Path(self.cwd, first).resolve().parent)

    def path(self) -> list[str]:
        """What stands before the installed packages."""
        own = [] if self.environment.get("PYTHONSAFEPATH") else [self.folder]
        return [*own, *filter(None, self.environment.get("PYTHONPATH", "").split(os.pathsep))]

    def can_be_forked(self) -> bool:
        plain = self.arguments[0] in ("-c", "-m") or not self.arguments[0].startswith("-")
        return plain and _read_at_start(self.environment) == _read_at_start(os.environ)

    def forget_copies(self) -> None:
        """Let the package be imported anew where the path has another copy before ours."""
        copies = [place for place in self.path() if Path(place, "snac_exp").is_dir()]
        if copies and Path(copies[0]).resolve() != ROOT:
            for name in [name for name in sys.modules if name.partition(".")[0] in OF_A_COPY]:
                del sys.modules[name]
            Singleton._instances.pop(Plugins, None)  # Hydra's list of launchers


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    names = [name for name in environment if name.startswith(READ_AT_START)]
    return {name: environment[name] for name in names if name not in (*TAKEN_OVER, *WITHOUT_EFFECT)}


def serve(place: str) -> Asked | None:
    """In a process that was forked: what it is to be. In the server: None, once standard input has ended."""
    running: dict[int, socket.socket] = {}  # process -> who asked for it
    accounts: dict[int, Path] = {}  # process -> the file of what all cost that were begun by the same
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(place)
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ, None)
        selector.register(0, selectors.EVENT_READ, None)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    _kill(running)
                    return None
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    if (asked := _read(connection)) is None:
                        connection.close()
                        continue
                    pid = os.fork()
                    if pid == 0:
                        for other in (connection, *running.values()):
                            other.close()
                        return asked
                    for file in asked.files:
                        os.close(file)
                    running[pid] = connection
                    accounts[pid] = Path(place).with_name(seconds_file(asked.environment))
                    _tell(connection, {"pid": pid})
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    selector.register(connection, selectors.EVENT_READ, pid)
                elif key.data not in running:  # it ended, and who asked left, in this one round
                    continue
                elif key.fileobj in running.values():  # who asked is gone, so a process he began would be killed too
                    selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
                else:
                    _, status, used = os.wait4(key.data, 0)
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    connection = running.pop(key.data)
                    with suppress(KeyError):
                        selector.unregister(connection)
                    _add(accounts.pop(key.data), used.ru_utime + used.ru_stime)
                    _tell(connection, {"status": os.waitstatus_to_exitcode(status)})
                    connection.close()


def _read(connection: socket.socket) -> Asked | None:
    """What somebody asks for; None where he was killed before he had said it."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("r") as lines:
        line = lines.readline()
    if not line.endswith("\n"):
        for file in files:
            os.close(file)
        return None
    asked = json.loads(line)
    unbuffered = asked["arguments"][:1] == ["-u"]
    asked["arguments"] = asked["arguments"][unbuffered:]
    return Asked(**asked, files=files, unbuffered=unbuffered or bool(asked["environment"].get("PYTHONUNBUFFERED")))


def _tell(connection: socket.socket, answer: dict[str, float]) -> None:
    with suppress(ConnectionError):  # who asked is gone
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _add(account: Path, seconds: float) -> None:
    total = seconds + (float(account.read_text()) if account.exists() else 0.0)
    written = account.with_suffix(".new")  # who reads it finds a whole number
    written.write_text(str(total))
    written.replace(account)


def _kill(running: Mapping[int, socket.socket]) -> None:
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def become(asked: Asked, stand_in: str) -> NoReturn:
    """Be the process that was asked for; ends as it ends."""
    for number, file in enumerate(asked.files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked.cwd)
    if not asked.can_be_forked():
        os.execve(sys.executable, [sys.executable, *asked.arguments], asked.environment)
    os.environ.clear()
    os.environ.update(asked.environment)
    tempfile.tempdir = None  # asked for when it is first needed, by the environment
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)
    sys.stdout.reconfigure(write_through=asked.unbuffered)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    sys.executable = stand_in
    sys.path[:1] = asked.path()
    asked.forget_copies()
    _end_as_python_does(lambda: _run(asked.arguments))


def _run(arguments: list[str]) -> None:
    first, *rest = arguments
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        sys.argv = rest
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # it is imported already
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


def _end_as_python_does(program: Callable[[], None]) -> NoReturn:
    """Run it and end, but without taking apart what was imported: that touches all memory, and takes two seconds."""
    status = 0
    try:
        program()
    except SystemExit as end:
        status = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        if status == 1 and end.code != 1:
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            status = 120
    os._exit(status & 255)


def main(place: str, stand_in: str) -> None:
    for module in pkgutil.walk_packages(snac_exp.__path__, "snac_exp."):
        importlib.import_module(module.name)
    # Made once for all: Hydra's grammar, the defaults, pages, what a loop in machine code needs before its first call.
    parse_once()
    differs_from_defaults({})
    for page in environment().list_templates(["j2"]):
        environment().get_template(page)
    snake_rows(np.zeros((1, 8), np.float32), np.ones(1, np.float32), np.zeros((1, 8), np.float32))
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # operations of torch, which each process would unregister when it ends
    gc.collect()
    gc.freeze()  # what all have in common is not written to by each one's collector
    if (asked := serve(place)) is not None:
        become(asked, stand_in)
    os._exit(0)  # as those that it forked: taking apart what was imported takes seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
