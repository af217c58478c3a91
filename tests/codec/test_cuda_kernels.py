"""The kernels for CUDA, in Triton's interpreter on a CPU, against double precision and upstream's layers."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.shared import shared_folder

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton: pip install triton"),
]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `tests/codec/cuda_figures.py` found, once for all processes."""
    folder = shared_folder(tmp_path_factory, "cuda figures", figures_of)
    return json.loads((folder / "figures.json").read_text(encoding="utf-8"))


def figures_of(folder: Path, *more: str) -> None:
    command = [sys.executable, "-m", "tests.codec.cuda_figures", str(folder / "figures.json"), *more]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def test_every_kernel_is_right_in_float32(figures: Any) -> None:
    """Lengths that are no multiple of a stretch, one sample, several stretches."""
    errors = [error for found in figures["kernels"].values() for error in found.values()]
    assert len(errors) == 3 * 8
    assert max(errors) <= 1e-6


@pytest.mark.thorough
def test_so_is_every_kernel_of_many_channels(tmp_path: Path) -> None:
    """64 and 512 channels."""
    figures_of(tmp_path, "many")
    found = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert len(found["kernels"]) == 8
    assert max(*found["kernels"].values(), found["snake"]) <= 1e-6


def test_small_and_large_angles_are_right(figures: Any) -> None:
    errors = [error for found in figures["angles"].values() for error in found.values()]
    assert len(errors) == 3 * 8
    assert max(errors) <= 1e-6


def test_what_is_no_number_stays_visible_and_far_angles_stay_bounded(figures: Any) -> None:
    """Beyond 2 * 10^5 radians float32 knows no angle any more; what a Snake adds is then any sine's square."""
    found = figures["numbers"]
    assert found["snake"] == found["by x"] == [True, False, False, False, False]
    lowest, relative, *slopes = found["far"]
    assert lowest >= 0
    assert relative <= 1e-5
    assert -1e-5 <= slopes[0] <= slopes[1] <= 2 + 1e-5


def test_types_are_upstreams_with_and_without_autocast(figures: Any) -> None:
    assert list(figures["types"]) == ["float32", "wide", "narrow"]
    for upstream, ours in figures["types"].values():
        assert ours == upstream


def test_under_autocast_they_are_as_near_to_double_precision_as_upstream(figures: Any) -> None:
    """A block whose products are the library's; a unit, a noise block and an output whose products are in kernels."""
    assert list(figures["narrow"]) == ["block", "unit", "noise", "output"]
    for name, found in figures["narrow"].items():
        upstream, ours = (math.hypot(*found[way]) for way in ("upstream", "ours"))
        assert 0 < ours < upstream
        # The output; an output layer rounds what upstream's does, and chance decides.
        assert found["ours"][0] <= found["upstream"][0] * (1.01 if name == "output" else 1)
        assert found["ours"][1] <= found["upstream"][1]  # the gradient of the input
        assert found["float32"] <= 5e-6


def test_products_round_their_factors_and_results_and_nothing_else(figures: Any) -> None:
    """Half a unit in the last place of each: 2^-9 of bfloat16, 2^-12 of float16, as largest errors of some sums."""
    assert len(figures["products"]) == 5
    for name, errors in figures["products"].items():
        assert len(errors) == 5
        assert max(errors) <= (2**-8 if name.endswith("bfloat16") else 2**-11)


def test_noise_blocks_and_output_layers_do_neither(figures: Any) -> None:
    """Of 256 channels the gradients of a noise block are the library's, and an output layer is all the library's."""
    assert len(figures["around"]) == 4
    for name, found in figures["around"].items():
        assert [len(errors) for errors in found.values()] == ([3] if name.startswith("256") else [3, 5])
        assert max(map(max, found.values())) <= (2**-8 if name.endswith("bfloat16") else 2**-11)


def test_inputs_of_every_kind_and_gradients_that_are_asked_for(figures: Any) -> None:
    found = figures["odd"]
    assert found["turned"]
    assert found["one"]
    assert found["empty"] == [0.0] * 7


def test_they_can_be_compiled_into_one_graph(figures: Any) -> None:
    assert list(figures["compiled"]) == ["False", "True", "ends"]
    assert figures["compiled"]["False"] <= 1e-6
    assert max(figures["compiled"][name] for name in ("True", "ends")) <= 1e-2


def test_a_trial_tells_right_kernels_from_wrong_ones(figures: Any) -> None:
    right, wrong = figures["proof"]
    assert 0 < right <= 1
    assert wrong > 1
