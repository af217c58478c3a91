"""One fair evaluation: every system on the same utterances, in the same metrics, with the same draws."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snac_exp import __version__
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.errors import ConfigError, DataError
from snac_exp.evaluation.baselines import NOISE_FIT_UTTERANCES, MeanSpectrumNoise
from snac_exp.evaluation.folder import Done, EvaluationFolder, Row
from snac_exp.evaluation.systems import REFERENCE, Output, System, add_baselines, cut, reference_scores, scored
from snac_exp.evaluation.utterances import Selection, Utterance, utterances_digest, wide_band_audio
from snac_exp.evaluation.words.recognition import Recogniser, recogniser_digest, text_of
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.spectra import default_n_ffts
from snac_exp.metrics.table import (
    METRICS_VERSION,
    RATES,
    WIDE_RATE,
    WORDS,
    missing_metrics,
    present_metrics,
    require_groups,
)
from snac_exp.system import torchaudio as torchaudio_shim
from snac_exp.system.environment import device_name
from snac_exp.system.progress import progress_display

BASELINES = ("interpolate", "noise")
_COMPARABLE = ("measures_version", "max_seconds", "target_dir", "target_delay_seconds", "wide_band")
PACKAGES = ("numpy", "pystoi")  # other versions of them may give other values


@dataclass(frozen=True)
class Protocol:
    """How all systems are measured; what must be equal for two evaluations to be compared is in `comparable`.

    quality: groups of metrics beyond those that are always measured. asr: folder of a recogniser; None = none.
    """

    selection: Selection
    rates: tuple[int, ...] = RATES
    seed: int = 0
    baselines: tuple[str, ...] = BASELINES
    quality: tuple[str, ...] = ()
    asr: Path | None = None

    def __post_init__(self) -> None:
        if not self.rates or not set(self.rates) <= set(RATES) or len(set(self.rates)) < len(self.rates):
            allowed = ", ".join(map(str, RATES))
            raise ConfigError(f"rates={list(self.rates)} is not valid: choose some of {allowed}, each once")
        if not set(self.baselines) <= set(BASELINES):
            raise ConfigError(
                f"baselines={list(self.baselines)} is not valid: choose some of {', '.join(BASELINES)}, or []"
            )
        require_groups(self.quality, "quality")
        _ = self.asr_digest  # a folder that is no recogniser is refused before anything is read

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups of metrics that are measured besides, with that of the recogniser."""
        return (*self.quality, *([] if self.asr is None else [WORDS]))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured, in the order of the columns."""
        return present_metrics(self.groups)

    @cached_property
    def asr_digest(self) -> str | None:
        """What tells recognisers apart; see `recogniser_digest`."""
        return None if self.asr is None else recogniser_digest(self.asr)

    @cached_property
    def recogniser(self) -> Recogniser | None:
        """Loaded once."""
        return None if self.asr is None else Recogniser.load(self.asr)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "measures_version": METRICS_VERSION,
            "n_ffts": {str(rate): list(default_n_ffts(rate)) for rate in self.rates},
            "missing": missing_metrics(),
            "seed": self.seed,
            "baselines": list(self.baselines),
            **self.selection.to_json(),
            # Only where they are asked for: earlier evaluations go on and stay comparable.
            **({"quality": list(self.quality)} if self.quality else {}),
            **({} if self.asr is None else {"asr": self.asr_digest}),
        }


def comparable(protocol: dict[str, Any]) -> dict[str, Any]:
    """The part of a protocol that decides what a value of an utterance means."""
    # Seed, rates and baselines may differ: they change which rows there are or their noise, not what a value means.
    return {key: protocol.get(key) for key in _COMPARABLE}


def settings_of(
    system: System, manifest: Manifest, utterances: Sequence[Utterance], protocol: Protocol, device: torch.device
) -> dict[str, Any]:
    """Everything that decides the rows: the same settings gives the same rows."""
    return {
        "system": {"name": system.name, "bits_per_second": system.bitrate, **system.settings},
        "data": {
            "input_dir": str(manifest.input_dir),
            "manifest": manifest.digest,
            "utterances": utterances_digest([item.row.sha1 for item in utterances]),
        },
        "protocol": protocol.to_json(),
        "versions": {
            "snac_exp": __version__,
            "torch": str(torch.__version__),
            "torchaudio": str(torchaudio_shim.__version__),
            # pesq is optional; where it is missing the protocol says so.
            **{
                package: version(package)
                for package in (*PACKAGES, *([] if "pesq_wb" in missing_metrics() else ["pesq"]))
            },
            **{package: version(package) for metric in protocol.metrics for package in metric.packages},
        },
        "device": device_name(device),
    }


def fit_noise(manifest: Manifest, selection: Selection) -> MeanSpectrumNoise:
    """The mean spectrum above 12 kHz of the training split, of native wide-band recordings only.

    Raises:
        DataError: there are none.
    """
    audio = wide_band_audio(manifest, selection, NOISE_FIT_UTTERANCES)
    if not audio:
        raise DataError(
            f"{manifest.input_dir}: no training file meets wide_band.* (energy up to "
            f"{selection.wide_band.min_cutoff_hz:.0f} Hz, …), so there is no mean spectrum for the noise baseline; "
            "go without it with baselines=[interpolate]"
        )
    return MeanSpectrumNoise.fitted(read() for read in audio)


def evaluate(
    system: System,
    utterances: Sequence[Utterance],
    protocol: Protocol,
    noise: MeanSpectrumNoise | None,
    folder: EvaluationFolder,
) -> list[Done]:
    """Measure what is not measured yet; returns all utterances in order.

    One utterance is in memory at a time. Metrics are computed on the CPU wherever the codec runs, so they do not depend
    on it.

    Raises:
        DataError, CodecError: a file cannot be read, or an output is unusable; what was done before is kept.
    """
    # Paths are unique in a manifest; the folder refuses another manifest, so a path is one recording.
    waiting = [item for item in utterances if item.row.path not in folder.done]
    started, seconds = time.monotonic(), 0.0
    with progress_display("evaluating", len(waiting)) as advance:
        for utterance in waiting:
            folder.record(_done(system, utterance, protocol, noise))
            seconds += utterance.seconds
            advance(1, f"{seconds / (time.monotonic() - started):.1f} audio-seconds/s")
    return [folder.done[item.row.path] for item in utterances]


def _done(system: System, utterance: Utterance, protocol: Protocol, noise: MeanSpectrumNoise | None) -> Done:
    # One seed per recording: every system gets the same noise, whatever else is evaluated.
    seed = utterance.seed(protocol.seed)
    produced = system.produce(utterance, protocol.rates, seed)
    references = {rate: utterance.reference(rate) for rate in protocol.rates}
    wide = references.get(WIDE_RATE)
    # Before scoring, so that baselines are measured by the same code as the system.
    if protocol.baselines and wide is not None:
        add_baselines(produced, wide, noise, seed, interpolate="interpolate" in protocol.baselines)
    rows = []
    for name, output in produced.outputs.items():
        reference = references[output.rate]
        if reference is not None:
            rows.append(_described(utterance, name, output) | _scores(output, reference, utterance, protocol))
    rows += _reference_rows(utterance, references, protocol)
    return Done(utterance.row.path, rows, utterance.seconds, produced.encode_seconds, produced.decode_seconds)


def _scores(output: Output, reference: Tensor, utterance: Utterance, protocol: Protocol) -> dict[str, float | None]:
    """Every metric of an output of a reference (N,)."""
    waveforms = tuple(metric for metric in protocol.metrics if metric.function is not None)
    band, path = utterance.native_high_band, utterance.row.path
    found = scored(output, reference, path, native_high_band=band, metrics=waveforms)
    if protocol.recogniser is not None:
        found |= protocol.recogniser.scores(cut(output, reference, path), output.rate, text_of(utterance))
    return found


def _reference_rows(utterance: Utterance, references: Mapping[int, Tensor | None], protocol: Protocol) -> list[Row]:
    """The reference-free metrics of the recording, with which those of an output are compared.

    references: waveform (N,) by sample rate in Hz; None where the recording has no such rate.
    """
    there = {rate: reference for rate, reference in references.items() if reference is not None}
    if not there or not any(metric.reference_free for metric in protocol.metrics):
        return []
    found = reference_scores(there, protocol.metrics)
    rate = min(there)
    reference = there[rate]
    if protocol.recogniser is not None:
        found |= protocol.recogniser.scores(reference, rate, text_of(utterance))
    return [_described(utterance, REFERENCE, Output(reference, rate, "recording")) | found]


def _described(utterance: Utterance, name: str, output: Output) -> Row:
    return {
        "path": utterance.row.path,
        "sha1": utterance.row.sha1,
        "speaker": utterance.row.speaker,
        "seconds": utterance.seconds,
        "output": name,
        "rate": output.rate,
        "made_from": output.made_from,
        "native_high_band": utterance.native_high_band,
        "narrow": None if utterance.narrow is None else utterance.narrow[0],
        "cutoff_hz": utterance.bandwidth.cutoff_hz,
        "hf_energy_ratio": utterance.bandwidth.hf_energy_ratio,
        "hf_dynamics_db": utterance.bandwidth.hf_dynamics_db,
    }


def speed_of(done: Sequence[Done], device: torch.device) -> dict[str, Any]:
    """Real-time factors: seconds of computing per second of audio, below 1 is faster than real time."""
    # All utterances, also those of an earlier call: the factor is that of the whole evaluation.
    audio = sum(item.seconds for item in done)
    encode, decode = sum(item.encode_seconds for item in done), sum(item.decode_seconds for item in done)
    return {
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        "audio_seconds": audio,
        "encode_seconds": encode,
        "decode_seconds": decode,
        "encode_real_time_factor": encode / audio,
        "decode_real_time_factor": decode / audio,
        "files": [{"path": item.path, "encode": item.encode_seconds, "decode": item.decode_seconds} for item in done],
    }


def default_output(name: str) -> Path:
    """outputs/evaluations/NAME/TIME, new for every evaluation."""
    # A run is called NAME/TIME-HASH, and a hub id has a slash too.
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip("._") or "system"
    return Path("outputs") / "evaluations" / safe / time.strftime("%Y-%m-%d_%H-%M-%S")
