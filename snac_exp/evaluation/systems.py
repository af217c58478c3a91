"""What can be evaluated: a codec, trained or not, or a training-free baseline; each gives waveforms by name."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from snac_exp.errors import CodecError, DataError
from snac_exp.evaluation.baselines import MeanSpectrumNoise, interpolated
from snac_exp.evaluation.utterances import Utterance
from snac_exp.metrics.table import WIDE_RATE
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.outputs import labels_of, rate_label
from snac_exp.system.torchaudio import functional as F_audio

NARROW_RATE = 24_000
BASELINE, BASELINE_NOISE = "baseline", "baseline_noise"


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


class System(Protocol):
    """Something that makes outputs of an utterance.

    name: in tables. bitrate: bits per second of its codes, None without codes. identity: plain values that tell it from
    any other system.
    """

    @property
    def name(self) -> str: ...
    @property
    def bitrate(self) -> float | None: ...
    @property
    def identity(self) -> dict[str, Any]: ...

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
    origin: Mapping[str, Any] = field(default_factory=dict)
    noise: bool = True

    @property
    def bitrate(self) -> float | None:
        """Bits per second of the codes, from geometry and codebook sizes."""
        return self.codec.bitrate

    @property
    def identity(self) -> dict[str, Any]:
        """Weights, outputs, and where they came from."""
        return {
            "kind": "codec",
            "fingerprint": self.codec.fingerprint,
            "heads": self.codec.heads,
            "noise": self.noise,
            **self.origin,
        }

    def warm_up(self) -> None:
        """One second through encoder and decoder, so that no first call is timed."""
        silence = torch.zeros(2 * self.codec.sampling_rate)
        codes = self.codec.encode(silence, self.codec.sampling_rate, chunk_seconds=1.0)
        list(self.codec.decode_chunks(codes, list(self.codec.heads), seed=0, chunk_seconds=1.0))

    def produce(self, utterance: Utterance, rates: tuple[int, ...], seed: int) -> Produced:
        """Encode and decode, in chunks that bound memory; see `System`."""
        source = utterance.source(self.codec.sampling_rate)
        started = time.perf_counter()
        codes = self.codec.encode(source, self.codec.sampling_rate)
        encoded = time.perf_counter()
        parts = self.codec.decode_chunks(codes, list(self.codec.heads), seed=seed, noise=self.noise)
        on_cpu = [{head: waveform[0, 0].cpu() for head, waveform in part.items()} for part in parts]
        decoded = time.perf_counter()
        own = {head: torch.cat([part[head] for part in on_cpu]) for head in self.codec.heads}
        outputs = {label: output for rate in rates for label, output in self.outputs_at(rate, own).items()}
        return Produced(outputs, encoded - started, decoded - encoded)

    def outputs_at(self, rate: int, own: Mapping[str, Tensor]) -> dict[str, Output]:
        """Label -> output at `rate` Hz of every head that has it, else one made of another; `own`: head -> (N,)."""
        heads, labels = self.codec.heads, labels_of(self.codec.heads)
        there = [head for head in own if heads[head] == rate]
        if there:
            return {labels[head]: Output(own[head], rate, head) for head in there}
        return {rate_label(rate): self._made_of_another(rate, own)}

    def _made_of_another(self, rate: int, own: Mapping[str, Tensor]) -> Output:
        heads, native_rate = self.codec.heads, self.codec.sampling_rate
        native = next((head for head in own if heads[head] == native_rate), None)
        factor = rate // native_rate
        if native is not None and rate == native_rate * factor and factor & (factor - 1) == 0:
            return Output(interpolated(own[native], factor), rate, f"{native} interpolated")
        nearest = min((head for head in own if heads[head] > rate), key=heads.__getitem__, default=None)
        nearest = nearest or max(own, key=heads.__getitem__)
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
    def identity(self) -> dict[str, Any]:
        """Which of the two."""
        return {"kind": "interpolate" if self.noise is None else "noise"}

    def produce(self, utterance: Utterance, rates: tuple[int, ...], seed: int) -> Produced:
        """`48k` alone, since at 24 kHz it would be the reference itself; see `System`."""
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
    made_from = f"{narrow[0].made_from} interpolated"
    waveform = interpolated(narrow[0].waveform)
    if interpolate and made_from not in [output.made_from for output in wide]:
        produced.outputs[BASELINE] = Output(waveform, WIDE_RATE, made_from)
    if noise is not None:
        noisy = noise.added_to(waveform[: reference.numel()], reference, seed)
        produced.outputs[BASELINE_NOISE] = Output(noisy, WIDE_RATE, f"{made_from}, with noise")


def cut(output: Output, reference: Tensor, where: str) -> Tensor:
    """The output without the padding of the last token.

    Raises:
        DataError: it is shorter than the reference; CodecError: it holds NaN or infinity.
    """
    if output.waveform.numel() < reference.numel():
        raise DataError(
            f"{where}: {output.made_from} gives {output.waveform.numel()} samples at {output.rate} Hz, but the "
            f"reference has {reference.numel()}; the file has changed, prepare the folder again"
        )
    waveform = output.waveform[: reference.numel()].float()
    if not torch.isfinite(waveform).all():
        raise CodecError(f"{where}: {output.made_from} holds NaN or infinity; evaluate an earlier checkpoint")
    return waveform
