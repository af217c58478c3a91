"""What the figures of summary.json and of validations are called, in which unit, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOT_CANDIDATES = ("count", "seconds")
_INTERVAL_ENDS = ("_low95", "_high95")


@dataclass(frozen=True)
class Measure:
    """A metric. better: `low`, `high`, or None where nobody knows."""

    name: str
    title: str
    unit: str = ""
    better: str | None = "low"

    @property
    def full_title(self) -> str:
        """With its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_MEASURES = (
    Measure("lsd_high_db", "LSD above 12 kHz", "dB"),
    Measure("lsd_high_all_db", "the same, all frames", "dB"),
    Measure("lsd_low_db", "LSD below 12 kHz", "dB"),
    Measure("lsd_db", "LSD, whole band", "dB"),
    Measure("mel_distance", "mel distance", "log10"),
    Measure("stft_magnitude", "STFT magnitude"),
    Measure("stft_complex", "STFT complex"),
    Measure("log_mel", "log-mel"),
    Measure("l1", "L1", "full scale"),
    Measure("si_sdr_db", "SI-SDR", "dB", "high"),
    Measure("stoi", "STOI", "0 to 1", "high"),
    Measure("pesq_wb", "PESQ wide-band", "1 to 4.6", "high"),
    Measure("objective", "objective"),
    Measure("loss", "loss"),
    Measure("cross_entropy", "cross-entropy", "nats"),
    Measure("perplexity", "perplexity"),
    Measure("bits_per_second", "bits per second of audio", "bit/s"),
    Measure("accuracy", "accuracy", "share", "high"),
    Measure("grad_norm", "gradient norm", better=None),
)
_BY_NAME = {measure.name: measure for measure in _MEASURES}
_ORDER = {measure.name: place for place, measure in enumerate(_MEASURES)}


def measure_of(name: str) -> Measure:
    """Of the last part of a figure's name; an unknown one is called what it is, and has no better side."""
    last = name.rpartition("/")[2]
    return _BY_NAME.get(last) or Measure(last, last.replace("_", " "), "", None)


def order_of(name: str) -> tuple[int, str]:
    """Sorting key: known measures in the order of this table, the others by name behind them."""
    last = name.rpartition("/")[2]
    return _ORDER.get(last, len(_ORDER)), name


def flat_figures(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a summary by `candidate/metric`, nested dictionaries joined by slashes; lists and texts left out."""
    figures: dict[str, float] = {}
    for key, value in summary.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            figures |= flat_figures(value, f"{name}/")
        elif type(value) in (int, float):
            figures[name] = float(value)
    return figures


def candidates_and_metrics(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What was measured of whom: `{candidate: {metric: value}}`, without counts, intervals and derived shares."""
    found: dict[str, dict[str, float]] = {}
    for key, value in figures.items():
        candidate, _, metric = key.rpartition("/")
        if not candidate or candidate.partition("/")[0] in NOT_CANDIDATES:
            continue
        if not metric.endswith(_INTERVAL_ENDS) and "_under_" not in metric:
            found.setdefault(candidate, {})[metric] = value
    return found
