"""The check for the hour in which a GPU is at hand runs whole on a CPU, and keeps what it found whatever happens."""

import json
import os
import signal
import sys
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu_check import calls, figures, numerics, recipes, speed, wheels
from benchmarks.gpu_check.calls import CALLS, SAME_IN_SMALL, Part, run_call
from benchmarks.gpu_check.isolation import isolated
from benchmarks.gpu_check.report import FAILED, MISSED, OK, OUT_OF_MEMORY, OUT_OF_TIME, Report
from benchmarks.gpu_check.setting import Setting
from snac_exp.config.compose import compose_experiment
from tests.helpers.commands import python_process

MODULE = ("-m", "benchmarks.gpu_check")


@pytest.mark.slow
@pytest.mark.thorough  # a part of every kind below; what recipes ask for beside it
def test_every_line_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    environment = {"OMP_NUM_THREADS": "1"}
    arguments = ("--device", "cpu", "--small", "--output", str(tmp_path))
    done = python_process("-W", "ignore", *MODULE, *arguments, environment=environment, cold=True).succeeded()
    for call, parts in CALLS.items():
        found = json.loads((tmp_path / f"call{call}.json").read_text())["parts"]
        assert found.keys() == parts.keys() - SAME_IN_SMALL
        assert {name: part["status"] for name, part in found.items()} == dict.fromkeys(found, OK)
        assert all(part["values"] for part in found.values())
        assert f"call {call}: {len(found)} of {len(found)} parts are well" in done.out
    assert done.err == ""


TRAINING = ("float32", "bfloat16", "float16", "compiled", "tokens")


@pytest.mark.slow
@pytest.mark.parametrize("small", [True, False])
def test_its_recipes_are_recipes(small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(recipes, "train", lambda arguments: asked.append(arguments) or 1)
    setting = Setting(torch.device("cpu"), small, tmp_path, tmp_path, 1)
    for name in TRAINING:
        with pytest.raises(RuntimeError, match=r"train\.py ended with 1"):
            getattr(recipes, name)(setting, Report(tmp_path / "report.json"))
    composed = [compose_experiment([item for item in arguments if item != "again=true"])[0] for arguments in asked]
    assert [it.trainer.precision for it in composed] == ["32-true", *["bf16-mixed"] * 4]


class OnCuda(Setting):
    """Of a CPU that is taken for a GPU."""

    on_cuda = True  # type: ignore[assignment]


@pytest.mark.slow
def test_so_do_the_lines_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(major=9, minor=0, total_memory=80_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3_000_000_000)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    setting = OnCuda(torch.device("cpu"), True, tmp_path, tmp_path, 2)
    works = {"machine": numerics.machine, "stage_d": partial(speed.stage, "d"), "profile": speed.profiled}
    parts = {name: Part(work) for name, work in works.items()} | {"trial": Part(numerics.trial)}
    monkeypatch.setattr(calls, "CALLS", {2: parts})
    assert not run_call(setting)
    found = json.loads((tmp_path / "call2.json").read_text())["parts"]
    assert (found["machine"]["values"]["capability"], found["machine"]["values"]["memory_gb"]) == ([9, 0], 80.0)
    assert found["stage_d"]["values"]["peak_gb"] == 3.0
    assert "audio_per_tb" in found["stage_d"]["values"]
    assert (found["machine"]["status"], found["profile"]["status"]) == (OK, OK)
    assert found["trial"]["error"] == "RuntimeError: the kernels are not used: loops of the CPU"


def test_without_a_gpu_it_says_so_in_one_line(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    done = python_process(*MODULE, "--output", str(tmp_path / "found"))
    assert done.status == 2
    assert done.err == (
        "gpu-check: there is no GPU here; --device cpu --small runs every line of it in small on a CPU\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_records_of_an_earlier_check_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "call2.json").touch()
    done = python_process(*MODULE, "--call", "2", "--output", str(tmp_path))
    assert done.status == 2
    assert done.err == f"gpu-check: {tmp_path / 'call2.json'} is there already; give another folder: --output\n"


def _fails(report: Report) -> None:
    report.tell(before=1)
    print("said before")
    raise ValueError("a reason\nand more")


def _dies(report: Report) -> None:
    report.tell(before=1)
    os.kill(os.getpid(), signal.SIGKILL)


def _hangs(report: Report) -> None:
    signal.pause()


def _fills_memory(report: Report) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def _misses(report: Report) -> None:
    report.expect("speed", 3.0, at_least=5.0)
    report.expect("error", float("nan"), at_most=1.0)
    report.expect("fine", 1.0, at_most=1.0, at_least=1.0)


def _does_well(report: Report) -> None:
    report.tell(right=True)


ENDS: dict[str, tuple[Any, str, str | None, dict[str, Any]]] = {
    "fails": (_fails, FAILED, "ValueError: a reason", {"before": 1}),
    "dies": (_dies, FAILED, "ended by itself with -9", {"before": 1}),
    "fills memory": (_fills_memory, OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 2 GiB", {}),
    "does well": (_does_well, OK, None, {"right": True}),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_part_ends_alone_and_leaves_what_it_found(end: str, tmp_path: Path) -> None:
    work, status, error, values = ENDS[end]
    found = isolated(work, tmp_path / "log", None)
    assert (found.status, found.error, found.values) == (status, error, values)
    assert ("said before" in (tmp_path / "log").read_text()) == (end == "fails")


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_part_that_hangs_is_ended(seconds: float, tmp_path: Path) -> None:
    """Also one that has not begun by then."""
    found = isolated(_hangs, tmp_path / "log", seconds)
    assert (found.status, found.missed) == (OUT_OF_TIME, [])


def test_a_missed_floor_is_said_and_no_number_misses_every_floor(tmp_path: Path) -> None:
    found = isolated(_misses, tmp_path / "log", None)
    assert found.status == MISSED
    assert found.missed == ["speed is 3, must be at least 5", "error is nan, must be at most 1"]


def test_what_goes_wrong_stops_no_other_part_and_is_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works = {"one": _misses, "two": _fails, "three": _does_well}
    parts = {name: Part(lambda setting, report, work=work: work(report)) for name, work in works.items()}
    monkeypatch.setattr(calls, "CALLS", {1: parts})
    setting = Setting(torch.device("cpu"), True, tmp_path, tmp_path, 1)
    assert not run_call(setting)
    record = json.loads((tmp_path / "call1.json").read_text())
    assert (record["device"], record["small"]) == ("cpu", True)
    assert [part["status"] for part in record["parts"].values()] == [MISSED, FAILED, OK]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == [MISSED, FAILED, OK]
    assert "speed is 3, must be at least 5" in lines[0]
    assert lines[3] == "call 1: 1 of 3 parts are well"


def _call(**changes: Any) -> dict[str, Any]:
    """A record of the second call as a GPU would write it; one part ran out of memory."""
    of_stage = {"ms": 80.0, "peak_gb": 21.0, "audio_per_second": 2000.0, "audio_per_tb": 650.0}
    values = {"machine": {"device": "NVIDIA H0", "copy_tb_per_second": 3.0}, "stage_d": of_stage}
    values |= {"against_plain": {"over_plain": 4.0, "over_library": 6.0}, "stage_a": {}}
    parts = {name: {"status": OK, "values": found} for name, found in values.items()}
    return {"call": 2, "device": "cuda", "small": False, "parts": parts} | changes


def test_figures_of_a_gpu_land_with_the_name_of_the_card(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    of_a_processor = {"a processor": {"noise": {"value": 1}}}
    before = {"gpu_old": {"value": 2}, "gpu_traffic": {"value": 3}, "gpu_token_step": {}}
    results.write_text(json.dumps({"processors": of_a_processor, "gpu": before}))
    (tmp_path / "call2.json").write_text(json.dumps(_call()))
    lines = figures.land(tmp_path, results)
    found = json.loads(results.read_text())
    rows = found["gpu"]
    assert rows.keys() == {"gpu_traffic", *figures.ROWS}
    assert (found["processors"], rows["gpu_token_step"]) == (of_a_processor, {})
    assert rows["gpu_best_cuts"]["reason"] == figures.NOT_RUN
    assert (rows["gpu_ms_d"]["value"], rows["gpu_ms_d"]["card"]["device"]) == (80.0, "NVIDIA H0")
    assert {name for name, row in rows.items() if "card" in row} == {
        name for name, row in figures.ROWS.items() if row.call == 2
    }
    assert (rows["gpu_step"]["value"], rows["gpu_step"]["floor"], rows["gpu_step"]["missed"]) == (4.0, 5.0, True)
    assert (rows["gpu_audio_per_tb"]["value"], rows["gpu_audio_per_tb"]["missed"]) == (650.0, False)
    assert rows["gpu_ms_a"]["reason"] == "the parts of this call did not find 'ms'"
    assert sum("MISSED" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"device": "cpu"}, "is of cpu; no figures of a GPU"),
        ({"small": True}, "is of cuda, in small; no figures of a GPU"),
        ({"parts": {}}, "does not say which card it is of"),
    ],
)
def test_nothing_else_lands(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "call2.json").write_text(json.dumps(_call(**changes)))
    with pytest.raises(SystemExit, match=said):
        figures.land(tmp_path, tmp_path / "results.json")
    with pytest.raises(SystemExit, match=r"there is no call1\.json"):
        figures.land(tmp_path / "elsewhere", tmp_path / "results.json")
    assert not (tmp_path / "results.json").exists()


def test_every_row_is_of_parts_that_its_call_has() -> None:
    asked: list[tuple[int, str]] = []

    class Asking(dict[str, Any]):
        def __getitem__(self, part: str) -> Any:
            asked.append((row.call, part))
            return {"values": dict.fromkeys(("ms", "peak_gb", *KEYS), 1.0)}

    for row in figures.ROWS.values():
        assert row.figure(Asking()).value == 1.0
    assert all(part in CALLS[call] for call, part in asked)
    assert {call for call, _ in asked} == {1, 2, 3}


KEYS = ("audio_per_second", "audio_per_tb", "tokens_per_second", "over_plain", "over_library")


def test_floors_are_those_that_were_set_and_are_stored() -> None:
    assert (figures.OVER_PLAIN, figures.AUDIO_PER_TB) == (5.0, 400.0)
    stored = json.loads(figures.RESULTS.read_text())["gpu"]
    for name, row in figures.ROWS.items():
        assert stored[name]["floor"] == row.floor
        assert (stored[name]["value"] is None) == ("card" not in stored[name])


def test_what_is_brought_is_found_where_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "brought-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("brought_for_a_test/__init__.py", "")
    monkeypatch.setattr(wheels, "FOLDER", folder)
    monkeypatch.setattr(wheels, "BROUGHT", {"brought_for_a_test": ("brought",)})
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert wheels.lacking().keys() == {"brought_for_a_test"}
    monkeypatch.setattr(wheels, "PYTHON", (2, 7))
    with pytest.raises(SystemExit, match=r"is for Python 2\.7, and this is"):
        wheels.unpack(tmp_path / "site")
    monkeypatch.setattr(wheels, "PYTHON", sys.version_info[:2])
    wheels.unpack(tmp_path / "site")
    assert wheels.lacking() == {}


def test_what_does_not_fit_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(package: str, folder: Path) -> None:
        with (folder / f"{package}.whl").open("wb") as file:
            file.truncate(5_000_000)

    monkeypatch.setattr(wheels, "FOLDER", tmp_path / "wheels")
    monkeypatch.setattr(wheels, "_fetch", fetch)
    with pytest.raises(SystemExit, match=r"are more than 60"):
        wheels.collect(["pyarrow==1"])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(wheels, "MOST_BYTES", 10**9)
    assert "75.0 MB" in wheels.collect(["pyarrow==1"])
    with pytest.raises(SystemExit, match="is there already"):
        wheels.collect()
