"""How a run computes is what its recipe says, whatever the process computed with before."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from snac_exp.config.compose import compose_experiment
from snac_exp.runs import run
from snac_exp.runs.numerics import CUBLAS_WORKSPACE, set_numerics
from snac_exp.system.environment import environment


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    precision, convolutions, threads = (
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.get_num_threads(),
    )
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def numerics(tf32: bool = False, deterministic: bool = False) -> None:
    set_numerics(num_threads=None, tf32=tf32, deterministic=deterministic)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("tf32", "products"), [(True, "high"), (False, "highest")])
def test_tf32_is_on_or_off_for_products_and_convolutions_alike(tf32: bool, products: str, before: bool) -> None:
    numerics(tf32=before)
    numerics(tf32=tf32)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (products, tf32)
    assert environment(torch.device("cpu"), "32-true", 1)["tf32"] is tf32


@pytest.mark.slow
def test_a_run_computes_as_its_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FarEnoughError(Exception):
        """Numbers are set by now."""

    def stop_here(_: object) -> None:
        raise FarEnoughError

    monkeypatch.setattr(run, "launched_fabric", stop_here)
    torch.backends.cudnn.allow_tf32 = True  # as torch starts
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    experiment, values = compose_experiment(
        ["trainer.num_threads=1", "trainer.deterministic=true", f"output_dir={tmp_path}"]
    )
    with pytest.raises(FarEnoughError):
        run.start(experiment, values, [])
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == CUBLAS_WORKSPACE


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("deterministic", [True, False])
def test_sums_have_one_order_or_not_whatever_was_before(
    deterministic: bool, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")  # what a user has set stays
    numerics(deterministic=before)
    torch.backends.cudnn.benchmark = True
    numerics(deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() is deterministic
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (deterministic, False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert environment(torch.device("cpu"), "32-true", 1)["deterministic"] is deterministic
