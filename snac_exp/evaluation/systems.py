"""What can be evaluated: a codec, trained or not, or a baseline that learned nothing; each gives waveforms by name."""

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
from snac_exp.release.files.audio import rate_label
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
    """All outputs of one utterance by name (`24k`, `48k`, `baseline`, …), and the seconds that it took."""

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
        heads = {name: rate for rate, name in self.codec.heads.items()}
        return {
            "kind": "codec",
            "fingerprint": self.codec.fingerprint,
            "heads": heads,
            "noise": self.noise,
            **self.origin,
        }

    def warm_up(self) -> None:
        """One second through encoder and decoder, so that no first call is timed."""
        silence = torch.zeros(2 * self.codec.sampling_rate)
        codes = self.codec.encode(silence, self.codec.sampling_rate, chunk_seconds=1.0)
        list(self.codec.decode_chunks(codes, self.codec.sample_rates, seed=0, chunk_seconds=1.0))

    def produce(self, utterance: Utterance, rates: tuple[int, ...], seed: int) -> Produced:
        """Encode and decode, in chunks that bound memory; see `System`."""
        source = utterance.source(self.codec.sampling_rate)
        started = time.perf_counter()
        codes = self.codec.encode(source, self.codec.sampling_rate)
        encoded = time.perf_counter()
        parts = self.codec.decode_chunks(codes, self.codec.sample_rates, seed=seed, noise=self.noise)
        on_cpu = [{rate: waveform[0, 0].cpu() for rate, waveform in part.items()} for part in parts]
        decoded = time.perf_counter()
        own = {rate: torch.cat([part[rate] for part in on_cpu]) for rate in self.codec.sample_rates}
        outputs = {rate_label(rate): self._at(rate, own) for rate in rates}
        return Produced(outputs, encoded - started, decoded - encoded)

    def _at(self, rate: int, own: Mapping[int, Tensor]) -> Output:
        if rate in own:
            return Output(own[rate], rate, self.codec.heads[rate])
        native = self.codec.sampling_rate
        factor = rate // native
        if native in own and rate == native * factor and factor & (factor - 1) == 0:
            return Output(interpolated(own[native], factor), rate, f"{self.codec.heads[native]} interpolated")
        nearest = min((it for it in own if it > rate), default=max(own))
        resampled: Tensor = F_audio.resample(own[nearest], nearest, rate, lowpass_filter_width=64)
        return Output(resampled, rate, f"{self.codec.heads[nearest]} resampled")


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
    """Put beside an output at 48 kHz what costs nothing: the system's own 24 kHz interpolated, and that with noise.

    The first is left out where it is what the system gives at 48 kHz anyway; the noise where there is none.
    """
    narrow, wide = (produced.outputs.get(rate_label(rate)) for rate in (NARROW_RATE, WIDE_RATE))
    if narrow is None or wide is None:
        return
    made_from = f"{narrow.made_from} interpolated"
    waveform = interpolated(narrow.waveform)
    if interpolate and wide.made_from != made_from:
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
