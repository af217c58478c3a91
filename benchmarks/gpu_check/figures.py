"""What a GPU has to reach, in one place, and the way of its figures into benchmarks/results.json.

python -m benchmarks.gpu_check land FOLDER      of the calls whose records lie there, by a GPU at full size
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu_traffic import STAGES
from benchmarks.harness import RESULTS, Figure, read_results
from snac_exp.system.files import read_json, write_json

OVER_PLAIN = 5.0
"""Least ratio of the plain script's float32 step to ours in bfloat16 with kernels, at 16 x 4 s."""

AUDIO_PER_TB = 400.0
"""Least audio-seconds per second at 43 x 4 s, for each TB/s that a copy moves on the card."""

NOT_RUN = "not run on a GPU yet; make gpu-check"

Parts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """Of results.json. call: which one measures it; value: from the parts of that call."""

    call: int
    title: str
    unit: str
    value: Callable[[Parts], float]
    floor: float | None = None

    def figure(self, parts: Parts | None) -> Figure:
        """With the value that the parts give; empty, with the reason, where they give none or None was run."""
        value: float | None = None
        reason: str | None = NOT_RUN
        if parts is not None:
            try:
                value, reason = round(self.value(parts), 3), None
            except KeyError as missing:
                reason = f"the parts of this call did not find {missing}"
        bound = "stated" if self.floor is None else "at_least"
        return Figure(f"GPU: {self.title}", value, self.unit, bound, self.floor, {}, reason)


def _of(part: str, key: str) -> Callable[[Parts], float]:
    """What a part found."""
    return lambda parts: float(parts[part]["values"][key])


def _over(part: str, other: str, key: str = "ms") -> Callable[[Parts], float]:
    """What a part found over what another found."""
    return lambda parts: _of(part, key)(parts) / _of(other, key)(parts)


STEP = "main step at"
ROWS: dict[str, Row] = {
    "gpu_step": Row(2, f"{STEP} 16 x 4 s, bfloat16 with kernels, against upstream's in float32", "x",
                    _of("against_plain", "over_plain"), OVER_PLAIN),
    "gpu_step_kernels": Row(2, f"{STEP} 16 x 4 s, bfloat16, with kernels against without", "x",
                            _of("against_plain", "over_library")),
    "gpu_step_compiled": Row(2, f"{STEP} 43 x 4 s, bfloat16 with kernels, compiled against not compiled", "x",
                             _over("stage_d", "compiled_d")),
    "gpu_audio_per_tb": Row(2, f"{STEP} 43 x 4 s, audio-seconds per second for each TB/s of a copy", "",
                            _of("stage_d", "audio_per_tb"), AUDIO_PER_TB),
    **{f"gpu_{key}_{stage}": Row(2, f"{STEP} {size} x {seconds} s, bfloat16 with kernels, {title}", unit,
                                 _of(f"stage_{stage}", key))
       for key, title, unit in (("ms", "a step", "ms"), ("peak_gb", "most memory", "GB"),
                                ("audio_per_second", "audio-seconds per second", ""))
       for seconds, (stage, (size, _)) in enumerate(STAGES.items(), start=1)},
    "gpu_deterministic": Row(1, f"{STEP} 8 x 4 s, sums in one order, time against any order", "x",
                             _over("repeat_deterministic", "repeat")),
    "gpu_best_cuts": Row(3, f"{STEP} 43 x 4 s, kernels cut as a sweep found best, against as they are", "x",
                         _over("stage_d", "stage_d_best")),
    "gpu_token_step": Row(3, "run 3 of the token model, tokens per second, compiled", "",
                          _of("token_step_compiled", "tokens_per_second")),
    "gpu_token_step_compiled": Row(3, "run 3 of the token model, compiled against not compiled", "x",
                                   _over("token_step", "token_step_compiled")),
}  # fmt: skip
"""Rows by name."""


def land(folder: Path, results: Path = RESULTS) -> list[str]:
    """Put the figures of a folder's calls into results.json; returns their lines.

    Rows of calls whose record is not there stay as they were; what a part did not find is an empty row with the reason.

    Raises:
        SystemExit: there is no record, or one is not of a GPU at full size, or does not say of which.
    """
    calls = {call: path for call in (1, 2, 3) if (path := folder / f"call{call}.json").is_file()}
    if not calls:
        raise SystemExit(f"there is no call1.json, call2.json or call3.json in {folder}; make gpu-check writes them")
    found = {call: _parts_of_a_gpu(path) for call, path in calls.items()}
    known = read_results(results)
    rows, lines = {name: row for name, row in known["gpu"].items() if not _is_old(name)}, []
    for name, row in ROWS.items():
        if row.call in found:
            figure = row.figure(found[row.call])
            stamp = {"landed": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
            card = {"card": found[row.call]["machine"]["values"]}
            rows[name] = asdict(figure) | stamp | card | {"missed": figure.missed()}
            lines.append(figure.line())
        elif name not in rows:
            rows[name] = asdict(row.figure(None)) | {"missed": False}
    write_json(results, known | {"gpu": rows})
    return lines


def _parts_of_a_gpu(path: Path) -> Parts:
    call = read_json(path)
    if call["device"] != "cuda" or call["small"]:
        raise SystemExit(f"{path} is of {call['device']}{', in small' if call['small'] else ''}; no figures of a GPU")
    parts: Parts = call["parts"]
    if "device" not in parts.get("machine", {}).get("values", {}):
        raise SystemExit(f"{path} does not say which card it is of: its part `machine` found nothing")
    return parts


def _is_old(name: str) -> bool:
    """Whether a row is not measured any more; what was counted without a GPU is kept."""
    return not name.startswith("gpu_traffic") and name not in ROWS
