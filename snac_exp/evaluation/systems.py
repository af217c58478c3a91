"""What can be evaluated: a codec, trained or not, or a training-free baseline; each gives waveforms by name."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from snac_exp.errors import CodecError, DataError
from snac_exp.evaluation.baselines import MeanSpectrumNoise, interpolated
from snac_exp.evaluation.utterances import Utterance
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.table import WIDE_RATE, measured
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.outputs import labels_of, rate_label
from snac_exp.system.torchaudio import functional as F_audio

NARROW_RATE = 24_000
BASELINE, BASELINE_NOISE = "baseline", "baseline_noise"
REFERENCE = "reference"  # the recording itself, where a metric needs nothing to compare with


@dataclass(frozen=True)
class Output:
    """A waveform (N,) on the CPU at `rate` Hz, and how it came to be."""

    waveform: Tensor
    rate: int
    made_from: str


@dataclass(frozen=True)
class Produced:
    """All outputs of one utterance by label (`24k`, a head's name, `baseline`, …), and the seconds that it took."""

    outputs: dict[str, Output]
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0


class Decoder(Protocol):
    """What decodes tokens at its heads, and makes them: a `ReleasedCodec`. `heads`: name -> rate in Hz."""

    @property
    def heads(self) -> Mapping[str, int]: ...
    @property
    def sampling_rate(self) -> int: ...

    def encode(self, audio: Any, sample_rate: int) -> Any:
        """Audio (N,) -> codes of one utterance."""
        ...

    def decode_chunks(
        self, codes: Any, heads: Sequence[str], *, seed: int, noise: bool = True
    ) -> Iterator[dict[str, Tensor]]:
        """Codes of one utterance -> head -> (1, 1, n), chunk after chunk."""
        ...


class System(Protocol):
    """Something that makes outputs of an utterance.

    name: in tables. bitrate: bits per second of its codes, None without codes. settings: plain values that tell it from
    any other system.
    """

    @property
    def name(self) -> str: ...
    @property
    def bitrate(self) -> float | None: ...
    @property
    def settings(self) -> dict[str, Any]: ...

    def produce(self, utterance: Utterance, rates: tuple[int, ...], seed: int) -> Produced:
        """Outputs at least as long as the references; the same seed gives the same samples."""
        ...


@dataclass(frozen=True)
class CodecSystem:
    """A codec: its own outputs, and at a rate that it lacks what can be made of them without learning.

    From the native output the next rates come by band-limited interpolation, all others by resampling.
    """

    codec: ReleasedCodec
    name: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    noise: bool = True

    @property
    def bitrate(self) -> float | None:
        """Bits per second of the codes, from geometry and codebook sizes."""
        return self.codec.bitrate

    @property
    def settings(self) -> dict[str, Any]:
        """Weights, outputs, and where they came from."""
        return {
            "kind": "codec",
            "fingerprint": self.codec.fingerprint,
            "heads": self.codec.heads,
            "noise": self.noise,
            **self.provenance,
        }

    def warm_up(self) -> None:
        """One second through encoder and decoder, so that no first call is timed."""
        # Two chunks, so that measuring the receptive fields, which is done once, is not timed either.
        silence = torch.zeros(2 * self.codec.sampling_rate)
        codes = self.codec.encode(silence, self.codec.sampling_rate, chunk_seconds=1.0)
        list(self.codec.decode_chunks(codes, list(self.codec.heads), seed=0, chunk_seconds=1.0))

    def produce(self, utterance: Utterance, rates: tuple[int, ...], seed: int) -> Produced:
        """Encode and decode, in chunks that bound memory; see `System`."""
        source = utterance.source(self.codec.sampling_rate)
        started = time.perf_counter()
        codes = self.codec.encode(source, self.codec.sampling_rate)
        encoded = time.perf_counter()
        # All heads in one pass through the trunk, whatever rates are asked for.
        own = decoded(self.codec, codes, seed, noise=self.noise)
        done = time.perf_counter()
        outputs = {label: output for rate in rates for label, output in self.outputs_at(rate, own).items()}
        return Produced(outputs, encoded - started, done - encoded)

    def outputs_at(self, rate: int, own: Mapping[str, Tensor]) -> dict[str, Output]:
        """Label -> output at `rate` Hz of every head that has it, else one made of another; `own`: head -> (N,)."""
        labels = labels_of(self.codec.heads)
        there = [head for head in own if self.codec.heads[head] == rate]
        if there:
            return {labels[head]: Output(own[head], rate, head) for head in there}
        return {rate_label(rate): output_made_of(self.codec, rate, own)}


def decoded(codec: Decoder, codes: Any, seed: int, *, noise: bool = True) -> dict[str, Tensor]:
    """Head -> waveform (N,) on the CPU, of one utterance's codes; the same seed gives the same samples."""
    parts = [
        {head: waveform[0, 0].cpu() for head, waveform in part.items()}
        for part in codec.decode_chunks(codes, list(codec.heads), seed=seed, noise=noise)
    ]
    return {head: torch.cat([part[head] for part in parts]) for head in codec.heads}


def output_made_of(codec: Decoder, rate: int, own: Mapping[str, Tensor]) -> Output:
    """An output at a rate that no head has, of the waveforms (N,) of those that there are."""
    heads, native_rate = codec.heads, codec.sampling_rate
    native = next((head for head in own if heads[head] == native_rate), None)
    factor = rate // native_rate
    # A power of two: the interpolation doubles the rate, so it reaches no other factor.
    if native is not None and rate == native_rate * factor and factor & (factor - 1) == 0:
        return Output(interpolated(own[native], factor), rate, f"{native} interpolated")
    # From a higher rate where there is one: from a lower one the upper band would be empty.
    higher = [head for head in own if heads[head] > rate]
    nearest = min(higher, key=heads.__getitem__) if higher else max(own, key=heads.__getitem__)
    # Steeper than torchaudio's default of 6 zero crossings, which damps well below the Nyquist frequency.
    resampled: Tensor = F_audio.resample(own[nearest], heads[nearest], rate, lowpass_filter_width=64)
    return Output(resampled, rate, f"{nearest} resampled")


@dataclass(frozen=True)
class Interpolation:
    """No codec at all: 48 kHz from the recording at 24 kHz, with nothing above 12 kHz or with noise there.

    Below 12 kHz it is the recording itself: a yardstick for the high band, and the limit of what interpolation gives.
    """

    name: str
    noise: MeanSpectrumNoise | None = None
    bitrate: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Which of the two."""
        return {"kind": "interpolate" if self.noise is None else "noise"}

    def produce(self, utterance: Utterance, rates: tuple[int, ...], seed: int) -> Produced:
        """`48k` alone, since at 24 kHz it would be the reference itself; see `System`."""
        # A recording below 48 kHz has no high band to be compared with.
        reference = utterance.reference(WIDE_RATE)
        if reference is None:
            return Produced({})
        narrow = utterance.source(NARROW_RATE)
        started = time.perf_counter()
        wide = interpolated(narrow)[: reference.numel()]
        made_from = "recording interpolated"
        if self.noise is not None:
            wide, made_from = self.noise.added_to(wide, reference, seed), f"{made_from}, with noise"
        return Produced({rate_label(WIDE_RATE): Output(wide, WIDE_RATE, made_from)}, 0.0, time.perf_counter() - started)


def add_baselines(
    produced: Produced, reference: Tensor, noise: MeanSpectrumNoise | None, seed: int, *, interpolate: bool = True
) -> None:
    """Put the training-free baselines beside outputs at 48 kHz: the system's own 24 kHz interpolated, and with noise.

    `reference` (N,) at 48 kHz gives the noise its level. The first is left out where it is what the system gives at
    48 kHz anyway; the noise where there is none.
    """
    narrow, wide = (
        [output for output in produced.outputs.values() if output.rate == rate] for rate in (NARROW_RATE, WIDE_RATE)
    )
    if not narrow or not wide:
        return
    baselines = baselines_of(narrow[0], WIDE_RATE, reference, noise, seed)
    # Of the same making they are the same samples, and a comparison would show a difference of exactly 0.
    if not interpolate or baselines[BASELINE].made_from in [output.made_from for output in wide]:
        del baselines[BASELINE]
    produced.outputs.update(baselines)


def baselines_of(
    narrow: Output, rate: int, reference: Tensor, noise: MeanSpectrumNoise | None, seed: int
) -> dict[str, Output]:
    """A narrow output interpolated to `rate` Hz, and that with noise if there is some; `reference` (N,) at `rate`."""
    made_from = f"{narrow.made_from} interpolated"
    waveform = interpolated(narrow.waveform, rate // narrow.rate)
    baselines = {BASELINE: Output(waveform, rate, made_from)}
    if noise is not None:
        # As long as the reference: the level of the noise is that of the recording, not of the padding.
        noisy = noise.added_to(waveform[: reference.numel()], reference, seed)
        baselines[BASELINE_NOISE] = Output(noisy, rate, f"{made_from}, with noise")
    return baselines


def scored(
    output: Output,
    reference: Tensor,
    where: str,
    *,
    native_high_band: bool,
    metrics: tuple[Metric, ...] | None = None,
) -> dict[str, float | None]:
    """Metrics of an output of a reference (N,) at its rate; None where one is undefined. Raises as `cut`.

    `metrics`: as in `measured`.
    """
    estimate = cut(output, reference, where)
    return measured(reference, estimate, output.rate, native_high_band=native_high_band, metrics=metrics)


def reference_scores(references: Mapping[int, Tensor], metrics: Sequence[Metric]) -> dict[str, float | None]:
    """The recording (N,) at its lowest rate in Hz by what needs no reference: what outputs are to be read against.

    Empty where none of the metrics is such a one.
    """
    alone = tuple(metric for metric in metrics if metric.reference_free and metric.function is not None)
    if not alone:
        return {}
    rate = min(references)
    reference = references[rate]
    # None of them is about the band above 12 kHz.
    return measured(reference, reference, rate, native_high_band=False, metrics=alone)


def cut(output: Output, reference: Tensor, where: str) -> Tensor:
    """The output (N,) at the length of the reference (N,), without the padding of the last token.

    Raises:
        DataError: it is shorter than the reference; CodecError: it holds NaN or infinity.
    """
    if output.waveform.numel() < reference.numel():
        raise DataError(
            f"{where}: {output.made_from} gives {output.waveform.numel()} samples at {output.rate} Hz, but the "
            f"reference has {reference.numel()}; the file has changed: prepare the folder again, and cache its codes"
        )
    waveform = output.waveform[: reference.numel()].float()  # metrics are float32 whatever the decoder computes in
    if not torch.isfinite(waveform).all():
        raise CodecError(f"{where}: {output.made_from} holds NaN or infinity; evaluate an earlier checkpoint")
    return waveform
