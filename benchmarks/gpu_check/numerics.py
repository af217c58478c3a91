"""Whether a step on the device computes what it must: against double precision, and twice."""

import copy
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import compress

import torch
import triton
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.dual_head import DualHead, same_parameters, without_noise
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from snac_exp.codec.fast.cuda.choice import choose_kernels, kernels_in_use
from snac_exp.runs.numerics import set_numerics
from snac_exp.system.environment import device_name

COPIED_BYTES, PRODUCT_SIZE = 4 << 30, 8192
WAYS = {  # TF32, type of autocast, distance from double precision that upstream's modules may have at most
    "float32": (False, None, 1e-4),
    "tf32": (True, None, 1e-2),
    "bfloat16": (False, torch.bfloat16, 1e-1),
}
TOLERATED = 2.0  # our distance from double precision over that of upstream's modules


def machine(setting: Setting, report: Report) -> None:
    """What it runs on: versions, bytes that a copy moves, operations that a product does."""
    report.tell(device=device_name(setting.device), python=platform.python_version(), torch=torch.__version__)
    report.tell(triton=triton.__version__, cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    if setting.on_cuda:
        found = torch.cuda.get_device_properties(setting.device)
        report.tell(capability=[found.major, found.minor], memory_gb=found.total_memory / 1e9)
    size = 1 << 20 if setting.small else COPIED_BYTES
    source = torch.ones(size, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    report.tell(copy_tb_per_second=2 * size / _median(setting, lambda: target.copy_(source)) / 1e12)
    n = 64 if setting.small else PRODUCT_SIZE
    a, b = (torch.randn(n, n, device=setting.device, dtype=torch.bfloat16) for _ in range(2))
    report.tell(bf16_tflop_per_second=2 * n**3 / _median(setting, lambda: a @ b) / 1e12)


def _median(setting: Setting, work: Callable[[], object]) -> float:
    return statistics.median([setting.seconds(work) for _ in range(setting.repeats + 2)][2:])


def trial(setting: Setting, report: Report) -> None:
    """The trial that a run makes of the kernels before its first step: on a GPU they must be used then.

    Later parts find them compiled.
    """
    spent = setting.seconds(lambda: choose_kernels("auto", setting.device))
    report.tell(kernels=kernels_in_use(), trial_seconds=spent)
    if setting.on_cuda and kernels_in_use() != "triton":
        raise RuntimeError(f"the kernels are not used: {kernels_in_use()}")


def precision(setting: Setting, report: Report) -> None:
    """Outputs and gradients of one step in every precision: how far upstream's modules and ours are from float64.

    All get the loss's gradient at the exact outputs: L1 has a kink where a sample or bin meets its target, and there
    the last bit of an output decides between -1 and 1.
    """
    pair = without_noise(setting.model(*((1, 80) if setting.small else (2, 11))))
    report.tell(kernels=kernels_in_use())
    exact = _ExactStep(pair)
    for name, (tf32, dtype, most) in WAYS.items():
        set_numerics(num_threads=None, tf32=tf32, deterministic=False)
        errors = {way: exact.error(pair, way, dtype) for way in ("upstream", "ours")}
        report.expect(f"{name}_upstream", errors["upstream"], at_most=most)
        report.tell(**{f"{name}_ours": errors["ours"]})
        # On a CPU alone both may be exact.
        ratio = errors["ours"] / max(errors["upstream"], 1e-7)
        report.expect(f"{name}_ours_over_upstream", ratio, at_most=TOLERATED)


class _ExactStep:
    """Outputs and gradients of upstream's modules in double precision."""

    def __init__(self, pair: DualHead) -> None:
        model = copy.deepcopy(pair.naive).double()
        audio = {head: wave.double() for head, wave in pair.batch.audio.items()}
        outputs = model(pair.batch.codes)
        waves = {head: wave.detach().requires_grad_() for head, wave in outputs.items()}
        plain.loss(waves, audio, plain.MAIN).backward()
        self.heads = list(outputs)
        self.grads = [waves[head].grad for head in self.heads]
        torch.autograd.backward([outputs[head] for head in self.heads], self.grads)
        gradients = [parameter.grad for parameter in _trained(model)]
        self.used = [gradient is not None for gradient in gradients]  # noise blocks that are off have none
        self.tensors = [outputs[head].detach() for head in self.heads] + list(compress(gradients, self.used))

    def error(self, pair: DualHead, way: str, dtype: torch.dtype | None) -> float:
        """Distance of a step in this type, over the length of the exact one; each tensor counts as much."""
        naive, ours = zip(*same_parameters(pair), strict=True)
        parameters = list(compress(naive if way == "upstream" else ours, self.used))
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast(pair.batch.audio["head_24k"].device.type, dtype=dtype, enabled=dtype is not None):
            outputs = pair.naive(pair.batch.codes) if way == "upstream" else pair.task.decode(pair.batch, plain.MAIN)
        waves = [outputs[head] for head in self.heads]
        grads = [grad.to(wave.dtype) for grad, wave in zip(self.grads, waves, strict=True)]
        torch.autograd.backward(waves, grads)
        found = [wave.detach() for wave in waves] + [parameter.grad for parameter in parameters]
        return _distance(found, self.tensors)


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    """In the order of `same_parameters`."""
    for name in ("trunk", "head_24k", "head_48k"):
        yield from (parameter for parameter in model.get_submodule(name).parameters() if parameter.requires_grad)


def _distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    shares = [((a.double() - b).norm() / b.norm()) ** 2 for a, b in zip(found, wanted, strict=True)]
    return float(torch.stack(shares).mean().sqrt())


def repeated(setting: Setting, report: Report) -> None:
    """The same step twice as runs do it by default: whether bits repeat is told, not demanded."""
    _repeat(setting, report, deterministic=False)


def repeated_exactly(setting: Setting, report: Report) -> None:
    """With trainer.deterministic bits repeat, and it costs so much."""
    _repeat(setting, report, deterministic=True)
    report.expect("tensors_that_differ", report.values["tensors_that_differ"], at_most=0)


def _repeat(setting: Setting, report: Report, *, deterministic: bool) -> None:
    set_numerics(num_threads=None, tf32=False, deterministic=deterministic)
    pair = setting.model(*((1, 80) if setting.small else (8, 46)))

    def gradients() -> list[Tensor]:
        pair.task.model.zero_grad(set_to_none=True)
        pair.task.seed_noise(0, "check")
        with setting.narrow():
            terms = pair.task(pair.batch, plain.MAIN)
            total = pair.task.total(terms, plain.MAIN)
        total.backward()
        return [total.detach(), *(q.grad for _, q in same_parameters(pair) if q.grad is not None)]

    runs = [gradients() for _ in range(3)]
    differ = max(sum(not torch.equal(a, b) for a, b in zip(runs[0], run, strict=True)) for run in runs[1:])
    report.tell(tensors=len(runs[0]), tensors_that_differ=differ)
    report.tell(ms=1e3 * _median(setting, gradients), kernels=kernels_in_use())
