"""Counts what operations move through memory and compute, on tensors without data; no GPU is needed.

Every operation reads each of its inputs once and writes each of its outputs once; views are free. That is a lower bound
of what a library moves, and what our kernels do.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_MADE = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")  # room that is not written
_VIEWS = ("_unsafe_view", "_reshape_alias")  # views that their schema does not declare
_OVERWRITTEN = ("copy_", "fill_", "zero_", "normal_", "uniform_", "random_")  # in place, without reading what was there
_CAST = (
    "conv1d",
    "conv_transpose1d",
    "convolution",
    "linear",
    "matmul",
    "bmm",
    "einsum",
)  # CUDA's narrow list, in part


class Traffic(TorchDispatchMode):
    """Bytes moved and operations counted while it is active, by name of the operation; memory held at most.

    flops: of operations that are not the library's, from their arguments and result.
    """

    def __init__(self, flops: Mapping[Any, Callable[..., int]] | None = None) -> None:
        super().__init__()
        self.moved: Counter[str] = Counter()
        self.flops = 0
        self.held = self.peak = 0
        self._formulas = _FLOPS | dict(flops or {})
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def bytes(self) -> int:
        """All bytes moved."""
        return sum(self.moved.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        name = func._schema.name.split("::")[1]
        self.moved[name] += _moved(func, name, inputs, outputs)
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        self._note(outputs)
        return result

    def _note(self, outputs: list[Tensor]) -> None:
        """Memory of new storages, and of those that have gone."""
        gone = [key for key, (reference, _) in self._alive.items() if reference.expired()]
        self.held -= sum(self._alive.pop(key)[1] for key in gone)
        for tensor in outputs:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._alive:
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
                self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    *_: Any,
    out_val: Tensor,
) -> int:
    """Multiplications and additions; every element of the input, or of the output, meets a row of the weight."""
    return 2 * (x if transposed else out_val).numel() * weight[0].numel()


def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, mask: Sequence[bool], out_val: Any,
) -> int:  # fmt: skip
    """As much for each gradient, of input and weight."""
    return 2 * (x if transposed else grad).numel() * weight[0].numel() * sum(mask[:2])


# torch's own formula of the gradients counts depthwise ones as if they were dense.
_FLOPS = dict(flop_registry) | {
    torch.ops.aten.convolution: _convolution,
    torch.ops.aten.convolution_backward: _convolution_backward,
}


def _moved(func: Any, name: str, inputs: list[Tensor], outputs: list[Tensor]) -> int:
    """Bytes that an operation reads and writes."""
    if name in _MADE or name in _VIEWS:
        return 0
    if any(item.alias_info is not None and not item.alias_info.is_write for item in func._schema.returns):
        return 0
    read = inputs[1:] if name in _OVERWRITTEN else inputs
    return sum(map(_size, read)) + sum(map(_size, outputs))


def _tensors(values: Any) -> list[Tensor]:
    """The tensors among arguments or results, each once."""
    found = [item for item in tree_leaves(values) if isinstance(item, Tensor)]
    return list({id(item): item for item in found}.values())


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor; of one that is expanded, those that it repeats."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


class _CudaAutocast(TorchFunctionMode):
    """Casts what CUDA's autocast casts, for tensors of a device that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None

    def enabled(self, device_type: str) -> bool:
        """As `torch.is_autocast_enabled`."""
        return self.dtype is not None

    def narrow(self, device_type: str) -> torch.dtype | None:
        """As `torch.get_autocast_dtype`."""
        return self.dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function, its tensors narrowed where it is one of the list."""
        kwargs = kwargs or {}
        if self.dtype is None or getattr(func, "__name__", "") not in _CAST:
            return func(*args, **kwargs)
        args = [item.to(self.dtype) if _is_float(item) else item for item in args]
        return func(*args, **{key: item.to(self.dtype) if _is_float(item) else item for key, item in kwargs.items()})


def _is_float(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dtype == torch.float32


@contextmanager
def cuda_autocast() -> Iterator[Callable[..., Any]]:
    """Lets `torch.autocast` of any device do what it does on CUDA; gives that function."""
    mode = _CudaAutocast()

    @contextmanager
    def autocast(device_type: str, dtype: torch.dtype | None = None, enabled: bool = True) -> Iterator[None]:
        before, mode.dtype = mode.dtype, dtype if enabled else None
        try:
            yield
        finally:
            mode.dtype = before

    with (
        mock.patch.object(torch, "autocast", autocast),
        mock.patch.object(torch, "is_autocast_enabled", mode.enabled),
        mock.patch.object(torch, "get_autocast_dtype", mode.narrow),
        mock.patch.object(torch.amp, "is_autocast_available", return_value=True),
        mode,
    ):
        yield autocast
