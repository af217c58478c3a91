"""How good a run became: every head on whole validation utterances, beside what costs nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.config.seeding import derive_seed, generator
from snac_exp.data.cached_codes import Corpus
from snac_exp.errors import DataError
from snac_exp.evaluation import metrics
from snac_exp.evaluation.baselines import MeanSpectrumNoise, interpolated
from snac_exp.files import write_json
from snac_exp.torchaudio_shim import functional as F_audio

SUMMARY_FILE = "summary.json"
_NOISE_FIT_ROWS = 200
_NUM_RESAMPLES = 2000

Scores = dict[str, list[float | None]]
"""`candidate/metric` -> one value per utterance, None where the metric is undefined."""


@torch.no_grad()
def summarize(
    model: MultiRateSnac,
    initial_model: MultiRateSnac,
    corpus: Corpus,
    *,
    seed: int,
    device: torch.device,
    num_utterances: int | None = None,
) -> dict[str, float]:
    """Measure the heads of `model` on whole validation utterances (all, or the first `num_utterances`).

    Returns flat figures, means over utterances:
        `head_24k/...`, `head_48k/...`: the model; `initial/head_48k/...`: before training;
        `baseline/...`: the model's native output interpolated; `baseline_noise/...`: the same with noise of the training
        set's mean spectrum above its band. Each with `l1`, `stft_magnitude`, `stft_complex`, `mel_distance`, `lsd_db`,
        `si_sdr_db`, `stoi`, and in the wide band `lsd_high_db` (95 % interval in `lsd_high_db_low95`, `_high95`) and
        `lsd_high_all_db`; see `snac_exp.evaluation.metrics`.
        `head_48k/lsd_high_under_baseline`, `..._under_baseline_noise`: 0.3 means 30 % less than that baseline.
        `count/utterances`, `count/undefined_METRIC`: utterances that a mean leaves out, since the measure is undefined.
        `seconds/audio`, `seconds/evaluation`.

    Every random draw follows from `seed` and the utterance, so the figures repeat. A run without a native head is compared
    with its own wide output below the codec's band limit.
    """
    started = time.monotonic()
    rows = range(min(len(corpus.validation), num_utterances or len(corpus.validation)))
    noises = {head: _fitted_noise(corpus, head) for head in _wide_heads(model)}
    scores: Scores = {}
    seconds = 0.0
    for row in rows:
        codes, references = corpus.validation.whole(row)
        targets = {head: audio[0, 0].to(device) for head, audio in references.items()}
        for name, head, estimate in _candidates(model, initial_model, codes, noises, derive_seed(seed, "summary", row)):
            reference = targets[head]
            scored = _scored(reference, _cut(estimate, reference), model.rates[head], wide=head in noises)
            for metric, value in scored.items():
                scores.setdefault(f"{name}/{metric}", []).append(value)
        seconds += max(target.numel() / model.rates[head] for head, target in targets.items())
    figures = _averaged(scores, seed) | {"count/utterances": float(len(rows)), "seconds/audio": seconds}
    return figures | _reductions(figures, list(noises)) | {"seconds/evaluation": time.monotonic() - started}


def write_summary(run_dir: Path, summary: Mapping[str, float]) -> Path:
    """Write RUN_DIR/summary.json atomically; returns its path."""
    path = Path(run_dir) / SUMMARY_FILE
    write_json(path, dict(summary))
    return path


def summary_table(summary: Mapping[str, float]) -> Table:
    """The summary as a table of at most 80 columns: a row per metric, a column per candidate."""
    names = [name for name, _, _ in (key.rpartition("/") for key in summary) if name not in ("count", "seconds")]
    candidates = list(dict.fromkeys(names))
    utterances, seconds = summary["count/utterances"], summary["seconds/audio"]
    table = Table(title=f"{utterances:.0f} validation utterances, {seconds:.0f} s", title_style="bold", padding=(0, 1))
    table.add_column("lower is better")
    for name in candidates:
        table.add_column(name.replace("/", "\n"), justify="right")
    for label, metric in _TABLE_ROWS.items():
        if any(f"{name}/{metric}" in summary for name in candidates):
            table.add_row(label, *(_cell(summary, name, metric) for name in candidates))
    return table


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """95 % interval of the mean by the percentile bootstrap over utterances (Efron 1979), 2000 draws.

    Utterances of one speaker are alike, so with few speakers the true interval is wider.
    """
    array = np.asarray(values, dtype=np.float64)
    draws = generator(seed, "bootstrap").integers(len(array), size=(_NUM_RESAMPLES, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


_TABLE_ROWS = {
    "L1": "l1",
    "STFT magnitude": "stft_magnitude",
    "STFT complex": "stft_complex",
    "mel distance": "mel_distance",
    "LSD (dB)": "lsd_db",
    "LSD > 12 kHz (dB)": "lsd_high_db",
    "  all frames": "lsd_high_all_db",
    "SI-SDR (dB), higher": "si_sdr_db",
    "STOI, higher": "stoi",
}


def _cell(summary: Mapping[str, float], name: str, metric: str) -> str:
    value = summary.get(f"{name}/{metric}")
    if value is None:
        return ""
    return f"{value:.2f}" if metric.endswith("_db") else f"{value:.4f}"


def _wide_heads(model: MultiRateSnac) -> list[str]:
    return [head for head, rate in model.rates.items() if rate > model.geometry.sampling_rate]


def _fitted_noise(corpus: Corpus, head: str) -> MeanSpectrumNoise:
    """The mean-spectrum baseline from up to 200 training utterances, evenly spread."""
    stride = max(1, len(corpus.train) // _NOISE_FIT_ROWS)
    rows = range(0, len(corpus.train), stride)
    return MeanSpectrumNoise.fitted(corpus.train.whole(row)[1][head][0, 0] for row in rows)


def _candidates(
    model: MultiRateSnac,
    initial_model: MultiRateSnac,
    codes: list[Tensor],
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
        yield f"baseline_noise{suffix}", head, noise.added_to(wide, seed)


def _decoded(model: MultiRateSnac, codes: list[Tensor], seed: int) -> dict[str, Tensor]:
    """Every head's waveform (N,) of one utterance, with its noise drawn from `seed`."""
    device = next(model.parameters()).device
    torch.manual_seed(seed)
    model.seed_noise(seed)
    latent = model.latent([tokens.to(device) for tokens in codes])
    return {head: waveform[0, 0].float() for head, waveform in model(model.features(latent)).items()}


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
    scores: dict[str, float | None] = dict(metrics.reconstruction_distances(reference, estimate, rate))
    scores["mel_distance"] = metrics.mel_distance(reference, estimate, rate)
    scores["lsd_db"] = metrics.log_spectral_distance(reference, estimate, rate)
    if wide:
        high = metrics.lsd_high_db(reference, estimate)
        scores |= {"lsd_high_db": high.active_db, "lsd_high_all_db": high.all_db}
    scores["si_sdr_db"] = metrics.si_sdr(reference, estimate)
    scores["stoi"] = metrics.stoi(reference, estimate, rate)
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
