"""Mirrored ends: as the library's, and by operations that add in one order where that is asked for."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from snac_exp.config.schema import Adversary
from snac_exp.losses.discriminators import Discriminators
from snac_exp.losses.pair import SignalPair
from snac_exp.losses.reflection import reflect


@pytest.fixture
def one_order() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class NoReflection(TorchDispatchMode):
    """Fails where the library mirrors, whose backward pass a GPU refuses to do in one order."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert "reflection" not in str(function)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("before", "after"), [(3, 3), (0, 2), (4, 0), (0, 0), (9, 9)])
def test_values_and_gradients_are_the_librarys(before: int, after: int) -> None:
    found = []
    for one_order in (True, False):
        signals = torch.linspace(-1, 2, 20, dtype=torch.float64).view(2, 1, 10).requires_grad_()
        torch.use_deterministic_algorithms(one_order)
        try:
            mirrored = reflect(signals, before, after)
        finally:
            torch.use_deterministic_algorithms(False)
        (mirrored * torch.arange(mirrored.shape[-1]).sin()).sum().backward()
        found.append((mirrored.detach(), signals.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_losses_and_discriminators_leave_the_library_alone(one_order: None) -> None:
    prediction = torch.randn(1, 1, 400, requires_grad=True)
    pair = SignalPair(prediction, torch.randn(1, 1, 400), torch.tensor([400]), 24_000, [64, 62])
    settings = Adversary(
        kind="dac", periods=[3], period_channels=[2, 2], fft_sizes=[64], band_edges=[0.0, 1.0], band_channels=2
    )
    with NoReflection():
        spectra = pair.stft(64)[0].abs().mean() + pair.stft(62)[0].abs().mean()
        scores = [features[-1].mean() for features in Discriminators(settings)(prediction)]
        (spectra + torch.stack(scores).sum()).backward()
    assert prediction.grad is not None
