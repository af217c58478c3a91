"""All metrics in the order of their columns, collected from the files of this package."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from snac_exp.errors import ConfigError
from snac_exp.metrics import logged, quality, waveform
from snac_exp.metrics.metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

METRICS_VERSION = 1
"""Evaluations of different versions are not compared: raise it when a value changes its meaning."""

RATES = (24_000, 48_000)
"""Where every system is measured, in Hz: the metrics of both rates have a stated meaning."""

WIDE_RATE = 48_000


def _modules() -> Iterator[ModuleType]:
    yield logged
    # A new file of metrics is found by itself: there is no list to edit.
    for package in (waveform, quality):
        for item in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(item.name)


def collected(modules: Iterator[ModuleType]) -> tuple[Metric, ...]:
    """The metrics that modules define, by order and name.

    Raises:
        ValueError: two of them have one name.
    """
    places: dict[str, str] = {}
    found: list[Metric] = []
    for module in modules:
        for metric in vars(module).values():
            if isinstance(metric, Metric):
                # Files are found by themselves, so nothing else would notice a name that is used twice.
                if metric.name in places:
                    raise ValueError(f"{places[metric.name]} and {module.__name__} both define '{metric.name}'")
                places[metric.name] = module.__name__
                found.append(metric)
    return tuple(sorted(found, key=lambda metric: (metric.order, metric.name)))


ALL = collected(_modules())
METRICS = tuple(metric for metric in ALL if metric.function is not None or metric.text_function is not None)
"""Those that are measured, not logged by training: the columns of an evaluation."""

WORDS = "words"
"""The group that a recogniser is needed for: `asr` of an evaluation asks for it."""

GROUPS = tuple(dict.fromkeys(metric.group for metric in METRICS if metric.group not in (None, WORDS)))
"""Groups of metrics that cost time or packages, and are measured only where they are asked for."""

_BY_NAME = {metric.name: metric for metric in ALL}
_ORDER = {metric.name: place for place, metric in enumerate(ALL)}


def metric_of(key: str) -> Metric:
    """Of the last part of a key like `head_48k/l1`; an unknown one is called what it is, and has no better side."""
    last = key.rpartition("/")[2]
    return _BY_NAME.get(last) or Metric(last, last.replace("_", " "), better=None)


def order_of(key: str) -> tuple[int, str]:
    """Sorting key: known metrics in the order of their columns, the others by name behind them."""
    last = key.rpartition("/")[2]
    return _ORDER.get(last, len(_ORDER)), key


def chosen_metrics(groups: Collection[str] = ()) -> tuple[Metric, ...]:
    """Metrics that are always measured, and those of the groups asked for, in the order of their columns."""
    return tuple(metric for metric in METRICS if metric.group is None or metric.group in groups)


def missing_metrics(groups: Collection[str] = ()) -> dict[str, str]:
    """Metrics of `chosen_metrics` that cannot be had here, with the reason and the mend."""
    reasons = {metric.name: metric.missing() for metric in chosen_metrics(groups)}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def present_metrics(groups: Collection[str] = ()) -> tuple[Metric, ...]:
    """Metrics of `chosen_metrics` that can be had here, in the order of their columns."""
    missing = missing_metrics(groups)
    return tuple(metric for metric in chosen_metrics(groups) if metric.name not in missing)


def require_groups(groups: Collection[str], key: str) -> None:
    """Groups asked for by name, unlike what is always measured: none of them may be missing.

    Raises:
        ConfigError: there is no such group, or a package of it is not installed; names `key`.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise ConfigError(f"{key}={list(groups)} is not valid: choose some of {', '.join(GROUPS)}, or []")
    always = missing_metrics()
    missing = [reason for name, reason in missing_metrics(groups).items() if name not in always]
    if missing:
        raise ConfigError(f"{key}={list(groups)}: {missing[0]}, or leave it out")


def measured(
    reference: Tensor,
    estimate: Tensor,
    rate: int,
    *,
    native_high_band: bool,
    metrics: tuple[Metric, ...] | None = None,
) -> dict[str, float | None]:
    """Metrics of an estimate (N,) of a reference (N,) at `rate` Hz, on the CPU; None where one is undefined.

    Args:
        native_high_band: the recording reaches above 12 kHz by itself; otherwise metrics of that band are undefined.
        metrics: which; default: all that are always measured and can be had here.

    Raises:
        ArithmeticError: a metric came out as NaN or infinite.
    """
    signals = {rate: (reference, estimate)}
    scores: dict[str, float | None] = {}
    for metric in present_metrics() if metrics is None else metrics:
        if metric.applies(rate):
            # Metrics of one perceptual rate share the resampled signals.
            at = metric.perceptual_rate or rate
            if at not in signals:
                signals[at] = _resampled(reference, rate, at), _resampled(estimate, rate, at)
            is_defined = native_high_band or not metric.high_band
            scores[metric.name] = _value(metric, *signals[at], at) if is_defined else None
    return scores


def _value(metric: Metric, reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """The value of a metric for two waveforms (N,) at `rate` Hz; None where it is undefined."""
    import torch

    if metric.function is None:
        raise ValueError(f"{metric.name} is logged by training, not measured on two waveforms")
    with torch.no_grad():
        value = metric.function(reference, estimate, rate)
    # None is what a metric says where it is undefined; a NaN is a fault of the metric or of the signals.
    if value is not None and not math.isfinite(value):
        raise ArithmeticError(f"{metric.name} came out as {value}, which is no value of finite signals")
    return value


def _resampled(signal: Tensor, rate: int, wanted: int) -> Tensor:
    """(N,) at `rate` -> (ceil(N * wanted / rate),) at `wanted` Hz."""
    from snac_exp.system.torchaudio import functional as F_audio

    # torchaudio's default width of 6 attenuates the top of the band, which would count as a distance.
    resampled: Tensor = F_audio.resample(signal, rate, wanted, lowpass_filter_width=64)
    return resampled
