"""Starts of a codec from random weights side by side; a run or an evaluation that is finished is not touched.

    python experiments/from_scratch/run.py --data PREPARED --output FOLDER [--only ARM ...] [--seeds N ...]

PREPARED is the demo's ten minutes of synthetic speech (`snac-exp check +experiment=demo` makes it). Every run is a
command of train.py, every evaluation one of `snac-exp evaluate` on 24 unheard utterances. Intervals of 95 % are over
utterances; differences to the recipe are paired by utterance, of runs of the same seed.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from snac_exp.evaluation.bootstrap import estimate

SPEECH = [
    "data=audio_folder",
    *(f"~data.{key}" for key in ("num_minutes", "num_train_voices", "num_validation_voices")),
]
BUDGET = [  # 300 steps of 8 segments of half a second, of the 3200 that the recipe had then
    *("trainer.batch_size=8", "lr.phases.main.steps=[1,3200]", "lr.warmup_cosine.pct_start=0.1"),
    "start.kmeans_batches=128",
    *("trainer.max_steps=300", "start.autoencoder_steps=60", "trainer.validate_every_epochs=12", "tracker=none"),
    *("trainer.num_sample_clips=0", "trainer.preflight=[]", "trainer.summary_utterances=0"),
    *("data.validation_seconds=2.0", "data.validation_slices=16"),
]
PLAIN = ["loss=from_scratch"]
ENVELOPES = [*PLAIN, "+loss.terms.mel_convergence=1.0", "+loss.terms.envelope_correlation=2.0"]
ARMS = {
    "on_data": ENVELOPES,
    "drawn": [*ENVELOPES, "start=none", "start.autoencoder_steps=0", "quantizer=gradient"],
    "plain_terms": PLAIN,
    "whole_cosine": [*ENVELOPES, "lr.phases.main.steps=[1,300]"],  # the rate rises for 30 steps and falls to its end
}
METRICS = ("mel_distance", "lsd_db", "stoi", "level_db")
REFERENCE = "on_data"  # what the others are compared with

Scores = dict[str, dict[str, float]]
"""Metric -> utterance -> value."""


def main() -> None:
    """Train and measure what is not there, then print a row per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    print(f"| run | {' | '.join(METRICS)} | mel_distance - that of {REFERENCE} |")
    print(f"|{'---|' * (len(METRICS) + 2)}")
    found: dict[tuple[str, int], Scores] = {}
    for arm in options.only:
        for seed in options.seeds:
            found[arm, seed] = measured(options.data, options.output, arm, seed)
            print(row(arm, seed, found[arm, seed], found.get((REFERENCE, seed))), flush=True)
        means = [statistics.fmean(found[arm, seed]["mel_distance"].values()) for seed in options.seeds]
        print(f"| {arm}, mean over seeds | {statistics.fmean(means):.4f} |", flush=True)


def measured(data: Path, output: Path, arm: str, seed: int) -> Scores:
    """The scores of a run, trained and evaluated if it is not yet."""
    name = f"{arm}_{seed}"
    folders = sorted((output / name).glob("*")) if (output / name).exists() else []
    if not folders:
        given = ["+experiment=demo_codec", *SPEECH, f"data.path={data}", *BUDGET, *ARMS[arm]]
        run("train.py", *given, f"seed={seed}", f"name={name}", f"output_dir={output}")
        folders = sorted((output / name).glob("*"))
    evaluation = output / f"evaluation_{name}"
    if not (evaluation / "files.parquet").exists():
        asked = [f"data={data}", f"checkpoint={folders[0]}", "rates=[24000]", "num_utterances=24"]
        run("-m", "snac_exp.cli", "evaluate", *asked, f"output={evaluation}")
    rows = pq.read_table(evaluation / "files.parquet").to_pylist()
    return {metric: {row["path"]: row[metric] for row in rows if row[metric] is not None} for metric in METRICS}


def run(*arguments: str) -> None:
    """A command of this repository."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def row(arm: str, seed: int, scores: Scores, reference: Scores | None) -> str:
    """Means with their intervals, and the paired difference to the reference."""
    cells = [interval(list(scores[metric].values())) for metric in METRICS]
    ours, theirs = scores["mel_distance"], {} if reference is None else reference["mel_distance"]
    paired = [ours[path] - theirs[path] for path in ours if path in theirs and arm != REFERENCE]
    return f"| {arm}, seed {seed} | {' | '.join(cells)} | {interval(paired) if paired else ''} |"


def interval(values: list[float]) -> str:
    """Mean (low to high)."""
    found = estimate(values, 0)
    return "" if found is None else f"{found.mean:.4f} ({found.low95:.4f} to {found.high95:.4f})"


if __name__ == "__main__":
    main()
