"""Decoding codes as they arrive, for token models that speak."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.errors import DataError
from snac_exp.release.codes import Codes, is_whole, token_rows
from snac_exp.release.streaming.latent_decoder import LatentDecoder, Waveforms
from snac_exp.release.streaming.token_queue import TokenQueue


class Latents(Protocol):
    """What a stream needs of its codec: from tokens to the latent."""

    geometry: Geometry
    device: torch.device

    @property
    def codebook_sizes(self) -> list[int]: ...

    def latent(self, tokens: Sequence[Tensor]) -> Tensor:
        """Tokens[i] (B, T_i) -> latent (B, C, frames)."""
        ...

    def tokens_of(self, codes: Codes | Sequence[Any]) -> tuple[Tensor, ...]:
        """Checked tokens[i] (B, T_i)."""
        ...


class CodecStream:
    """Codes in, samples out: the very samples that `ReleasedCodec.decode` gives for all codes with the same seed.

    Each push decodes the new frames together with the frames around them, so few large pushes cost less than many small
    ones; see benchmarks/stream_rtf.py.

    Attributes:
        head: name of the output.
        sample_rate: of the audio, in Hz.
        delay_samples: algorithmic delay at that rate. Once the codes of [0, t) have been pushed, at least the audio of
            [0, t - delay) has been given.
    """

    def __init__(self, codec: Latents, decoder: LatentDecoder, head: str, batch_size: int) -> None:
        if not is_whole(batch_size) or batch_size < 1:
            raise DataError(f"batch_size={batch_size!r} must be a whole number of at least 1")
        self._codec, self._decoder, self.head, self._batch_size = codec, decoder, head, batch_size
        self._queue = TokenQueue(codec.geometry, batch_size)
        self._closed = False
        self.sample_rate = decoder.model.rates[head]
        self.delay_samples = (
            decoder.receptive_field.after * codec.geometry.hop_length * decoder.model.head(head).multiple
        )

    @property
    def delay_seconds(self) -> float:
        """Algorithmic delay."""
        return self.delay_samples / self.sample_rate

    def push(self, tokens: Sequence[Any] | Codes) -> Tensor:
        """Further tokens -> the samples (B, 1, N) that are certain now, N may be 0; on the codec's device.

        Args:
            tokens: tokens[i] (B, n_i) or (n_i,), in order of time. Codebooks may arrive unevenly: what does not make a
                whole step (a coarse token, or a whole attention window) waits. Also what encode gave, whole.

        Raises:
            DataError: another number of codebooks or rows, or a value outside of its codebook; none of them is taken.
        """
        self._require_open()
        # After all checks, so that a refused push leaves the stream as it was.
        self._queue.append(self.check(tokens))
        whole = self._queue.take()
        if not whole[0].shape[1]:
            return self._empty()
        return self._samples(self._decoder.push(self._codec.latent(whole)))

    def finish(self) -> Tensor:
        """End the signal: the samples (B, 1, N) that waited for codes to come. Nothing can be pushed afterwards.

        Raises:
            DataError: tokens are left over that make no whole step.
        """
        self._require_open()
        # Closed before the check: a stream that ended wrongly cannot go on either.
        self._closed = True
        self._queue.require_whole()
        return self._samples(self._decoder.finish())

    def check(self, tokens: Sequence[Any] | Codes) -> tuple[Tensor, ...]:
        """Tokens[i] (B, n_i) as `push` takes them; errors as there."""
        checked = self._codec.tokens_of(tokens) if isinstance(tokens, Codes) else tokens
        rows = token_rows(checked, self._codec.codebook_sizes)
        for i, row in enumerate(rows):
            if row.shape[0] != self._batch_size:
                shape = f"({self._batch_size}, n)"
                raise DataError(f"tokens of codebook {i} have shape {list(row.shape)}; this stream takes {shape}")
        return rows

    def require_end(self, rows: Sequence[Tensor] | None = None) -> None:
        """DataError unless the stream can end here, or behind further tokens (B, n_i)."""
        self._queue.require_whole(rows)

    def _samples(self, waveforms: Waveforms | None) -> Tensor:
        """float32 (B, 1, N) of the one head, N = 0 where nothing is certain yet."""
        return self._empty() if waveforms is None else waveforms[self.head].float()

    def _empty(self) -> Tensor:
        """(B, 1, 0)."""
        return torch.zeros(self._batch_size, 1, 0, device=self._codec.device)

    def _require_open(self) -> None:
        if self._closed:
            raise DataError("this stream has been finished; open another one")
