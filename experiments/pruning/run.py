"""What pruning saves: a small search with and without it, three seeds.

    python experiments/pruning/run.py --output outputs/pruning [--seeds 3] [--trials 8]

On the demo's synthetic speech, which is made on first use. Every trial is trained to its end, once, as by train.py.
Trials are random draws, which do not depend on results, and a run is a function of its config; so where a pruner would
have ended each of them follows from its curve by the very code that judges trials in a sweep. A trial that is there
already is not trained again.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from snac_exp.errors import ConfigError
from snac_exp.sweeps.bayesian.proposals import Refused, Search, propose
from snac_exp.sweeps.bayesian.pruning import Curve, Pruning, Trial, verdict
from snac_exp.sweeps.bayesian.space import Dimension
from snac_exp.sweeps.ledger import Row
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.training.train import main as train

METRIC = "val/head_48k/objective"  # the objective of both heads is weighted by what varies
SPACE = (
    "lr.phases.main.groups.head_48k=tag(log,interval(1e-5,1e-1))",
    "loss.weights.head_24k=tag(log,interval(0.03,3))",
)
RECIPE = [
    *("+experiment=phase12_dual_head", "codec=demo", "loss=spectral", "tracker.mode=off", "trainer.accelerator=cpu"),
    *("data=demo_speech", "data.num_minutes=1.5", "data.num_train_voices=3", "data.num_validation_voices=1"),
    *("loss.n_ffts.head_24k=[256]", "loss.n_ffts.head_48k=[512]", "trainer.num_threads=1", "trainer.num_workers=0"),
    *("trainer.batch_size=2", "trainer.max_steps_per_epoch=5", "trainer.num_sample_clips=0", "trainer.quiet=true"),
    *("trainer.preflight=[start]", "trainer.summary_utterances=0", "trainer.validation_batch_size=4"),
    *("data.validation_slices=4", "data.validation_seconds=0.3", "checkpoint.every_epochs=9"),
    *("curriculum.stages={a: {epochs: [1, 9], segment_seconds: 0.2}}", "lr.phases.main.epochs=[2,9]"),
    *("~curriculum.stages.b", "~curriculum.stages.c", "~curriculum.stages.d"),
]  # 45 steps, a validation every 5, the first 5 of the new head alone
PRUNERS: Mapping[str, Pruning | None] = {
    "none": None,
    "median": Pruning("median", 10, 2, 4),
    "asha": Pruning("asha", 10, 2, 2),
}


class Drawn:
    """Takes a proposal as it is, where a sweep would compose and check it."""

    def check(self, index: int, overrides: list[str], varied: list[str]) -> Refused:
        """The proposal, which becomes a run later."""
        return Refused(index, varied, "")


def main() -> None:
    """Train what is not trained, then say what each pruner would have made of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    print("| seed | pruner | steps | of all | trials pruned | best | steps until the best of all is found |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(options.seeds):
        curves = [curve_of(options, seed, index, varied) for index, varied in enumerate(draws(seed, options.trials))]
        for name, pruning in PRUNERS.items():
            print(f"| {seed} | {name} | {replayed(pruning, curves)} |", flush=True)


def draws(seed: int, num_trials: int) -> list[list[str]]:
    """The trials of a search that does not follow results."""
    parser = OverridesParser.create()
    space = [Dimension.of(parser.parse_override(item)) for item in SPACE]
    search = Search(space, [], num_trials, 1, num_trials, seed)
    return [item.varied for item in propose(search, "minimize", [], num_trials, Drawn())]  # type: ignore[arg-type, union-attr]


def curve_of(options: argparse.Namespace, seed: int, index: int, varied: list[str]) -> Curve:
    """The validations of a trial by step, trained where it is not there."""
    name = f"seed{seed}_trial{index}"
    begun = sorted((options.output / name).glob("*"))
    if not begun or (RunFolder(begun[0]).status() or {}).get("state") != "finished":
        places = [f"output_dir={options.output}", f"name={name}", f"seed={seed}"]
        if train([f"resume={begun[0]}"] if begun else [*RECIPE, *places, *varied]) != 0:
            raise ConfigError(f"{name} did not finish; see {options.output / name}")
    (folder,) = (options.output / name).iterdir()
    lines = (line for line in read_metrics(folder) if line["kind"] == "validation")
    return {line["step"]: float("nan") if line[METRIC] is None else line[METRIC] for line in lines}


def replayed(pruning: Pruning | None, curves: list[Curve]) -> str:
    """Cells of the table: steps in all, their share, pruned trials, the best value, steps until the best is found."""
    best = min(value for curve in curves for value in curve.values())
    before: list[Trial] = []
    found: int | None = None
    spent = 0
    for index, whole in enumerate(curves):
        curve = cut(pruning, whole, before)
        reached = [step for step, value in curve.items() if value <= best]
        found = spent + reached[0] if reached and found is None else found
        spent += max(curve)
        before.append(Trial(Row(index, "", [], ""), curve, len(curve) == len(whole)))
    total = sum(max(curve) for curve in curves)
    num_pruned = sum(not trial.is_finished for trial in before)
    lowest = min(value for trial in before for value in trial.curve.values())
    return f"{spent} | {spent / total:.0%} | {num_pruned} of {len(curves)} | {lowest:.4f} | {found or 'never'}"


def cut(pruning: Pruning | None, whole: Curve, before: list[Trial]) -> Curve:
    """The part of a curve that a trial would have had."""
    steps = sorted(whole)
    for number in range(2, len(steps)) if pruning is not None else ():  # not at the first step, nor at the last
        part = {step: whole[step] for step in steps[:number]}
        assert pruning is not None
        if verdict(pruning, "minimize", part, before) is not None:
            return part
    return whole


if __name__ == "__main__":
    main()
