"""A warm process is one as Python would begin it, with everything imported."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import python_process
from tests.helpers.killed import kill
from tests.helpers.waiting import GUARD_SECONDS

IS_WARM = "import sys; sys.exit(0 if 'torch' in sys.modules else 3)"


@pytest.mark.slow
def test_everything_is_imported_unless_a_start_would_be_another() -> None:
    assert python_process("-c", IS_WARM).status == 0
    assert python_process("-c", IS_WARM, environment={"PYTORCH_ALLOC_CONF": "expandable_segments:True"}).status == 0
    assert python_process("-c", IS_WARM, environment={"PYTHONSAFEPATH": "1"}).status == 0  # as jobs of sweeps begin
    assert python_process("-c", IS_WARM, cold=True).status == 3
    assert python_process("-c", IS_WARM, environment={"OMP_NUM_THREADS": "2"}).status == 3
    assert python_process("-I", "-c", IS_WARM).status == 3


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('why')", 1, "why"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT); input()", -signal.SIGINT, "KeyboardInterrupt"),
        ("import atexit, sys; atexit.register(print, 'last', file=sys.stderr)", 0, "last"),
    ],
)
def test_it_ends_as_python_does(code: str, status: int, said: str) -> None:
    for cold in (False, True):
        done = python_process("-c", code, cold=cold)
        assert (done.status, (done.err.splitlines() or [""])[-1]) == (status, said)


@pytest.mark.slow
def test_it_has_its_own_files_folder_arguments_and_copy_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snac_exp").mkdir()
    (tmp_path / "snac_exp" / "__init__.py").write_text("WHERE = __file__")
    code = "import os, sys, snac_exp; print(os.getcwd(), sys.argv, snac_exp.WHERE, input(), os.environ['MINE'])"
    done = subprocess.run(
        [sys.executable, "-c", code, "one"], input="typed", text=True, capture_output=True, cwd=tmp_path,
        env=os.environ | {"MINE": "ü"}, timeout=GUARD_SECONDS, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"{tmp_path} ['-c', 'one'] {tmp_path / 'snac_exp' / '__init__.py'} typed ü"
    monkeypatch.chdir(tmp_path)
    safe = python_process(
        "-c", "import snac_exp; print(hasattr(snac_exp, 'WHERE'))", environment={"PYTHONSAFEPATH": "1"}
    )
    assert safe.out.strip() == "False"


def test_signals_reach_it_and_it_does_not_outlive_who_asked(tmp_path: Path) -> None:
    code = (
        "import os, signal, threading\nsignal.signal(signal.SIGTERM, lambda *_: os.write(1, b'heard\\n'))\n"
        "print('begun', flush=True)\nwhile True: threading.Event().wait(0.05)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "heard\n"
    process.kill()
    assert process.stdout.read() == ""  # its end of the pipe is closed: it is gone too
    assert process.wait(GUARD_SECONDS) == -signal.SIGKILL


@pytest.mark.slow
def test_one_that_is_killed_is_gone_before_its_stand_in() -> None:
    for _ in range(20):
        code = "import os; print(os.getpid(), flush=True); input()"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert kill(process) == -signal.SIGKILL
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("said", [None, b"", b'{"arguments": ["-c"'])
def test_who_is_killed_before_he_has_asked_takes_nobody_with_him(said: bytes | None) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(Path(sys.executable).with_name("socket")))
        if said is not None:
            socket.send_fds(server, [b"x" + said], [0, 1, 2])
    assert python_process("-c", "pass").status == 0


def test_temporary_files_lie_where_its_environment_says(tmp_path: Path) -> None:
    code = "import tempfile; print(tempfile.gettempdir())"
    done = python_process("-c", code, environment={"TMPDIR": str(tmp_path)}).succeeded()
    assert done.out.strip() == str(tmp_path)
