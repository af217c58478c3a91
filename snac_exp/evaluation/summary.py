"""How good a run became: every head on whole validation utterances, beside what costs nothing."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.seeding import derive_seed
from snac_exp.data.slices.splits import Splits
from snac_exp.errors import DataError
from snac_exp.evaluation.baselines import NOISE_FIT_UTTERANCES, MeanSpectrumNoise, interpolated
from snac_exp.evaluation.bootstrap import bootstrap_interval
from snac_exp.evaluation.tables import Grid, heading
from snac_exp.evaluation.utterances import spread
from snac_exp.metrics.keys import by_candidate
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import METRICS
from snac_exp.metrics.waveform.l1 import l1
from snac_exp.metrics.waveform.lsd import lsd
from snac_exp.metrics.waveform.lsd_high import lsd_high
from snac_exp.metrics.waveform.mel_distance import mel_distance
from snac_exp.metrics.waveform.si_sdr import si_sdr
from snac_exp.metrics.waveform.stft_complex import stft_complex
from snac_exp.metrics.waveform.stft_magnitude import stft_magnitude
from snac_exp.metrics.waveform.stoi import stoi
from snac_exp.system.files import write_json
from snac_exp.system.torchaudio import functional as F_audio
from snac_exp.tracking.run_folder import RunFolder

Scores = dict[str, list[float | None]]
"""`candidate/metric` -> one value per utterance, None where the metric is undefined."""


@torch.no_grad()
def summarize(
    model: MultiRateSnac,
    initial_model: MultiRateSnac,
    corpus: Splits,
    *,
    seed: int,
    device: torch.device,
    num_utterances: int | None = None,
    keep: Callable[[list[tuple[str, float]], Scores], object] | None = None,
) -> dict[str, float]:
    """Metric the heads of `model` on whole validation utterances: all, or `num_utterances` spread evenly over them.

    Returns flat figures, means over utterances:
        `head_24k/...`, `head_48k/...`: the model; `initial/head_48k/...`: before training;
        `baseline/...`: the model's native output interpolated; `baseline_noise/...`: the same with noise of the
        training set's mean spectrum above its band. Each with `l1`, `stft_magnitude`, `stft_complex`, `mel_distance`,
        `lsd_db`, `si_sdr_db`, `stoi`, and in the wide band `lsd_high_db` (95 % interval in `lsd_high_db_low95` and
        `lsd_high_db_high95`) and `lsd_high_all_db`; see `snac_exp.metrics.table`.
        `head_48k/lsd_high_under_baseline`, `..._under_baseline_noise`: 0.3 means 30 % less than that baseline.
        `count/utterances`, `count/undefined_METRIC`: utterances that a mean leaves out, since the measure is undefined.
        `seconds/audio`, `seconds/evaluation`.

    `keep` gets the same utterance by utterance: their paths and seconds, and the scores of every candidate.

    Every random draw follows from `seed` and the utterance, so the figures repeat. A run without a native head is
    compared with its own wide output below the codec's band limit.
    """
    started = time.monotonic()
    rows = spread(len(corpus.validation), num_utterances)
    noises = {head: _fitted_noise(corpus, head) for head in _wide_heads(model)}
    scores: Scores = {}
    utterances: list[tuple[str, float]] = []
    for row in rows:
        codes, references = corpus.validation.whole(row)
        targets = {head: audio[0, 0].to(device) for head, audio in references.items()}
        for name, head, estimate in _candidates(
            model, initial_model, codes, targets, noises, derive_seed(seed, "summary", row)
        ):
            reference = targets[head]
            scored = _scored(reference, _cut(estimate, reference), model.rates[head], wide=head in noises)
            for metric, value in scored.items():
                scores.setdefault(f"{name}/{metric}", []).append(value)
        seconds = max(target.numel() / model.rates[head] for head, target in targets.items())
        utterances.append((corpus.validation.path(row), seconds))
    if keep is not None:
        keep(utterances, scores)
    total = sum(seconds for _, seconds in utterances)
    figures = _averaged(scores, seed) | {"count/utterances": float(len(rows)), "seconds/audio": total}
    return figures | _reductions(figures, list(noises)) | {"seconds/evaluation": time.monotonic() - started}


def write_summary(run_dir: Path, summary: Mapping[str, float]) -> Path:
    """Write RUN_DIR/summary.json atomically; returns its path."""
    path = RunFolder(run_dir).summary
    write_json(path, dict(summary))
    return path


def summary_table(summary: Mapping[str, float]) -> Table:
    """The summary within 80 columns: a row per metric, a column per candidate under its key in summary.json."""
    values = by_candidate(summary)
    names = _candidate_names(summary)
    shown = [metric for metric in METRICS if any(metric.name in values[name] for name in names)]
    rows = [[heading(metric), *(_cell(metric, values[name].get(metric.name)) for name in names)] for metric in shown]
    columns = ["", *(name.replace("/", "/\n").replace("_noise", "_\nnoise") for name in names)]
    table = Grid(_title(summary), columns, rows).rich()
    table.caption = _caption(summary) or None
    return table


def _title(summary: Mapping[str, float]) -> str:
    return f"{summary['count/utterances']:.0f} whole validation utterances, {summary['seconds/audio']:.0f} s"


def _caption(summary: Mapping[str, float]) -> str:
    """What the wide heads gain above 12 kHz, with the interval of their distance."""
    lines = []
    for key in summary:
        head, _, metric = key.partition("/")
        if metric == "lsd_high_under_baseline":
            low, high = summary[f"{head}/lsd_high_db_low95"], summary[f"{head}/lsd_high_db_high95"]
            below = [
                f"{summary[f'{key}{end}']:.0%} under baseline{end}"
                for end in ("", "_noise")
                if f"{key}{end}" in summary
            ]
            lines.append(f"{head} above 12 kHz: 95 % interval {low:.2f} to {high:.2f} dB,\n{', '.join(below)}")
    return "\n".join(lines)


def _candidate_names(summary: Mapping[str, float]) -> list[str]:
    """Candidates with their figures, wide ones first, so that rows to be compared stand together."""
    names = dict.fromkeys(key.rpartition("/")[0] for key in summary if key.endswith("/l1"))
    return sorted(names, key=lambda name: f"{name}/lsd_high_all_db" not in summary)


def _cell(metric: Metric, value: float | None) -> str:
    return "" if value is None else metric.text(value)


def _wide_heads(model: MultiRateSnac) -> list[str]:
    return [head for head, rate in model.rates.items() if rate > model.geometry.sampling_rate]


def _fitted_noise(corpus: Splits, head: str) -> MeanSpectrumNoise:
    """The mean-spectrum baseline from training utterances, evenly spread."""
    rows = spread(len(corpus.train), NOISE_FIT_UTTERANCES)
    return MeanSpectrumNoise.fitted(corpus.train.whole(row)[1][head][0, 0] for row in rows)


def _candidates(
    model: MultiRateSnac,
    initial_model: MultiRateSnac,
    codes: list[Tensor],
    targets: Mapping[str, Tensor],
    noises: Mapping[str, MeanSpectrumNoise],
    seed: int,
) -> Iterator[tuple[str, str, Tensor]]:
    """All estimates of one utterance: (name in the summary, head whose target it is measured against, waveform)."""
    outputs = _decoded(model, codes, seed)
    for head, waveform in outputs.items():
        yield head, head, waveform
    for head, waveform in _decoded(initial_model, codes, seed).items():
        yield f"initial/{head}", head, waveform
    for head, noise in noises.items():
        suffix = "" if len(noises) == 1 else f"/{head}"
        wide = _interpolated_native(model, outputs, head)
        yield f"baseline{suffix}", head, wide
        yield f"baseline_noise{suffix}", head, noise.added_to(wide, targets[head], seed)


def _decoded(model: MultiRateSnac, codes: list[Tensor], seed: int) -> dict[str, Tensor]:
    """Every head's waveform (N,) of one utterance, with its noise drawn from `seed`."""
    device = next(model.parameters()).device
    torch.manual_seed(seed)
    model.seed_noise(seed)
    waveforms = model.decode([tokens.to(device) for tokens in codes])
    return {head: waveform[0, 0].float() for head, waveform in waveforms.items()}


def _interpolated_native(model: MultiRateSnac, outputs: Mapping[str, Tensor], head: str) -> Tensor:
    native_rate, factor = model.geometry.sampling_rate, model.rates[head] // model.geometry.sampling_rate
    native = next((waveform for name, waveform in outputs.items() if model.rates[name] == native_rate), None)
    if native is None:
        native = F_audio.resample(outputs[head], factor, 1, lowpass_filter_width=64)
    return interpolated(native, factor)


def _cut(estimate: Tensor, reference: Tensor) -> Tensor:
    """The estimate without the padding of the last token."""
    if estimate.numel() < reference.numel():
        raise DataError(
            f"the codes of an utterance decode to {estimate.numel()} samples, but its audio has {reference.numel()}: "
            "the cache does not belong to this audio; run snac-exp cache-codes again"
        )
    return estimate[: reference.numel()]


def _scored(reference: Tensor, estimate: Tensor, rate: int, *, wide: bool) -> dict[str, float | None]:
    """All metrics of one utterance."""
    scores: dict[str, float | None] = {"l1": l1(reference, estimate, rate)}
    scores["stft_magnitude"] = stft_magnitude(reference, estimate, rate)
    scores["stft_complex"] = stft_complex(reference, estimate, rate)
    scores["mel_distance"] = mel_distance(reference, estimate, rate)
    scores["lsd_db"] = lsd(reference, estimate, rate)
    if wide:
        high = lsd_high(reference, estimate)
        scores |= {"lsd_high_db": high.active_db, "lsd_high_all_db": high.all_db}
    scores["si_sdr_db"] = si_sdr(reference, estimate, rate)
    scores["stoi"] = stoi(reference, estimate, rate)
    return scores


def _averaged(scores: Scores, seed: int) -> dict[str, float]:
    """Means over the utterances where a metric is defined, and how many those are not."""
    figures: dict[str, float] = {}
    for key, values in scores.items():
        defined = [value for value in values if value is not None]
        metric = key.rpartition("/")[2]
        if len(defined) < len(values):
            count = f"count/undefined_{metric}"
            figures[count] = max(figures.get(count, 0.0), float(len(values) - len(defined)))
        if defined:
            figures[key] = float(np.mean(defined))
        if defined and metric == "lsd_high_db":
            figures[f"{key}_low95"], figures[f"{key}_high95"] = bootstrap_interval(defined, seed)
    return figures


def _reductions(figures: Mapping[str, float], wide_heads: Sequence[str]) -> dict[str, float]:
    """By which share each wide head's high-band distance is under each baseline's."""
    reductions = {}
    for head in wide_heads:
        for baseline in ("baseline", "baseline_noise"):
            key = f"{baseline}/lsd_high_db" if len(wide_heads) == 1 else f"{baseline}/{head}/lsd_high_db"
            if figures.get(key) and f"{head}/lsd_high_db" in figures:
                reductions[f"{head}/lsd_high_under_{baseline}"] = 1 - figures[f"{head}/lsd_high_db"] / figures[key]
    return reductions
