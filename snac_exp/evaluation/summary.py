"""How good a run became: every head on validation utterances, beside the training-free baselines.

Measured as `snac-exp evaluate` measures: the same utterances of the same weights get the same values in both. The
values are flat, means over utterances, with every metric of `snac_exp.metrics.table`:

`head_24k/...`, `head_48k/...`: the heads by name; `initial/head_48k/...`: before training;
`baseline/...`: the native output interpolated; `baseline_noise/...`: the same with noise of the training set's mean
    spectrum above its band; with heads of several wide rates `baseline/48k/...` and so on;
`reference/...`: the recordings themselves, where a metric needs nothing to compare with;
`head_48k/lsd_high_db_low95`, `..._high95`: ends of the 95 % interval of the mean;
`head_48k/lsd_high_under_baseline`, `..._under_baseline_noise`: 0.3 means 30 % less than that baseline;
`count/utterances`, `count/native_high_band`: those that count above 12 kHz;
`count/undefined_METRIC`: utterances that a mean leaves out, since the metric is undefined;
`seconds/audio`, `seconds/evaluation`.

A run without a native head is compared with its own wide output below the codec's band limit. There is no noise
baseline where no training recording is wide-band by itself.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.data.files.bandwidth import bandwidth_of
from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.data.slices.splits import Splits
from snac_exp.evaluation.baselines import NOISE_FIT_UTTERANCES, MeanSpectrumNoise
from snac_exp.evaluation.bootstrap import bootstrap_interval
from snac_exp.evaluation.systems import (
    BASELINE,
    BASELINE_NOISE,
    REFERENCE,
    Decoder,
    Output,
    baselines_of,
    decoded,
    reference_scores,
    scored,
)
from snac_exp.evaluation.systems import output_made_of as made_of
from snac_exp.evaluation.tables import Grid, heading
from snac_exp.evaluation.utterances import MAX_SECONDS, NATIVE_HIGH_BAND, spread, utterance_seed
from snac_exp.metrics.keys import by_candidate
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import METRICS, WIDE_RATE, present_metrics
from snac_exp.release.outputs import rate_label
from snac_exp.system.files import write_signed_json
from snac_exp.tracking.run_folder import RunFolder

SEED = 0
"""Of the decoders' noise and the noise baseline, the same for every run: that of `snac-exp evaluate`."""

Scores = dict[str, list[float | None]]
"""`candidate/metric` -> one value per utterance, None where the metric is undefined."""


@dataclass(frozen=True)
class _Utterance:
    """codes[i] (1, T_i) and references (N,) on the CPU by rate in Hz, at most 30 s of a file.

    source (N,): what every codec makes codes of its own from; None where all decode the same ones.
    """

    path: str
    seed: int
    codes: list[Tensor]
    source: Tensor | None
    references: dict[int, Tensor]
    native_high_band: bool

    @property
    def seconds(self) -> float:
        return max(reference.numel() / rate for rate, reference in self.references.items())


@torch.no_grad()
def summarize(
    codec: Decoder,
    initial: Decoder,
    splits: Splits,
    *,
    num_utterances: int | None = None,
    quality: Sequence[str] = (),
    encode: bool = False,
    keep: Callable[[list[tuple[str, float]], Scores], object] | None = None,
) -> dict[str, float]:
    """Measure the heads of `codec` on validation utterances: all, or `num_utterances` spread evenly over them.

    Returns the values of this module's first lines: metrics that are always measured, and the groups `quality`.

    encode: every codec decodes codes of its own, as where encoder or codebooks trained; else all decode the data's.
    `keep` gets the same utterance by utterance: their paths and seconds, and the scores of every candidate.
    """
    started = time.monotonic()
    rows = spread(len(splits.validation), num_utterances)
    wide_rates = sorted({rate for rate in codec.heads.values() if rate > codec.sampling_rate})
    # Fitted once, on training recordings alone: a yardstick must not know what it is measured on.
    noises = {rate: _fitted_noise(splits.train, rate) for rate in wide_rates}
    metrics = present_metrics(quality)
    scores: Scores = {}
    utterances: list[tuple[str, float]] = []
    num_native = 0
    for row in rows:
        utterance = _read(splits.validation, row, encode)
        for name, output in _candidates(codec, initial, utterance, noises):
            reference = utterance.references[output.rate]
            native = utterance.native_high_band
            values = scored(output, reference, utterance.path, native_high_band=native, metrics=metrics)
            _append(scores, name, values)
        _append(scores, REFERENCE, reference_scores(utterance.references, metrics))
        utterances.append((utterance.path, utterance.seconds))
        num_native += utterance.native_high_band
    if keep is not None:
        keep(utterances, scores)
    total = sum(seconds for _, seconds in utterances)
    counts = {"count/utterances": float(len(rows))}
    if WIDE_RATE in codec.heads.values():
        counts["count/native_high_band"] = float(num_native)
    means = _averaged(scores) | counts | {"seconds/audio": total}
    return means | _reductions(means, codec, wide_rates) | {"seconds/evaluation": time.monotonic() - started}


def _append(scores: Scores, name: str, values: Mapping[str, float | None]) -> None:
    for metric, value in values.items():
        scores.setdefault(f"{name}/{metric}", []).append(value)


def write_summary(run_dir: Path, summary: Mapping[str, float]) -> Path:
    """Write RUN_DIR/summary.json atomically; returns its path."""
    path = RunFolder(run_dir).summary
    write_signed_json(path, dict(summary))
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
    return f"{summary['count/utterances']:.0f} validation utterances, {summary['seconds/audio']:.0f} s"


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
    """Candidates with their values, wide ones first, so that those to be compared stand together."""
    # False sorts first: a candidate with a low band is one at a wide rate.
    return sorted(by_candidate(summary), key=lambda name: f"{name}/lsd_low_db" not in summary)


def _cell(metric: Metric, value: float | None) -> str:
    return "" if value is None else metric.text(value)


def _read(dataset: AlignedDataset, row: int, encode: bool) -> _Utterance:
    """The beginning of an utterance, as long as it is measured; without codes where each codec makes its own."""
    codes, audio = ([], dataset.whole_audio(row, dataset.heads)) if encode else dataset.whole(row)
    source = dataset.whole_source(row)[: round(MAX_SECONDS * dataset.geometry.sampling_rate)] if encode else None
    references = {dataset.heads[head]: reference[0, 0] for head, reference in audio.items()}
    # Over the whole recording, as `snac-exp evaluate` measures it: its first 30 s may be quieter.
    native = WIDE_RATE in references and _is_native(references[WIDE_RATE], WIDE_RATE)
    limited = {rate: reference[: round(MAX_SECONDS * rate)] for rate, reference in references.items()}
    if codes and any(limited[rate].numel() < references[rate].numel() for rate in references):
        codes = _first_codes(codes, dataset.geometry)
    return _Utterance(dataset.path(row), utterance_seed(SEED, dataset.sha1(row)), codes, source, limited, native)


def _codes(codec: Decoder, utterance: _Utterance) -> Any:
    """What a codec decodes of an utterance: the data's codes, or its own."""
    return utterance.codes if utterance.source is None else codec.encode(utterance.source, codec.sampling_rate)


def _first_codes(codes: Sequence[Tensor], geometry: Geometry) -> list[Tensor]:
    """Codes[i] (1, T_i) of the first 30 s."""
    num_coarse = geometry.coarse_tokens_of(round(MAX_SECONDS * geometry.sampling_rate))
    return [tokens[:, geometry.codebook_slice(i, 0, num_coarse)] for i, tokens in enumerate(codes)]


def _is_native(waveform: Tensor, rate: int) -> bool:
    """Whether a whole recording (N,) reaches above 12 kHz by itself."""
    return NATIVE_HIGH_BAND.failure(bandwidth_of([waveform.numpy()], rate)) is None


def _fitted_noise(dataset: AlignedDataset, rate: int) -> MeanSpectrumNoise | None:
    """The mean-spectrum baseline from training utterances, evenly spread; None if none is wide-band by itself."""
    head = next(name for name, its_rate in dataset.heads.items() if its_rate == rate)
    waveforms = (dataset.whole_audio(row, [head])[head][0, 0] for row in spread(len(dataset), NOISE_FIT_UTTERANCES))
    native = (waveform for waveform in waveforms if _is_native(waveform, rate))
    # One is looked at beforehand: fitting on nothing is an error, and 200 waveforms at once would fill the memory.
    first = next(native, None)
    return None if first is None else MeanSpectrumNoise.fitted(itertools.chain([first], native))


def _candidates(
    codec: Decoder, initial: Decoder, utterance: _Utterance, noises: Mapping[int, MeanSpectrumNoise | None]
) -> Iterator[tuple[str, Output]]:
    """Name in the summary and output of everything that is measured of one utterance."""
    own = decoded(codec, _codes(codec, utterance), utterance.seed)
    for prefix, heads, waveforms in (
        ("", codec.heads, own),
        ("initial/", initial.heads, decoded(initial, _codes(initial, utterance), utterance.seed)),
    ):
        for head, waveform in waveforms.items():
            yield f"{prefix}{head}", Output(waveform, heads[head], head)
    native_rate = codec.sampling_rate
    native = next((head for head, rate in codec.heads.items() if rate == native_rate), None)
    for rate, noise in noises.items():
        # The waveforms decoded above are used again: the baseline differs from the head by its rule alone.
        narrow = made_of(codec, native_rate, own) if native is None else Output(own[native], native_rate, native)
        baselines = baselines_of(narrow, rate, utterance.references[rate], noise, utterance.seed)
        for name, output in baselines.items():
            yield f"{name}{_suffix(rate, list(noises))}", output


def _suffix(rate: int, wide_rates: Sequence[int]) -> str:
    """What tells baselines of several wide rates apart."""
    return "" if len(wide_rates) == 1 else f"/{rate_label(rate)}"


def _averaged(scores: Scores) -> dict[str, float]:
    """Means over the utterances where a metric is defined, and how many those are not."""
    means: dict[str, float] = {}
    for key, values in scores.items():
        defined = [value for value in values if value is not None]
        metric = key.rpartition("/")[2]
        if len(defined) < len(values):
            count = f"count/undefined_{metric}"
            # Candidates are undefined in nearly the same utterances, so they are not added up.
            means[count] = max(means.get(count, 0.0), float(len(values) - len(defined)))
        if defined:
            means[key] = float(np.mean(defined))
        if defined and metric == "lsd_high_db":
            means[f"{key}_low95"], means[f"{key}_high95"] = bootstrap_interval(defined, SEED)
    return means


def _reductions(values: Mapping[str, float], codec: Decoder, wide_rates: Sequence[int]) -> dict[str, float]:
    """By which fraction each wide head's high-band distance is under each baseline's."""
    reductions = {}
    for head, rate in codec.heads.items():
        for baseline in (BASELINE, BASELINE_NOISE):
            key = f"{baseline}{_suffix(rate, wide_rates)}/lsd_high_db"
            if rate in wide_rates and values.get(key) and f"{head}/lsd_high_db" in values:  # not missing, and not 0
                reductions[f"{head}/lsd_high_under_{baseline}"] = 1 - values[f"{head}/lsd_high_db"] / values[key]
    return reductions
