"""48 kHz targets by speech restoration: Sidon v0.1 (sarulab-speech/sidon-v0.1), step by step as it is published.

Peak to 0.9 over all channels, mono, high-pass at 50 Hz, 16 kHz, 24,000 zeros at the end, chunks of 60 s. Each chunk,
with 40 zeros on both sides, goes through the front end of w2v-BERT 2.0 and Sidon's feature extractor; its decoder turns
50 frames/s into 48 kHz. The first chunk loses its first 150 samples; a later one is decoded behind the last five frames
of the chunk before and loses their 4,800 samples. The join is cut to round(N * 48000 / rate) samples.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from snac_exp.data.files.decoding import Float32Array
from snac_exp.data.files.resampling import resample
from snac_exp.errors import DataError

Item = TypeVar("Item")

INPUT_RATE, OUTPUT_RATE = 16000, 48000  # Hz
FRAMES_PER_SECOND = 50  # of the features
SAMPLES_PER_FRAME = OUTPUT_RATE // FRAMES_PER_SECOND
PEAK = 0.9  # of all channels, before they are mixed
HIGH_PASS_HZ, HIGH_PASS_Q = 50.0, 0.707
PAD_RIGHT = 24000  # samples at 16 kHz
PAD_CHUNK = 40  # samples at 16 kHz, on both sides of a chunk
JOIN_FRAMES = 5  # of the chunk before
DROP_FIRST, DROP_LATER = 150, 4800  # samples at 48 kHz; 4800 are the frames of the join


class FrontEnd(Protocol):
    """As transformers' SeamlessM4TFeatureExtractor: signals of 16 kHz -> {"input_features": (B, frames, 160)}."""

    def __call__(
        self, raw_speech: list[Float32Array], *, sampling_rate: int, return_tensors: str
    ) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Sidon:
    """The three parts on one device.

    extractor: TorchScript, (B, frames, 160) -> {"last_hidden_state": (B, frames, C)}. decoder: TorchScript, (B, C,
    frames) -> (B, 1, 960 * frames). max_batch_chunks: chunks of equal length, of one file or several, go together;
    padding to equal lengths would change the features. restore_level: give the target its source's level instead of
    the 0.9 peak the model works at.
    """

    front_end: FrontEnd
    extractor: Any
    decoder: Any
    device: torch.device
    chunk_seconds: float = 60.0
    max_batch_chunks: int = 4
    restore_level: bool = False

    @torch.no_grad()
    def restore(self, files: Sequence[tuple[Float32Array, int]]) -> list[Float32Array]:
        """Files as (signal (num, channels), rate in Hz) -> 48 kHz mono, round(num * 48000 / rate) samples each.

        Raises DataError for a silent file, or if the models do not give 960 samples per frame.
        """
        chunks = [list(self._chunks(*file)) for file in files]
        flat = [(number, index, chunk) for number, parts in enumerate(chunks) for index, chunk in enumerate(parts)]
        features: dict[tuple[int, int], Tensor] = {}
        for batch in _equal_batches(flat, lambda item: len(item[2]), self.max_batch_chunks):
            hidden = self._features([chunk for _, _, chunk in batch])
            features |= {(number, index): row for (number, index, _), row in zip(batch, hidden, strict=True)}
        joined = [(key, _behind_join(features, key)) for key in sorted(features)]
        decoded: dict[tuple[int, int], Float32Array] = {}
        # First chunks apart from later ones, which lose more samples at their start.
        for parts in _equal_batches(joined, lambda item: (item[0][1] > 0, len(item[1])), self.max_batch_chunks):
            waveforms = self._decode(torch.stack([frames for _, frames in parts]), first=parts[0][0][1] == 0)
            decoded |= {key: waveform for (key, _), waveform in zip(parts, waveforms, strict=True)}
        return [
            self._finished(signal, rate, [decoded[number, index] for index in range(len(chunks[number]))])
            for number, (signal, rate) in enumerate(files)
        ]

    def _chunks(self, signal: Float32Array, rate: int) -> Iterator[Float32Array]:
        """Chunks (num16,) of a signal (num, channels), prepared; one beyond all that is kept in the end is left out."""
        prepared = prepare_signal(signal, rate)
        # Whole frames of 20 ms.
        size = round(self.chunk_seconds * FRAMES_PER_SECOND) * INPUT_RATE // FRAMES_PER_SECOND
        for start in range(0, len(prepared), size):
            if start and start * OUTPUT_RATE // INPUT_RATE - DROP_FIRST >= num_target_samples(len(signal), rate):
                return
            yield prepared[start : start + size]

    def _features(self, chunks: list[Float32Array]) -> Tensor:
        """Chunks (num,) of equal length at 16 kHz -> hidden states (B, frames, C)."""
        padded = [np.pad(chunk, PAD_CHUNK) for chunk in chunks]
        inputs = self.front_end(padded, sampling_rate=INPUT_RATE, return_tensors="pt")["input_features"]
        hidden: Tensor = self.extractor(inputs.to(self.device))["last_hidden_state"]
        return hidden

    def _decode(self, frames: Tensor, *, first: bool) -> Float32Array:
        """Frames (B, frames, C) -> (B, samples), without what the join asks to drop."""
        waveform: Tensor = self.decoder(frames.transpose(1, 2))
        flat = waveform.reshape(len(frames), -1)
        if abs(flat.shape[1] - frames.shape[1] * SAMPLES_PER_FRAME) >= SAMPLES_PER_FRAME:
            raise DataError(
                f"the decoder makes {flat.shape[1]} samples of {frames.shape[1]} frames, not {SAMPLES_PER_FRAME} of "
                "each; sidon.path and sidon.hub_id must name models of Sidon v0.1"
            )
        kept = flat[:, DROP_FIRST if first else DROP_LATER :]
        return np.asarray(kept.float().cpu().numpy(), dtype=np.float32)

    def _finished(self, signal: Float32Array, rate: int, parts: list[Float32Array]) -> Float32Array:
        """Decoded parts (n,) of a signal (num, channels) joined and cut to the target: (num_target_samples,)."""
        level = float(np.abs(signal).max()) / PEAK if self.restore_level else 1.0
        whole = np.concatenate(parts)[: num_target_samples(len(signal), rate)]
        return np.asarray(whole * np.float32(level), dtype=np.float32)


def num_target_samples(num_samples: int, rate: int) -> int:
    """round(N * 48000 / rate), halves up."""
    return (2 * num_samples * OUTPUT_RATE + rate) // (2 * rate)


def prepare_signal(signal: Float32Array, rate: int) -> Float32Array:
    """(num, channels) -> (num16,) at 16 kHz: peak 0.9, mono, high-pass, resampled, zeros behind.

    Raises DataError for silence, which has no peak to be brought to 0.9.
    """
    peak = float(np.abs(signal).max(initial=0.0))
    if peak == 0.0:
        raise DataError("silent: there is nothing to restore")
    mono = (signal * np.float32(PEAK / peak)).mean(axis=1, dtype=np.float32)
    return np.pad(resample(high_pass(mono, rate), rate, INPUT_RATE), (0, PAD_RIGHT))


def high_pass(signal: Float32Array, rate: int) -> Float32Array:
    """Second-order high-pass (num,) -> (num,) at 50 Hz, Q 0.707 (R. Bristow-Johnson's cookbook), clipped to [-1, 1].

    The same filter as torchaudio.functional.highpass_biquad, which without its compiled extension takes over a second
    per second of audio.
    """
    from scipy.signal import lfilter  # type: ignore[import-untyped, unused-ignore]

    angle = 2 * np.pi * HIGH_PASS_HZ / rate
    alpha, cosine = np.sin(angle) / (2 * HIGH_PASS_Q), np.cos(angle)
    forward = np.array([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2])
    back = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    # float64: at 50 Hz the poles lie so near the unit circle that float32 would add noise.
    return np.asarray(np.clip(lfilter(forward, back, signal.astype(np.float64)), -1, 1), dtype=np.float32)


def _behind_join(features: Mapping[tuple[int, int], Tensor], key: tuple[int, int]) -> Tensor:
    """Frames of a chunk (frames, C), a later one behind the last frames of the chunk before."""
    number, index = key
    return features[key] if index == 0 else torch.cat([features[number, index - 1][-JOIN_FRAMES:], features[key]])


def _equal_batches(items: Sequence[Item], key: Callable[[Item], Any], limit: int) -> Iterator[list[Item]]:
    """Items of equal key together, at most `limit` at once."""
    for _, group in groupby(sorted(items, key=key), key=key):
        equal = list(group)
        for first in range(0, len(equal), limit):
            yield equal[first : first + limit]
