"""The counter of bytes and arithmetic counts right where the answer is known."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import lm_traffic
from benchmarks.gpu_traffic import FLOPS, count
from benchmarks.traffic import Traffic, cuda_autocast
from snac_exp.codec.fast.cuda.operations import cuda_snake_depthwise
from snac_exp.config.schema import Depth, LanguageModel

N = 1000


def _meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


KNOWN: dict[str, tuple[Callable[[Tensor], object], int]] = {
    "sum of two": (lambda x: x + _meta(N), 3 * 4 * N),
    "sum with itself": (lambda x: x + x, 2 * 4 * N),
    "in place": (lambda x: x.add_(_meta(N)), 3 * 4 * N),
    "overwritten": (lambda x: x.zero_(), 4 * N),
    "copied": (lambda x: x.copy_(_meta(N)), 2 * 4 * N),
    "narrowed": (lambda x: x.bfloat16(), (4 + 2) * N),
    "reduced": (lambda x: x.sum(), 4 * N + 4),
    "views": (lambda x: x.view(10, -1).t().unsqueeze(0).detach(), 0),
    "room": (lambda x: torch.empty_like(x), 0),
    "expanded": (lambda x: x.expand(5, N) * _meta(5, N), (1 + 5 + 5) * 4 * N),
    "product": (lambda x: x.view(20, 50) @ _meta(50, 30), 4 * (N + 1500 + 600)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_every_input_is_read_once_and_every_output_written_once(name: str) -> None:
    work, expected = KNOWN[name]
    x = _meta(N)
    with Traffic() as traffic:
        kept = work(x)
    assert traffic.bytes == expected
    assert kept is not None


def test_arithmetic_of_convolutions_counts_groups() -> None:
    x, dense, depthwise = _meta(2, 6, 100), _meta(4, 6, 3), _meta(6, 1, 7)
    transposed = _meta(6, 3, 4)
    with Traffic() as traffic:
        F.conv1d(x, dense, padding=1)
    assert traffic.flops == 2 * 2 * 4 * 100 * 6 * 3
    with Traffic() as traffic:
        F.conv_transpose1d(x, transposed, stride=2, padding=1)
    assert traffic.flops == 2 * 2 * 6 * 100 * 3 * 4
    with Traffic() as traffic:
        F.conv1d(x, depthwise.requires_grad_(), padding=3, groups=6).sum().backward()
    assert traffic.flops == 2 * (2 * 2 * 6 * 100 * 7)  # forward and the weight's gradient
    with Traffic(FLOPS) as traffic:
        cuda_snake_depthwise(x, _meta(1, 6, 1), depthwise.detach(), _meta(6), 1, torch.bfloat16)
    assert traffic.flops == 2 * 2 * 6 * 100 * 7
    assert traffic.bytes == 1200 * (4 + 2) + 4 * (6 + 42 + 6)


def test_memory_is_what_lives_at_once() -> None:
    with Traffic() as traffic:
        first = _meta(N) + 1
        second = first * 2
        del first
        third = second[:10] + 1
        assert traffic.held == 4 * (N + 10)
        del second, third
        fourth = _meta(10) + 1
    assert traffic.peak == 4 * (2 * N)  # a sum and the room that it was made from, then a product beside it
    assert fourth.shape == (10,)


def test_autocast_narrows_what_that_of_cuda_narrows() -> None:
    x, weight = _meta(1, 2, 9), _meta(2, 2, 1)
    with cuda_autocast() as autocast:
        with autocast("meta", dtype=torch.bfloat16):
            assert F.conv1d(x, weight).dtype == torch.bfloat16
            assert (weight * x.bfloat16().unsqueeze(0)).dtype == torch.float32
            with torch.autocast("meta", enabled=False):
                assert F.conv1d(x, weight).dtype == torch.float32
        assert F.conv1d(x, weight).dtype == torch.float32


@pytest.mark.slow
def test_kernels_move_a_fraction_of_what_the_librarys_operations_move() -> None:
    """In a small step too; the table of docs/performance.md has the large ones."""
    eager, kernels = (count(way, 1, tokens=8) for way in ("eager_bf16", "kernels_bf16"))
    assert 0 < kernels.moved < 0.25 * eager.moved
    assert kernels.kept <= eager.kept
    assert kernels.peak < eager.peak
    assert kernels.flops == pytest.approx(eager.flops, rel=1e-3)


@pytest.mark.slow
def test_a_token_step_in_fewer_micro_batches_moves_less_and_keeps_more() -> None:
    settings = LanguageModel("parallel", 32, 2, 2, 0.1, 64, "learned", Depth(32, 1, 1))
    many, whole = (lm_traffic.count(settings, 12, number) for number in (6, 1))
    assert many.flops == whole.flops > 0
    assert whole.moved < many.moved
    assert many.peak < whole.peak
    # Nine streams of 1024 logits: six bytes each in one kernel, over fifty by the library's operations.
    assert many.fused_loss == whole.fused_loss == 6 * 12 * 64 * 9 * 1024
    assert whole.loss == pytest.approx(many.loss, rel=0.01)
    assert 8 * whole.fused_loss < whole.loss < whole.moved
