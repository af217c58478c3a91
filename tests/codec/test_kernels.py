"""Compiled loops: their sines, what the number of threads may change, and one operation for every compiler."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snac_exp.codec.fast import pointwise
from snac_exp.codec.fast.kernels import snake_gradient_rows, snake_rows
from snac_exp.codec.fast.residual_unit import residual_unit
from tests.helpers.variants import thorough

ROOT = Path(__file__).parents[2]


def _weights(channels: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(1, channels, 1), (channels, 1, 7), (channels,), (1, channels, 1), (channels, channels, 1), (channels,)]
    made = [torch.randn(shape, dtype=dtype) for shape in shapes]
    for alpha in (made[0], made[3]):
        alpha.uniform_(0.3, 2.0)
    return [tensor.requires_grad_() for tensor in made]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e4])
def test_sines_are_those_of_the_angle_rounded_as_torch_rounds_it(scale: float) -> None:
    x = (scale * np.random.default_rng(0).standard_normal((3, 4000))).astype(np.float32)
    alpha = np.array([0.3, -1.0, 2.0], np.float32)
    y, grad_x, grad_alpha = np.empty_like(x), np.empty_like(x), np.empty_like(alpha)
    snake_rows(x, alpha, y)
    snake_gradient_rows(x, np.ones_like(x), alpha, grad_x, grad_alpha)
    angle, a = (alpha[:, None] * x).astype(np.float64), alpha[:, None].astype(np.float64)
    assert np.abs(y - (x + np.sin(angle) ** 2 / a)).max() <= 1e-6 + 1e-7 * np.abs(x).max()
    assert np.abs(grad_x - (1 + np.sin(2 * angle))).max() <= 1e-6
    exact = (np.sin(2 * angle) * x / a - np.sin(angle) ** 2 / a**2).sum(1)
    assert np.abs(grad_alpha - exact).max() <= 1e-5 * np.abs(x / a).sum(1).max()


def test_what_is_no_number_stays_visible() -> None:
    x = np.array([[1.0, np.nan, np.inf, -np.inf, 3e38]], np.float32)
    y = np.empty_like(x)
    snake_rows(x, np.array([2.0], np.float32), y)
    assert np.isfinite(y).tolist() == [[True, False, False, False, False]]


def _results(weights: list[Tensor], threads: int) -> list[Tensor]:
    torch.set_num_threads(threads)
    x = torch.randn(2, 16, 5000, generator=torch.Generator().manual_seed(1)).requires_grad_()
    y = residual_unit(x, 9, *weights)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [x, *weights])]


@pytest.fixture
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_threads_as_before")
@pytest.mark.parametrize("threads", [2, *thorough(1)])
def test_as_many_threads_give_the_same_bits(threads: int) -> None:
    weights = _weights(16)
    for one, again in zip(_results(weights, threads), _results(weights, threads), strict=True):
        assert torch.equal(one, again)


@pytest.mark.slow
@pytest.mark.usefixtures("_threads_as_before")
def test_another_number_of_threads_changes_the_last_bits_at_most() -> None:
    """Some processors' matrix products add in another order then, so a resume tells of the change."""
    weights = _weights(16)
    for one, two in zip(_results(weights, 1), _results(weights, 2), strict=True):
        assert (one - two).abs().max() <= 1e-5 * one.abs().max()


@pytest.mark.slow
def test_compilers_may_take_it_for_what_it_says_it_is() -> None:
    """torch's own checks of an operation: shapes without data, gradients, nothing changed in place."""
    x = torch.randn(2, 3, 40, dtype=torch.float64, requires_grad=True)
    done = torch.library.opcheck(residual_unit, (x, 3, *_weights(3, torch.float64)))
    assert set(done.values()) == {"SUCCESS"}


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_pytorch_keeps_its_number_of_threads(threads: int) -> None:
    """Numba starts OpenMP threads of its own; a run's number is part of what makes its resume bit-exact."""
    code = (
        f"import torch; torch.set_num_threads({threads}); import snac_exp.codec.fast.kernels as k, numpy as np\n"
        "x = np.ones((4, 50), np.float32); k.snake_rows(x, x[0, :4].copy(), x.copy()); print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(threads)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("channels", [64, 256])
def test_products_are_the_same_by_either_of_the_librarys_ways(
    channels: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointwise, "ONEDNN_IS_FASTER", onednn)
    torch.manual_seed(0)
    matrix, signal, grad = torch.randn(channels, 256), torch.randn(256, 100), torch.randn(channels, 100)
    for found, exact in (
        (pointwise.product(matrix, signal), matrix.double() @ signal.double()),
        (pointwise.outer_product(grad, signal), grad.double() @ signal.double().t()),
    ):
        assert (found - exact).abs().max() <= 1e-6 * exact.abs().max() * 16
