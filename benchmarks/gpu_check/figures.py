"""What a GPU has to reach, in one place, and the way of its figures into benchmarks/results.json.

python -m benchmarks.gpu_check land FOLDER      of call2.json, which a GPU wrote at full size
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu_traffic import STAGES
from benchmarks.harness import RESULTS, Figure
from snac_exp.system.files import read_json, write_json

OVER_PLAIN = 5.0
"""Least ratio of the plain script's float32 step to ours in bfloat16 with kernels, at 16 x 4 s."""

AUDIO_PER_TB = 400.0
"""Least audio-seconds per second at 43 x 4 s, for each TB/s that a copy moves on the card."""

NOT_RUN = "not run on a GPU yet; make gpu-check"

Parts = Mapping[str, Mapping[str, Any]]
Value = Callable[[Parts], float]


def _of(part: str, key: str) -> Value:
    """What a part found."""
    return lambda parts: float(parts[part]["values"][key])


ROWS: dict[str, tuple[str, str, float | None, Value]] = {
    "gpu_step": ("16 x 4 s, bfloat16 with kernels, against upstream's in float32", "x", OVER_PLAIN,
                 _of("against_plain", "over_plain")),
    "gpu_step_kernels": ("16 x 4 s, bfloat16, with kernels against without", "x", None,
                         _of("against_plain", "over_library")),
    "gpu_step_compiled": ("43 x 4 s, bfloat16 with kernels, compiled against not compiled", "x", None,
                          lambda parts: _of("stage_d", "ms")(parts) / _of("compiled_d", "ms")(parts)),
    "gpu_audio_per_tb": ("43 x 4 s, audio-seconds per second for each TB/s of a copy", "", AUDIO_PER_TB,
                         _of("stage_d", "audio_per_tb")),
    **{f"gpu_{key}_{stage}": (f"{size} x {seconds} s, bfloat16 with kernels, {title}", unit, None,
                              _of(f"stage_{stage}", key))
       for key, title, unit in (("ms", "a step", "ms"), ("peak_gb", "most memory", "GB"),
                                ("audio_per_second", "audio-seconds per second", ""))
       for seconds, (stage, (size, _)) in enumerate(STAGES.items(), start=1)},
}  # fmt: skip
"""Row of results.json -> title, unit, floor, and where a call's record has it."""


def land(folder: Path, results: Path = RESULTS) -> list[str]:
    """Put the figures of a folder's call2.json into results.json; returns their lines.

    What a part did not find stays an empty row with the reason.

    Raises:
        SystemExit: there is no such record, or it is not of a GPU at full size.
    """
    path = folder / "call2.json"
    if not path.is_file():
        raise SystemExit(f"there is no {path}; make gpu-check args='--call 2' on a machine with a GPU writes it")
    call = read_json(path)
    if call["device"] != "cuda" or call["small"]:
        raise SystemExit(f"{path} is of {call['device']}{', in small' if call['small'] else ''}; no figures of a GPU")
    machine = call["parts"].get("machine", {}).get("values", {})
    if "device" not in machine:
        raise SystemExit(f"{path} does not say which card it is of: its part `machine` found nothing")
    return _put(results, {name: _figure(name, call["parts"]) for name in ROWS}, machine)


def empty_rows() -> dict[str, Figure]:
    """Rows as they are before any GPU was at hand."""
    return {name: _row(name, None, NOT_RUN) for name in ROWS}


def _figure(name: str, parts: Parts) -> Figure:
    try:
        return _row(name, round(ROWS[name][3](parts), 3), None)
    except KeyError as missing:
        return _row(name, None, f"the parts of this call did not find {missing}")


def _row(name: str, value: float | None, reason: str | None) -> Figure:
    title, unit, floor, _ = ROWS[name]
    bound = "stated" if floor is None else "at_least"
    return Figure(f"GPU: main step at {title}", value, unit, bound, floor, {}, reason)


def _put(results: Path, figures: Mapping[str, Figure], machine: Mapping[str, Any]) -> list[str]:
    known: dict[str, Any] = read_json(results) if results.exists() else {"figures": {}}
    kept = {name: row for name, row in known["figures"].items() if not _is_ours(name)}
    stamp = {"landed": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "card": machine}
    ours = {name: asdict(figure) | stamp | {"missed": figure.missed()} for name, figure in figures.items()}
    write_json(results, known | {"figures": kept | ours})
    return [figure.line() for figure in figures.values()]


def _is_ours(name: str) -> bool:
    """Whether a row is a GPU's; what was counted without one is not."""
    return name.startswith("gpu_") and not name.startswith("gpu_traffic")
