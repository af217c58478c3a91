"""Objectives of phase 12 side by side, three seeds each; a run that is finished is not touched.

    python experiments/phase12_spectral/run.py --data PREPARED --output outputs/phase12_spectral [--only ARM ...]
    python experiments/phase12_spectral/run.py … --only spectral powers --utterances 6 --dnsmos

PREPARED is what `snac-exp prepare` and `snac-exp cache-codes codec=demo` made. Every run is a command of train.py; the
table is made of their utterances.parquet: values are means over seeds and utterances, differences are paired by
utterance, their 95 % intervals are over utterances, and the spread over seeds stands beside them.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from snac_exp.evaluation.bootstrap import estimate
from snac_exp.evaluation.utterance_rows import Scores, read_utterances
from snac_exp.metrics.table import METRICS

BUDGET = [
    *("codec=demo", "curriculum=demo", "lr=demo", "trainer=demo", "trainer.max_steps_per_epoch=25", "tracker=none"),
    *("trainer.num_sample_clips=0", "trainer.validate_every_epochs=4", "data.validation_slices=8"),
    *("trainer.preflight=[start]", "trainer.batch_size=8", "lr.phases.main.groups={trunk: 5e-5, head_48k: 2e-3}"),
]
ARMS = {  # 92 steps of about 8 s of audio
    "waveform": ["+experiment=phase12_dual_head"],
    "log_mel": ["+experiment=phase12_dual_head", "+loss.head_terms.head_48k={log_mel: 1.0}"],
    "spectral": ["+experiment=phase12_spectral"],
    "powers": ["+experiment=phase12_spectral", "+loss.terms.band_powers=1.0"],
}
SEEDS = (0, 1, 2)
REFERENCE = "spectral"  # what the others are compared with
BASELINES = {  # candidates of the reference's first run that are not trained
    "its 24 kHz output interpolated": "baseline",
    "the same with noise": "baseline_noise",
    "the codec, 24 kHz": "initial/head_24k",
}
SHOWN = (
    *("level_db", "level_high_db", "lsd_high_db", "lsd_low_db", "mel_distance", "stft_complex", "stoi"),
    *("f0_rmse_cents", "voicing_error", "dnsmos_overall", "dnsmos_p808"),
)  # metrics of the tables


def main() -> None:
    """Train what is not trained, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=24, help="unheard utterances that are measured")
    parser.add_argument(
        "--dnsmos", action="store_true", help="opinion scores, too: 4 s of a core per output and utterance"
    )
    parser.add_argument("--only", nargs="*", default=list(ARMS), choices=list(ARMS))
    options = parser.parse_args()
    quality = "f0,dnsmos" if options.dnsmos else "f0"
    measured = [f"trainer.summary_utterances={options.utterances}", f"trainer.summary_quality=[{quality}]"]
    cached = f"data.cache_dir={options.data / 'codes_demo'}"
    for seed in SEEDS:  # outside, so that a study cut short has every arm
        for arm in options.only:
            train(options.output, f"{arm}_{seed}", [*ARMS[arm], cached, *measured], seed)
    scores = {arm: [scores_of(options.output, f"{arm}_{seed}") for seed in SEEDS] for arm in options.only}
    for head in ("head_48k", "head_24k"):
        print(table(head, {arm: [found for found in runs if found] for arm, runs in scores.items()}))


def train(output: Path, name: str, arguments: list[str], seed: int) -> None:
    """One run; one that was interrupted is resumed."""
    folders = sorted((output / name).glob("*")) if (output / name).exists() else []
    if folders and (folders[0] / "summary.json").exists():
        return
    given = [*arguments, *BUDGET, f"seed={seed}", f"name={name}", f"output_dir={output}"]
    print(name, flush=True)
    again = [f"resume={folders[0]}"] if folders else given
    subprocess.run([sys.executable, "train.py", *again], check=True, stdout=subprocess.DEVNULL)


def scores_of(output: Path, name: str) -> Scores:
    """A finished run's scores; none of one that did not run."""
    folders = sorted((output / name).glob("*"))
    return read_utterances(folders[0]) if folders else {}


def table(head: str, scores: Mapping[str, list[Scores]]) -> str:
    """Markdown: a row per arm and baseline, a column per metric."""
    first = scores[REFERENCE][0] if scores.get(REFERENCE) else next(runs[0] for runs in scores.values() if runs)
    by_name = {metric.name: metric for metric in METRICS if f"{head}/{metric.name}" in first}
    shown = [by_name[name] for name in SHOWN if name in by_name]
    lines = [f"| {head} | {' | '.join(metric.full_title for metric in shown)} |", f"|{'---|' * (len(shown) + 1)}"]
    for arm, runs in scores.items():
        cells = [cell([run.get(f"{head}/{it.name}", {}) for run in runs], it.text) for it in shown]
        lines.append(f"| {arm} ({len(runs)} seeds) | {' | '.join(cells)} |")
    for title, candidate in BASELINES.items():
        values = [list(first.get(f"{candidate}/{metric.name}", {}).values()) for metric in shown]
        cells = [it.text(statistics.fmean(found)) if found else "" for it, found in zip(shown, values, strict=True)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for arm, runs in scores.items():
        if arm != REFERENCE and REFERENCE in scores:
            cells = []
            for metric in shown:
                key = f"{head}/{metric.name}"
                pairs = paired([run.get(key, {}) for run in scores[REFERENCE]], [run.get(key, {}) for run in runs])
                found = estimate(pairs, 0)
                if found is None or found.low95 is None or found.high95 is None:
                    cells.append("")
                else:
                    ends = f"{metric.text(found.low95, signed=True)} to {metric.text(found.high95, signed=True)}"
                    cells.append(f"{metric.text(found.mean, signed=True)} ({ends})")
            lines.append(f"| {REFERENCE} - {arm} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(runs: list[Mapping[tuple[str, float], float]], text: object) -> str:
    """Mean over utterances and seeds, and how far seeds lie apart."""
    means = [statistics.fmean(run.values()) for run in runs if run]
    if not means or not callable(text):
        return ""
    spread = f" ± {text(statistics.stdev(means))}" if len(means) > 1 else ""
    return f"{text(statistics.fmean(means))}{spread}"


def paired(
    ours: list[Mapping[tuple[str, float], float]], theirs: list[Mapping[tuple[str, float], float]]
) -> list[float]:
    """Differences utterance by utterance, each side averaged over its seeds."""
    shared = set.intersection(*(set(run) for run in [*ours, *theirs]))
    return [
        statistics.fmean(run[key] for run in ours) - statistics.fmean(run[key] for run in theirs)
        for key in sorted(shared)
    ]


if __name__ == "__main__":
    main()
