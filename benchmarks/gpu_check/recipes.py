"""Small recipes through the users' own commands: data, trainings, a run that is killed, an evaluation."""

import math
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import torch

import snac_exp
from benchmarks.gpu_check.isolation import forked
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from snac_exp import cli
from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.data.demo.speech import write_demo_speech
from snac_exp.system.files import read_json
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.training.train import main as train

DEMO_CODEC = Path(snac_exp.__file__).parent / "assets" / "demo_codec"

SMALL = [
    "loss.n_ffts.head_24k=[256]", "loss.n_ffts.head_48k=[256]", "trainer.num_threads=1", "trainer.num_workers=0",
    "trainer.batch_size=1", "trainer.max_steps_per_epoch=2", "trainer.num_sample_clips=0", "trainer.preflight=[start]",
    "trainer.summary_utterances=0", "data.validation_slices=1", "data.validation_seconds=0.2",
    "curriculum.stages={a: {epochs: [1, 2], segment_seconds: 0.1}}",
]  # fmt: skip
LARGE = [
    "trainer.num_workers=4", "trainer.batch_size=4", "trainer.max_steps_per_epoch=25", "trainer.num_sample_clips=1",
    "trainer.preflight_rows=4", "trainer.summary_utterances=4",
    "curriculum.stages={a: {epochs: [1, 1], segment_seconds: 0.5}, b: {epochs: [2, 2], segment_seconds: 1.0}}",
]  # fmt: skip
DISCRIMINATORS = [
    "adversary=dac", "adversary.start_step=1", "adversary.period_channels=[4,4]", "adversary.band_channels=4",
    "adversary.fft_sizes=[256]", "adversary.periods=[2]",
]  # fmt: skip


def data(setting: Setting, report: Report) -> None:
    """Synthetic speech, prepared, its codes cached on the device; what the other recipes read."""
    minutes = 0.3 if setting.small else 4.0
    write_demo_speech(setting.scratch / "audio", minutes, seed=3, num_train_voices=2, num_validation_voices=1)
    prepared = setting.scratch / "prepared"
    _verb(
        "prepare", f"input={setting.scratch / 'audio'}", f"output={prepared}", "validation_speakers=['val_*']",
        "num_workers=1",
    )  # fmt: skip
    spent = setting.seconds(lambda: _verb("cache-codes", f"data={prepared}", "codec=demo", _device(setting)))
    report.tell(minutes=minutes, cache_codes_seconds=spent)


def float32(setting: Setting, report: Report) -> None:
    """Phase 12 in 32-true."""
    _trained(setting, report, "float32")


def bfloat16(setting: Setting, report: Report) -> None:
    """Phase 12 in bf16-mixed, TF32 where float32 is left."""
    _trained(
        setting, report, "bfloat16", "trainer.precision=bf16-mixed", "trainer.tf32=true", "trainer.fused_optimizer=true"
    )  # fmt: skip


def float16(setting: Setting, report: Report) -> None:
    """Phase 12 in 16-mixed with its adversary; on a CPU, which has no 16-mixed, in bf16-mixed."""
    precision = "16-mixed" if setting.on_cuda else "bf16-mixed"
    _trained(setting, report, "float16", f"trainer.precision={precision}", *DISCRIMINATORS)


def compiled(setting: Setting, report: Report) -> None:
    """Phase 12 in bf16-mixed, compiled."""
    with setting.compiling():
        _trained(setting, report, "compiled", "trainer.precision=bf16-mixed", "trainer.compile=true")


def resumed(setting: Setting, report: Report) -> None:
    """Killed after its third step and resumed, against the run in float32 that was left alone.

    On a CPU weights are equal bit for bit; on a GPU, where sums may be added in any order, how far they are is told.
    """
    ended = forked(partial(_killed, _recipe(setting, "resumed"), 3))
    if ended != -signal.SIGKILL:
        raise RuntimeError(f"the run that was to be killed ended with {ended}")
    folder = _run_folder(setting, "resumed")
    _demand(train([f"resume={folder}"]), "python train.py resume=…")
    _told(report, folder)
    whole, again = (_weights(path) for path in (_run_folder(setting, "float32"), folder))
    differences = [float((again[name] - whole[name]).abs().max()) for name in whole]
    report.tell(tensors_that_differ=sum(value > 0 for value in differences))
    report.expect("largest_difference", max(differences), at_most=1e-2 if setting.on_cuda else 0)


def tokens(setting: Setting, report: Report) -> None:
    """The token model in bf16-mixed on the cached codes, and what it says."""
    size = ["lm.d_model=32", "lm.num_heads=2"] if setting.small else []
    arguments = [
        "+experiment=rvq_toy", "name=tokens", "tracker.mode=off", f"output_dir={setting.scratch / 'runs'}",
        f"data.cache_dir={_cache(setting)}", f"trainer.accelerator={setting.device.type}", "trainer.num_sample_clips=0",
        "trainer.precision=bf16-mixed", f"lr.phases.main.epochs=[1,{1 if setting.small else 4}]", *size, "again=true",
    ]  # fmt: skip
    _demand(train(arguments), "python train.py")
    folder = _run_folder(setting, "tokens")
    _told(report, folder)
    said = setting.scratch / "said.wav"
    _verb(
        "generate", str(folder), f"output={said}", f"seconds={0.3 if setting.small else 5}", _device(setting),
        f"decode_device={setting.device}",
    )  # fmt: skip
    report.expect("bytes_of_audio", said.stat().st_size, at_least=1000)


def evaluated(setting: Setting, report: Report) -> None:
    """The run in float32, evaluated on the device."""
    output = setting.scratch / "evaluation"
    _verb(
        "evaluate", f"data={setting.scratch / 'prepared'}", f"checkpoint={_run_folder(setting, 'float32')}",
        f"output={output}", f"num_utterances={1 if setting.small else 8}", "baselines=[]", _device(setting),
        *(["max_seconds=0.5"] if setting.small else []),
    )  # fmt: skip
    report.tell(files=len(list(output.iterdir())))


def _recipe(setting: Setting, name: str, *more: str) -> list[str]:
    return [
        "+experiment=phase12_dual_head", "codec=demo", f"name={name}", "tracker.mode=off", "trainer.log_every_steps=1",
        f"trainer.accelerator={setting.device.type}", *(SMALL if setting.small else LARGE),
        *(f"~curriculum.stages.{stage}" for stage in ("cd" if not setting.small else "bcd")),
        "lr.phases.main.epochs=[2,2]", "checkpoint.every_steps=2", f"data.cache_dir={_cache(setting)}",
        f"output_dir={setting.scratch / 'runs'}", *more,
        "again=true",  # what is resumed means the same as what was left alone
    ]  # fmt: skip


def _trained(setting: Setting, report: Report, name: str, *more: str) -> None:
    spent = setting.seconds(lambda: _demand(train(_recipe(setting, name, *more)), "python train.py"))
    report.tell(run_seconds=spent)
    _told(report, _run_folder(setting, name))


def _told(report: Report, folder: Path) -> None:
    """What a finished run computed with, and that every value it logged is a number."""
    used = read_json(folder / "environment.json")
    report.tell(**{key: used[key] for key in ("device", "precision", "kernels")})
    lines = read_metrics(folder)
    # Norms may be infinite in 16-mixed, whose scaler then lowers its factor.
    numbers = [(name, value) for line in lines for name, value in line.items() if not name.endswith("grad_norm")]
    wrong = sorted({name for name, value in numbers if isinstance(value, float) and not math.isfinite(value)})
    report.tell(steps=max(line["step"] for line in lines), not_finite=wrong)
    report.expect("values_that_are_no_numbers", len(wrong), at_most=0)
    objective = [line["val/objective"] for line in lines if "val/objective" in line]
    report.tell(objective_before=objective[0], objective_after=objective[-1])


def _killed(arguments: Sequence[str], step: int) -> int:
    """Train, and die when a step is done and logged."""
    beat = RunFolder.heartbeat

    def last_beat(self: RunFolder, every_seconds: float = 10.0, **values: object) -> None:
        if values.get("step") == step:
            os.kill(os.getpid(), signal.SIGKILL)
        beat(self, every_seconds, **values)

    with mock.patch.object(RunFolder, "heartbeat", last_beat):
        return train(list(arguments))


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = read_json(folder / "checkpoints" / "latest.json")["checkpoints"][0]["file"]
    return read_checkpoint(folder / "checkpoints" / newest).model


def _run_folder(setting: Setting, name: str) -> Path:
    (found,) = (setting.scratch / "runs" / name).iterdir()
    return found


def _cache(setting: Setting) -> Path:
    return setting.scratch / "prepared" / "codes_demo"


def _device(setting: Setting) -> str:
    return f"device={setting.device}"


def _verb(verb: str, *arguments: str) -> None:
    _demand(cli.run([verb, *arguments]), f"snac-exp {verb}")


def _demand(status: int, command: str) -> None:
    if status != 0:
        raise RuntimeError(f"{command} ended with {status}; the log tells why")
