"""Three calls of under nine minutes, and the parts of each in order of what it is worth."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.gpu_check import codec, kernels, numerics, recipes, speed, sweeps
from benchmarks.gpu_check.isolation import isolated
from benchmarks.gpu_check.report import NOT_BEGUN, OK, Report
from benchmarks.gpu_check.setting import Setting
from snac_exp.system.files import write_json

CALL_SECONDS = 530.0  # of a call, so that its records are safe before nine minutes are over

MOST_LETTERS = 300  # of the values in a part's line; its record has all


@dataclass(frozen=True)
class Part:
    """work: what it does. seconds: most that it may take on a GPU."""

    work: Callable[[Setting, Report], None]
    seconds: float = 60.0


SAME_IN_SMALL = frozenset({"stage_a", "stage_b", "stage_c", "compiled_a", "compiled_b", "compiled_c"})

CALLS: dict[int, dict[str, Part]] = {
    1: {  # is it right
        "machine": Part(numerics.machine),
        "trial": Part(numerics.trial, 150),
        "precision": Part(numerics.precision, 150),
        "tokens": Part(codec.tokens, 40),
        "decode": Part(codec.decoded, 40),
        "stream": Part(codec.streamed, 40),
        "generate": Part(codec.generated, 40),
        "repeat": Part(numerics.repeated),
        "repeat_deterministic": Part(numerics.repeated_exactly),
        "data": Part(recipes.data),
        "recipe_float32": Part(recipes.float32, 100),
        "recipe_bfloat16": Part(recipes.bfloat16, 100),
        "recipe_float16_adversary": Part(recipes.float16, 100),
        "recipe_resumed": Part(recipes.resumed, 90),
        "recipe_tokens": Part(recipes.tokens, 70),
        "evaluate": Part(recipes.evaluated),
        "recipe_compiled": Part(recipes.compiled, 150),
    },
    2: {  # how fast is it
        "machine": Part(numerics.machine),
        "trial": Part(numerics.trial, 150),
        "stage_d": Part(partial(speed.stage, "d"), 120),
        "against_plain": Part(speed.against_plain, 120),
        "profile": Part(speed.profiled),
        "stage_a": Part(partial(speed.stage, "a")),
        "stage_b": Part(partial(speed.stage, "b")),
        "stage_c": Part(partial(speed.stage, "c")),
        "compiled_d": Part(partial(speed.compiled_stage, "d"), 120),
        "compiled_a": Part(partial(speed.compiled_stage, "a"), 90),
        "compiled_b": Part(partial(speed.compiled_stage, "b"), 90),
        "compiled_c": Part(partial(speed.compiled_stage, "c"), 90),
    },
    3: {  # are its kernels well cut
        "machine": Part(numerics.machine),
        "trial": Part(numerics.trial, 150),
        "exact": Part(kernels.exact, 150),
        "stage_d": Part(partial(speed.stage, "d"), 120),
        "sweep_stretches": Part(sweeps.sweep_stretches, 120),
        "sweep_products": Part(sweeps.sweep_products, 150),
        "sweep_gradients": Part(sweeps.sweep_gradients, 120),
        "sweep_ends": Part(sweeps.sweep_ends, 120),
        "stage_d_best": Part(sweeps.best_stage),
        "token_step": Part(speed.token_step),
        "token_step_compiled": Part(speed.compiled_token_step, 120),
    },
}


def run_call(setting: Setting) -> bool:
    """Run the parts of one call; whether all went well. Its record is whole after every part.

    A part gets what is left of the call's time, and none begins when that is over; in small nothing is timed.
    """
    started, parts = time.monotonic(), parts_of(setting)
    records: dict[str, Any] = {}
    _write(setting, records)
    for name, part in parts.items():
        begun = time.monotonic()
        left = None if setting.small else min(part.seconds, CALL_SECONDS - (begun - started))
        if left is not None and left <= 0:
            report = Report(setting.scratch / "not_begun.json", status=NOT_BEGUN)
        else:
            report = isolated(partial(part.work, setting), setting.output / f"call{setting.call}.log", left)
        records[name] = report.as_dict() | {"seconds": round(time.monotonic() - begun, 2)}
        _write(setting, records)
        print(line(name, records[name]), flush=True)
    wrong = [name for name, record in records.items() if record["status"] != OK]
    print(f"call {setting.call}: {len(records) - len(wrong)} of {len(records)} parts are well", flush=True)
    return not wrong


def parts_of(setting: Setting) -> dict[str, Part]:
    """Of a call; in small one of each kind, since all stages are one size there."""
    parts = CALLS[setting.call]
    return {name: part for name, part in parts.items() if not (setting.small and name in SAME_IN_SMALL)}


def _write(setting: Setting, records: Mapping[str, Any]) -> None:
    head = {"call": setting.call, "device": setting.device.type, "small": setting.small}
    write_json(setting.output / f"call{setting.call}.json", head | {"parts": records})


def line(name: str, record: Mapping[str, Any]) -> str:
    """A part for the terminal: how it ended, seconds, what is wrong, and its values."""
    values = " ".join(
        f"{key}={_short(value)}" for key, value in record["values"].items() if not isinstance(value, dict)
    )
    wrong = "; ".join([*record["missed"], *filter(None, [record["error"]])])
    values = values if len(values) <= MOST_LETTERS else f"{values[:MOST_LETTERS]}…"
    return f"{record['status']:<13} {record['seconds']:6.1f} s  {name:<25} {wrong + ' | ' if wrong else ''}{values}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
