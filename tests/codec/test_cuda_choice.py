"""Which kernels a process trains with, and what it says where they are wanted and cannot be had."""

import re
from collections.abc import Iterator

import pytest
import torch

from snac_exp.codec.fast.cuda import choice
from snac_exp.codec.fast.cuda.choice import choose_kernels, kernels_in_use, kernels_take, without_kernels
from snac_exp.errors import ConfigError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


class Signal:
    """What is asked of a tensor on a card that is not here."""

    dtype, device = torch.bfloat16, CUDA


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    choose_kernels("none", CPU)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with triton and a card on which the trial succeeds."""
    monkeypatch.setattr(choice, "HAS_TRITON", True)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(choice, "largest_error", lambda device: 0.3)
    return monkeypatch


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_a_cpu_has_its_loops(setting: str) -> None:
    choose_kernels(setting, CPU)
    assert kernels_in_use() == "loops of the CPU"
    assert not kernels_take(torch.zeros(1, 2, 3))


@pytest.mark.parametrize("setting", ["auto", "triton"])
@pytest.mark.usefixtures("card")
def test_a_card_has_the_kernels_once_a_trial_succeeded(setting: str) -> None:
    choose_kernels(setting, CUDA)
    assert kernels_in_use() == "triton"
    assert kernels_take(Signal())  # type: ignore[arg-type]
    with without_kernels():
        assert not kernels_take(Signal())  # type: ignore[arg-type]
    assert kernels_take(Signal())  # type: ignore[arg-type]
    choose_kernels("off", CUDA)
    assert kernels_in_use() == "library"
    assert not kernels_take(Signal())  # type: ignore[arg-type]


def _raise(device: torch.device) -> float:
    raise RuntimeError("Failed to find C compiler\nand more")


LACKS = {
    "triton is not installed": lambda patch: patch.setattr(choice, "HAS_TRITON", False),
    "cards from 8.0 on": lambda patch: patch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5)),
    "RuntimeError: Failed to find C compiler": lambda patch: patch.setattr(choice, "largest_error", _raise),
    "off by 1e+03 times": lambda patch: patch.setattr(choice, "largest_error", lambda device: 1e3),
    "off by nan": lambda patch: patch.setattr(choice, "largest_error", lambda device: float("nan")),
}


@pytest.mark.parametrize("lack", LACKS)
def test_what_is_lacking_is_told_or_refused_when_demanded(lack: str, card: pytest.MonkeyPatch) -> None:
    LACKS[lack](card)
    choose_kernels("auto", CUDA)
    assert kernels_in_use().startswith(choice.LACKING)
    assert lack in kernels_in_use()
    assert not kernels_take(Signal())  # type: ignore[arg-type]
    expected = f"triton is not available: .*{re.escape(lack)}.*; set trainer.kernels=auto or off"
    with pytest.raises(ConfigError, match=expected):
        choose_kernels("triton", CUDA)


@pytest.mark.parametrize("device", [CPU, MPS])
def test_no_other_device_has_them(device: torch.device) -> None:
    with pytest.raises(ConfigError, match=f"are for CUDA, and this is {device.type}"):
        choose_kernels("triton", device)
