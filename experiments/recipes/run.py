"""Train and measure every arm of the study; an arm that is finished is not touched, so a killed study goes on.

    python experiments/recipes/run.py --data PREPARED --output outputs/recipes [--only ARM ...] [--step train|evaluate]

PREPARED is what `snac-exp prepare` and `snac-exp cache-codes codec=demo` made. Every arm is a command of train.py; the
table and the differences come from `snac-exp evaluate`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SMALL = [
    *("codec=demo", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0", "tracker.mode=off"),
    *("trainer.num_sample_clips=0", "trainer.validate_every_epochs=100", "trainer.summary_utterances=4"),
    *("data.validation_seconds=2.0", "data.validation_slices=16", "checkpoint.every_steps=100000"),
]
LR10_PHASE11 = [f"lr.phases.main.groups.{name}=1e-4" for name in ("trunk", "head_48k")]
LR10_PHASE12 = [
    *("lr.phases.warmup.groups.head_48k=2e-3", "lr.phases.main.groups.trunk=5e-4"),
    *("lr.phases.main.groups.head_48k=5e-4", "lr.phases.main.groups.head_24k=1e-4"),
]
RECIPES = {  # 150 steps of about 8 s of audio; all learning rates ten times the recipe's
    "phase10_decoder_only": [
        *("trainer.batch_size=4", "trainer.max_steps_per_epoch=15"),
        *(f"lr.phases.main.groups.{name}=15e-5" for name in ("trunk", "head_24k")),
    ],
    "phase11_standard": ["trainer.batch_size=2", "trainer.max_steps_per_epoch=10", *LR10_PHASE11],
    "phase11_warmup": [
        *("trainer.batch_size=2", "trainer.max_steps_per_epoch=10", "lr.phases.warmup.groups.head_48k=5e-4"),
        *LR10_PHASE11,
    ],
    "phase11_random_slicing": [
        *("trainer.batch_size=3", "trainer.max_steps_per_epoch=10", "lr.phases.warmup.groups.head_48k=5e-4"),
        *(f"lr.phases.main.groups.{name}=1e-3" for name in ("trunk", "head_48k")),
    ],
    "phase12_dual_head": ["trainer.batch_size=5", "trainer.max_steps_per_epoch=10", *LR10_PHASE12],
}
SHORT = ["trainer.batch_size=5", "trainer.max_steps_per_epoch=7", *LR10_PHASE12]
LOG_MEL = "+loss.head_terms.head_48k={log_mel: 1.0}"  # keeps the head from silence
VARIANTS = {  # phase 12 with 105 steps and two seeds
    "init_average": [LOG_MEL, "init=average"],
    "init_first": [LOG_MEL, "init=first"],
    "init_random": [LOG_MEL, "init=random"],
    "init_residual": [LOG_MEL, "heads=dual_residual", "init=residual"],
    "context": [LOG_MEL, "init=average", "data.context_tokens=null"],
    "plain": ["loss=phase12"],
    "magnitude": ["loss=phase12", "+loss.head_terms.head_48k={stft_magnitude: 1.0}"],
}


def arms(data: Path) -> dict[str, list[str]]:
    """Arm -> arguments of train.py."""
    sources = {True: f"data.path={data}", False: f"data.cache_dir={data / 'codes_demo'}"}
    raw = {"phase10_decoder_only", "phase11_standard", "phase11_warmup"}
    found = {name: [f"+experiment={name}", *SMALL, *own, sources[name in raw]] for name, own in RECIPES.items()}
    for seed in range(2):  # seeds outside, so that a study cut short has every variant
        for name, own in VARIANTS.items():
            base = ["+experiment=phase12_dual_head", *SMALL, *SHORT, *own, sources[False], f"seed={seed}"]
            found[f"{name}_seed{seed}"] = base
    return found


def main() -> None:
    """Train what is not trained, measure what is not measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--step", choices=["train", "evaluate"], default=None)
    options = parser.parse_args()
    chosen = {name: own for name, own in arms(options.data).items() if options.only is None or name in options.only}
    for name, arguments in chosen.items():
        if options.step != "evaluate":
            train(options.output / "runs", name, arguments)
    for name in chosen:
        if options.step != "train":
            evaluate(options, name)


def train(output: Path, name: str, arguments: list[str]) -> None:
    """One arm; a run that was interrupted is resumed."""
    folders = sorted((output / name).glob("*")) if (output / name).exists() else []
    if folders and (folders[0] / "summary.json").exists():
        return
    again = [f"resume={folders[0]}"] if folders else [*arguments, f"name={name}", f"output_dir={output}"]
    print(name, flush=True)
    subprocess.run([sys.executable, "train.py", *again], check=True, stdout=subprocess.DEVNULL)


def evaluate(options: argparse.Namespace, name: str) -> None:
    """One arm on 24 validation utterances, the same for all; finished evaluations are left alone."""
    folder = options.output / "evaluations" / name
    if (folder / "summary.json").exists():
        return
    (run,) = (options.output / "runs" / name).iterdir()
    command = [f"checkpoint={run}", f"data={options.data}", f"name={name}", f"output={folder}", "num_utterances=24"]
    print(name, flush=True)
    subprocess.run([str(Path(sys.executable).with_name("snac-exp")), "evaluate", *command], check=True)


if __name__ == "__main__":
    main()
