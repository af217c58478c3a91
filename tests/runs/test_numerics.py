"""How a run computes is what its recipe says, whatever the process computed with before."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from snac_exp.config.compose import compose_experiment
from snac_exp.runs import run
from snac_exp.runs.numerics import set_numerics
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


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("tf32", "products"), [(True, "high"), (False, "highest")])
def test_tf32_is_on_or_off_for_products_and_convolutions_alike(tf32: bool, products: str, before: bool) -> None:
    set_numerics(num_threads=None, tf32=before)
    set_numerics(num_threads=None, tf32=tf32)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (products, tf32)
    assert environment(torch.device("cpu"), "32-true", 1)["tf32"] is tf32


def test_a_run_computes_as_its_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FarEnoughError(Exception):
        """Numbers are set by now."""

    def stop_here(_: object) -> None:
        raise FarEnoughError

    monkeypatch.setattr(run, "launched_fabric", stop_here)
    torch.backends.cudnn.allow_tf32 = True  # as torch starts
    experiment, values = compose_experiment(["trainer.num_threads=1", f"output_dir={tmp_path}"])
    with pytest.raises(FarEnoughError):
        run.start(experiment, values, [])
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
