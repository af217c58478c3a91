"""The kernels compiled for cards that are not here: they fit the registers, so that none spills into memory."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton", reason="needs triton: pip install triton")
from snac_exp.codec.fast.cuda import (  # noqa: E402 (needs triton)
    mono,
    noise,
    products,
    triton_kernels,
    triton_mono,
    triton_noise,
    triton_products,
)
from tests.helpers.variants import thorough  # noqa: E402

pytestmark = pytest.mark.slow

MODULES = (triton_kernels, triton_products, triton_noise, triton_mono)
SHAPE = {"TILE": 1024}
PAIR = {"TAPS": 7, "HALO": 32, "WIDE": 1024}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "snake": ("snake_forward", SHAPE),
    "snake gradients": ("snake_backward", SHAPE),
    "pair": ("snake_depthwise_forward", PAIR | {"DILATION": 1, "HALO": 16}),
    "dilated pair": ("snake_depthwise_forward", PAIR | {"DILATION": 9}),
}
SUMS = {"TAPS": 7, "HALO": 32, "WIDE": 2048, "SKIP": True, "DILATION": 9}
OUTPUT = {"TAPS": 7, "ROWS": 16}
WIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "dilated pair gradients": ("snake_depthwise_backward", SUMS),
    "pair gradients": ("snake_depthwise_backward", SUMS | {"DILATION": 1, "HALO": 16}),
} | {
    f"{kernel} of {channels} channels": (kernel, {"CHANNELS": channels, **constants, **sizes})
    for kernel, table, constants in (
        ("snake_pointwise_forward", products.FORWARD, {}),
        ("snake_pointwise_backward", products.BACKWARD, {}),
        ("noise_forward", noise.FORWARD, {}),
        ("noise_backward", noise.BACKWARD, {}),
        ("snake_mono_forward", mono.FORWARD, OUTPUT | {"HALO": 8}),
        ("snake_mono_backward", mono.BACKWARD, OUTPUT),
    )
    for channels, sizes in table.items()
}
MOST = [case for case in WIDE if case.endswith(" 64 channels")]
"""What moves most of a step's bytes."""
PARAMETERS = ("alpha_ptr", "taps_ptr", "bias_ptr", "partial_ptr", "by_weight_ptr", "by_vectors_ptr", "by_alpha_ptr")
"""In float32, whatever the signals are."""


def _usage(kernel: str, sizes: dict[str, Any], capability: int, signals: str, divisor: int | None) -> dict[str, int]:
    """What a compiled kernel takes of the card: registers of a thread, bytes on its stack and in local memory."""
    function = next(getattr(module, kernel) for module in MODULES if hasattr(module, kernel))
    sizes = dict(sizes)
    options = {"num_warps": sizes.pop("num_warps", 4)}
    types = {name: _type_of(name, signals, name in sizes) for name in function.arg_names}
    aligned = {
        (place,): [["tt.divisibility", divisor]]
        for place, name in enumerate(function.arg_names)
        if divisor is not None and (name.endswith("_ptr") or name == "length")
    }
    source = triton.compiler.ASTSource(function, types, constexprs=sizes, attrs=aligned)
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options=options)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    cubin = Path(os.environ["TRITON_CACHE_DIR"]) / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    done = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True)
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", done.stdout + done.stderr)}


def _type_of(name: str, signals: str, constant: bool) -> str:
    if constant:
        return "constexpr"
    if not name.endswith("_ptr"):
        return "i32"
    return "*fp32" if name in PARAMETERS else signals


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("capability", [90, *thorough(80)])
def test_nothing_spills(case: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = _usage(*CASES[case], capability, "*bf16", 16)
    assert found["STACK"] == found["LOCAL"] == 0
    assert 16 <= found["REG"] <= 128  # of 65536 for the 2048 threads of a multiprocessor: four blocks at least


@pytest.mark.parametrize(
    "case",
    [
        "dilated pair gradients",
        *MOST,
        *thorough(*(case for case in WIDE if case not in MOST and case != "dilated pair gradients")),
    ],
)
@pytest.mark.parametrize("capability", [90, *thorough(80)])
def test_nor_do_kernels_that_hold_more(case: str, capability: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = _usage(*WIDE[case], capability, "*bf16", 16)
    assert found["STACK"] == found["LOCAL"] == 0
    assert found["REG"] <= 255


@pytest.mark.parametrize(("signals", "divisor"), [("*fp32", 16), ("*bf16", None)])
def test_nor_in_float32_or_where_lengths_are_odd(
    signals: str, divisor: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for case in ("dilated pair", "dilated pair gradients"):
        found = _usage(*(CASES | WIDE)[case], 90, signals, divisor)
        assert found["STACK"] == found["LOCAL"] == 0
