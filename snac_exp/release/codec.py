"""A trained codec for people who never saw the repository: audio to codes, codes to audio at every output."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from snac_exp.codec.checkpoint import codebooks_fingerprint, fingerprint
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.errors import CodecError, DataError
from snac_exp.release.blueprint import Blueprint
from snac_exp.release.codes import Codes, checked_tokens, is_whole
from snac_exp.release.folding import fold
from snac_exp.release.incremental.decoder import IncrementalDecoder, Layers
from snac_exp.release.outputs import checked_heads, head_of
from snac_exp.release.streaming.chunks import chunk_frames
from snac_exp.release.streaming.positioned_noise import NoisePosition, measure_noise_rates, position_noise, row_seeds
from snac_exp.release.streaming.receptive_field import ReceptiveField, encoder_receptive_field, latent_channels
from snac_exp.release.streaming.stream import CodecStream
from snac_exp.release.waveforms import Layout, mono_batch, resampled
from snac_exp.system.environment import usable_device

DEFAULT_CHUNK_SECONDS = 5.0

Read = Callable[[int, int], Tensor]
"""(start, num) in samples at the codec's rate -> (B, 1, num) float32; zero beyond the end."""

Waveforms = dict[str, Tensor]
"""Head -> waveform (B, 1, N at the head's rate)."""


class ReleasedCodec:
    """Encoder, quantizer, and a decoder with an output per head; made by `snac_exp.load_codec`.

    Encoding is float32 without TF32, since other precisions change most tokens; `dtype` is that of the decoder. Long
    signals go in chunks with the context that matters: the result is that of the whole, the memory that of a chunk.

    Attributes:
        sampling_rate: of the codec, in Hz.
        heads: name of every output -> its rate in Hz, lowest first. Two heads may have one rate.

    Raises:
        CodecError: the device is not here, or the dtype is no floating-point one.
    """

    def __init__(
        self,
        model: MultiRateSnac,
        blueprint: Blueprint,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise CodecError(f"dtype={dtype!r} must be a floating-point type, such as torch.bfloat16")
        self.blueprint, self.device, self.dtype = blueprint, usable_device(device), dtype
        self.codebooks = codebooks_fingerprint(model.quantizer)
        self.model = fold(model).to(self.device)
        self.model.trunk.to(dtype)  # not the quantizer: the latent is computed in float32 and cast once
        self.model.heads.to(dtype)
        self.geometry = model.geometry
        self.sampling_rate = model.geometry.sampling_rate
        self.heads = dict(sorted(model.rates.items(), key=lambda item: item[1]))
        self._position = NoisePosition()
        num_frames = self.geometry.coarse_step * self.geometry.vq_strides[0]  # one whole step, the shortest latent
        silence = torch.zeros(1, latent_channels(model), num_frames, device=self.device, dtype=dtype)
        blocks = position_noise(self.model, self._position)
        measure_noise_rates(blocks, lambda: self.model(self.model.features(silence)), num_frames)

    @property
    def name(self) -> str:
        """Of the codec it was trained from."""
        return self.blueprint.name

    @property
    def sample_rates(self) -> tuple[int, ...]:
        """Rates in Hz that some output has, lowest first."""
        return tuple(dict.fromkeys(self.heads.values()))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the weights of the inference form; the same from every file that holds this model."""
        return fingerprint(self.model)

    @property
    def codebook_sizes(self) -> list[int]:
        """Entries of each codebook, coarsest first."""
        return [int(level.codebook.weight.shape[0]) for level in cast(Any, self.model.quantizer.quantizers)]

    @property
    def bitrate(self) -> float:
        """Bits per second of the codes."""
        rate = self.sampling_rate / self.geometry.hop_length
        levels = zip(self.codebook_sizes, self.geometry.vq_strides, strict=True)
        return sum(math.log2(size) * rate / stride for size, stride in levels)

    def encode(
        self,
        audio: Any,
        sample_rate: int,
        *,
        layout: Layout = "auto",
        chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
    ) -> Codes:
        """Audio -> codes; resampled to the codec's rate and mixed down to mono.

        Args:
            audio: array or tensor (N,), (channels, N), (N, channels) or (B, channels, N); see `waveforms.mono_batch`.
            chunk_seconds: None encodes the whole at once, which needs memory in proportion to its length.

        Raises:
            DataError: the audio has another form, holds NaN, or its rate cannot be resampled.
        """
        mono = mono_batch(audio, layout)
        native = resampled(mono, sample_rate, self.sampling_rate)

        def read(start: int, num: int) -> Tensor:
            """(start, num) -> (1, 1, num)."""
            part = native[..., start : start + num]
            return torch.nn.functional.pad(part, (0, num - part.shape[-1]))  # upstream pads with zeros too

        tokens = self.encode_from(read, native.shape[-1], chunk_seconds=chunk_seconds)
        return Codes(tokens, mono.shape[-1], int(sample_rate), self.codebooks)

    def encode_many(self, signals: Sequence[Any], sample_rate: int, *, layout: Layout = "auto") -> list[Codes]:
        """Codes of signals of any lengths; those of equal length share a batch.

        Padding to a longer neighbour would change tokens at the end, so unequal ones are never batched together.
        """
        mono = [mono_batch(signal, layout) for signal in signals]
        if any(signal.shape[0] != 1 for signal in mono):
            raise DataError("each signal must be a single one, not a batch; call encode for a batch")
        groups: dict[int, list[int]] = {}
        for index, signal in enumerate(mono):
            groups.setdefault(signal.shape[-1], []).append(index)
        found: dict[int, Codes] = {}
        for indices in groups.values():
            codes = self.encode(torch.cat([mono[index] for index in indices]), sample_rate)
            found |= {index: codes.row(row) for row, index in enumerate(indices)}
        return [found[index] for index in range(len(mono))]

    def encode_from(
        self, read: Read, num_samples: int, *, chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS
    ) -> tuple[Tensor, ...]:
        """Tokens[i] (B, T_i) of a signal of `num_samples` at the codec's rate that `read` gives part by part."""
        parts = list(self.encode_chunks(read, num_samples, chunk_seconds=chunk_seconds))
        return tuple(torch.cat(tokens, dim=-1) for tokens in zip(*parts, strict=True))

    def encode_chunks(
        self, read: Read, num_samples: int, *, chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS
    ) -> Iterator[list[Tensor]]:
        """As `encode_from`, one chunk after the other: tokens[i] (B, t_i) on the CPU."""
        if num_samples < 1:
            raise DataError("there is no audio to encode: it has no samples")
        num_frames = self.geometry.coarse_tokens_of(num_samples) * self.geometry.vq_strides[0]
        size = chunk_frames(self.geometry, chunk_seconds, num_frames)
        field = self.encoder_receptive_field if size < num_frames else ReceptiveField(0, 0)
        for start in range(0, num_frames, size):
            stop = min(start + size, num_frames)
            begin, end = max(0, start - field.before), min(stop + field.after, num_frames)
            hop = self.geometry.hop_length
            yield self._encode(read(begin * hop, (end - begin) * hop), start - begin, stop - begin)

    def decode(
        self,
        codes: Codes | Sequence[Any],
        sample_rate: int | None = None,
        *,
        head: str | None = None,
        seed: int | Sequence[int] | None = None,
        noise: bool = True,
        chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
    ) -> Tensor:
        """Codes -> waveform (B, 1, N) float32 on the codec's device, exactly as long as the source was.

        Args:
            codes: from `encode`, or bare tokens[i] (B, T_i) or (T_i,), which decode to whole tokens.
            sample_rate: of the output in Hz, where one head has it; None is the highest.
            head: name of the output, see `heads`; needed where two heads have one rate.
            seed: of the decoder's noise; the same seed gives the same samples, in whatever batch or chunks. None draws
                one from torch's generator. A sequence gives one per row.
            noise: False leaves the noise out.

        Raises:
            CodecError: no output has this rate or name, several have this rate, or the codes belong to other codebooks.
            DataError: the tokens do not belong together, or the seeds not to them.
        """
        name = head_of(self.heads, head, sample_rate)
        chunks = self.decode_chunks(codes, [name], seed=seed, noise=noise, chunk_seconds=chunk_seconds)
        return torch.cat([chunk[name] for chunk in chunks], dim=-1)

    def decode_chunks(
        self,
        codes: Codes | Sequence[Any],
        heads: Sequence[str],
        *,
        seed: int | Sequence[int] | None = None,
        noise: bool = True,
        chunk_seconds: float | None = DEFAULT_CHUNK_SECONDS,
    ) -> Iterator[Waveforms]:
        """As `decode`, of several heads from one pass of the trunk, one chunk after the other: head -> (B, 1, n)."""
        names = checked_heads(self.heads, heads)
        tokens = self.tokens_of(codes)
        num_coarse = tokens[0].shape[-1]
        num_frames = num_coarse * self.geometry.vq_strides[0]
        left = {name: self._decoded_samples(codes, num_coarse, self.heads[name]) for name in names}
        size = chunk_frames(self.geometry, chunk_seconds, num_frames) // self.geometry.vq_strides[0]
        seeds = row_seeds(seed, tokens[0].shape[0]) if noise else (None,) * tokens[0].shape[0]
        decoder = IncrementalDecoder(self.layers)
        slots = [decoder.join(names, row_seed) for row_seed in seeds]
        for start in range(0, num_coarse, size):
            parts = [row[:, self.geometry.codebook_slice(i, start, size)] for i, row in enumerate(tokens)]
            rows = {slot: [part[index] for part in parts] for index, slot in enumerate(slots)}
            samples = decoder.push(rows, slots if start + size >= num_coarse else ())
            waveforms = {name: torch.stack([samples[slot][name] for slot in slots])[:, None] for name in names}
            if any(waveform.shape[-1] for waveform in waveforms.values()):
                yield _trimmed(waveforms, left)

    def stream(
        self,
        sample_rate: int | None = None,
        *,
        head: str | None = None,
        seed: int | Sequence[int] | None = None,
        noise: bool = True,
        batch_size: int = 1,
    ) -> CodecStream:
        """A stream of one output, chosen as in `decode`, that takes codes as they arrive and gives the same samples.

        Its `delay_seconds` is the algorithmic delay: how far the codes must run ahead of the audio.
        """
        name = head_of(self.heads, head, sample_rate)
        if not is_whole(batch_size) or batch_size < 1:
            raise DataError(f"batch_size={batch_size!r} must be a whole number of at least 1")
        seeds = row_seeds(seed, batch_size) if noise else None
        return CodecStream(self, name, seeds, batch_size)

    def latent(self, tokens: Sequence[Tensor]) -> Tensor:
        """Tokens[i] (B, T_i) on any device -> latent (B, C, frames) on the codec's device."""
        with torch.no_grad(), exact_float32():
            return self.model.latent([row.to(self.device) for row in tokens])

    def tokens_of(self, codes: Codes | Sequence[Any]) -> tuple[Tensor, ...]:
        """Checked tokens[i] (B, T_i); CodecError if they index other codebooks than this codec's."""
        if not isinstance(codes, Codes):
            return checked_tokens(codes, self.geometry, self.codebook_sizes)
        if codes.codebooks != self.codebooks:
            raise CodecError(
                f"these codes index codebooks {codes.codebooks[:12]}, this codec has {self.codebooks[:12]}; "
                "decode them with the codec they were made with, or one trained from it with its quantizer frozen"
            )
        tokens = checked_tokens(codes.tokens, self.geometry, self.codebook_sizes)
        needed = self.geometry.coarse_tokens_of(codes.samples_at(self.sampling_rate))
        if tokens[0].shape[-1] != needed:
            raise DataError(
                f"{codes.num_samples} samples at {codes.sample_rate} Hz are {needed} coarse tokens, "
                f"not {tokens[0].shape[-1]}; the codes are cut off or belong to other audio"
            )
        return tokens

    @cached_property
    def encoder_receptive_field(self) -> ReceptiveField:
        """Frames around a frame that its tokens depend on."""
        return encoder_receptive_field(self.model, self.device)

    @cached_property
    def layers(self) -> Layers:
        """The decoder as layers that take signals piece by piece."""
        return Layers(self.model, self.latent, self._position, self.dtype, self.device)

    @torch.no_grad()
    def _encode(self, audio: Tensor, start: int, stop: int) -> list[Tensor]:
        """audio (B, 1, N) -> tokens[i] (B, T_i) of its frames from `start` to `stop`, on the CPU."""
        with exact_float32():
            latent = self.model.encoder(audio.to(self.device))[..., start:stop]
            return [tokens.cpu() for tokens in self.model.quantizer(latent)[1]]

    def _decoded_samples(self, codes: Codes | Sequence[Any], num_coarse: int, rate: int) -> int:
        if isinstance(codes, Codes):
            return codes.samples_at(rate)
        return self.geometry.audio_samples(num_coarse, rate)


def _trimmed(waveforms: Waveforms, left: dict[str, int]) -> Waveforms:
    """Head -> (B, 1, n) without the padding after the last sample; counts down what is left."""
    chunk = {}
    for name, waveform in waveforms.items():
        chunk[name] = waveform[..., : left[name]].float()
        left[name] -= chunk[name].shape[-1]
    return chunk
