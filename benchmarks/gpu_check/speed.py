"""How fast the steps of training are, and how much memory they take."""

import statistics
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.dual_head import DualHead
from benchmarks.gpu_check.figures import AUDIO_PER_TB, OVER_PLAIN
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from benchmarks.lm_step import VOCAB, OurModel
from snac_exp.codec.fast.cuda.choice import kernels_in_use, without_kernels
from snac_exp.config.compose import compose_experiment
from snac_exp.runs.numerics import set_numerics

NUM_OPERATIONS = 30  # rows of the profiler's table
NUM_CODEBOOKS, CODEBOOK_SIZE = 9, VOCAB  # of DAC at 44.1 kHz


def stage(name: str, setting: Setting, report: Report) -> None:
    """A stage of phase 12 in bfloat16, eager: ms, memory, audio-seconds per second."""
    pair = _model(setting, *setting.stages[name])
    spent = _timed(setting, pair, report)
    report.tell(batch=list(setting.stages[name]))
    bandwidth = setting.found("machine").get("copy_tb_per_second", float("nan"))
    floor = AUDIO_PER_TB if setting.on_cuda and name == "d" else None
    report.expect("audio_per_tb", pair.batch.audio_seconds / spent / bandwidth, at_least=floor)


def compiled_stage(name: str, setting: Setting, report: Report) -> None:
    """The same, compiled; how long compiling takes."""
    pair = _model(setting, *setting.stages[name])
    with setting.compiling():
        pair.task.compile_model()
        report.tell(first_step_seconds=setting.seconds(lambda: _narrow_step(setting, pair)))
        _timed(setting, pair, report)
    report.tell(batch=list(setting.stages[name]))


def against_plain(setting: Setting, report: Report) -> None:
    """Upstream's modules in float32, ours in the library's operations, ours with kernels, by turns; one batch."""
    pair = _model(setting, *setting.compared)

    def library() -> None:
        with without_kernels():
            _narrow_step(setting, pair)

    ways: dict[str, Callable[[], object]] = {
        "kernels": lambda: _narrow_step(setting, pair), "library": library, "plain": lambda: _plain_step(pair),
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in ways}
    for name, work in ways.items():  # to warm up
        work()
        setting.forget_peak()
        work()
        report.tell(**{f"{name}_peak_gb": setting.peak_gb()})
    for _ in range(1 + setting.repeats // 2):
        for name, work in ways.items():
            times[name].append(setting.seconds(work))
            report.tell(**{f"{name}_ms": 1e3 * statistics.median(times[name])})
    report.tell(batch=list(setting.compared), kernels=kernels_in_use())
    for name in ("library", "plain"):
        ratio = statistics.median(other / ours for other, ours in zip(times[name], times["kernels"], strict=True))
        floor = OVER_PLAIN if name == "plain" and setting.on_cuda else None
        report.expect(f"over_{name}", ratio, at_least=floor)


def profiled(setting: Setting, report: Report) -> None:
    """Which kernels a step of the last stage consists of."""
    pair = _model(setting, *setting.stages["d"])
    for _ in range(2):
        _narrow_step(setting, pair)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setting.on_cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        _narrow_step(setting, pair)
        setting.wait()
    averages = profiler.key_averages()
    order = "self_device_time_total" if setting.on_cuda else "self_cpu_time_total"
    print(averages.table(sort_by=order, row_limit=NUM_OPERATIONS, max_name_column_width=60))
    rows = sorted(averages, key=lambda row: getattr(row, order), reverse=True)[:NUM_OPERATIONS]
    report.tell(microseconds={row.key[:100]: [round(getattr(row, order)), row.count] for row in rows})


def token_step(setting: Setting, report: Report) -> None:
    """Run 3 of the token model, a micro-batch in bfloat16 with TF32: ms, memory, tokens per second."""
    _token_step(setting, report, compile_it=False)


def compiled_token_step(setting: Setting, report: Report) -> None:
    """The same, compiled as the recipe has it."""
    _token_step(setting, report, compile_it=True)


def _model(setting: Setting, batch_size: int, num_tokens: int) -> DualHead:
    set_numerics(num_threads=None, tf32=True, deterministic=False)
    return setting.model(batch_size, num_tokens)


def _narrow_step(setting: Setting, pair: DualHead) -> None:
    with setting.narrow():
        pair.step()


def _plain_step(pair: DualHead) -> None:
    """In float32 as the plain script computed it: TF32 in convolutions, which torch has on, not in products."""
    torch.set_float32_matmul_precision("highest")
    try:
        pair.plain_step()
    finally:
        torch.set_float32_matmul_precision("high")
        pair.naive_optimizer.zero_grad()


def _timed(setting: Setting, pair: DualHead, report: Report) -> float:
    """Seconds of a step, which the report tells with what follows from it."""
    setting.forget_peak()
    for _ in range(2):
        _narrow_step(setting, pair)
    times = [setting.seconds(lambda: _narrow_step(setting, pair)) for _ in range(setting.repeats)]
    spent = statistics.median(times)
    report.tell(ms=1e3 * spent, fastest_ms=1e3 * min(times), peak_gb=setting.peak_gb(), kernels=kernels_in_use())
    report.tell(audio_per_second=pair.batch.audio_seconds / spent)
    return spent


def _token_step(setting: Setting, report: Report, *, compile_it: bool) -> None:
    set_numerics(num_threads=None, tf32=True, deterministic=False)
    small = ["lm.d_model=32", "lm.num_layers=1", "lm.num_heads=2", "lm.ctx_frames=16"] if setting.small else []
    experiment, _ = compose_experiment(["+experiment=rvq_run3_fast", "data.directory=none", *small])
    settings, windows = experiment.lm, experiment.trainer.batch_size // experiment.trainer.accumulation
    assert settings is not None
    model = OurModel(settings, NUM_CODEBOOKS).to(setting.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    frames = torch.randint(CODEBOOK_SIZE, (windows, settings.ctx_frames, NUM_CODEBOOKS), device=setting.device)

    def step() -> None:
        with setting.narrow():
            loss = model(frames)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with setting.compiling():
        if compile_it:
            model.model.compile(dynamic=False)
            model.objective.compile(dynamic=False)
        report.tell(first_step_seconds=setting.seconds(step))
        setting.forget_peak()
        step()
        times = [setting.seconds(step) for _ in range(setting.repeats)]
    spent = statistics.median(times)
    report.tell(parameters=sum(p.numel() for p in model.parameters()), windows=windows, frames=settings.ctx_frames)
    report.tell(ms=1e3 * spent, peak_gb=setting.peak_gb(), tokens_per_second=frames.numel() / spent)
