"""Decoding codes as they arrive, for token models that speak."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.errors import DataError
from snac_exp.release.codes import Codes, token_rows
from snac_exp.release.incremental.decoder import IncrementalDecoder, Layers
from snac_exp.release.streaming.token_queue import TokenQueue


class Source(Protocol):
    """What a stream needs of its codec."""

    geometry: Geometry

    @property
    def heads(self) -> dict[str, int]: ...
    @property
    def codebook_sizes(self) -> list[int]: ...
    @property
    def layers(self) -> Layers: ...

    def tokens_of(self, codes: Codes | Sequence[Any]) -> tuple[Tensor, ...]:
        """Checked tokens[i] (B, T_i)."""
        ...


class CodecStream:
    """Codes in, samples out: the very samples that `ReleasedCodec.decode` gives for all codes with the same seed.

    A push decodes what it brings and nothing again. Small pushes cost a little more than large ones, since every push
    reads the decoder's weights; see docs/performance.md. Many streams share that in a `StreamBatch`.

    Attributes:
        head: name of the output.
        sample_rate: of the audio, in Hz.
        delay_samples: algorithmic delay at that rate. Once the codes of [0, t) have been pushed, at least the audio of
            [0, t - delay) has been given.
    """

    def __init__(self, codec: Source, head: str, seeds: Sequence[int] | None, batch_size: int) -> None:
        self.head, self.sample_rate = head, codec.heads[head]
        self.delay_samples = codec.layers.delay(head)
        self._codec, self._batch_size = codec, batch_size
        self._decoder = IncrementalDecoder(codec.layers)
        self._slots = [self._decoder.join([head], None if seeds is None else seeds[row]) for row in range(batch_size)]
        self._queue = TokenQueue(codec.geometry, batch_size)
        self._closed = False

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
        self._queue.append(checked_rows(self._codec, tokens, self._batch_size))
        return self._decoded(ends=False)

    def finish(self) -> Tensor:
        """End the signal: the samples (B, 1, N) that waited for codes to come. Nothing can be pushed afterwards.

        Raises:
            DataError: tokens are left over that make no whole step.
        """
        self._require_open()
        # Closed before the check: a stream that ended wrongly cannot go on either.
        self._closed = True
        self._queue.require_whole()
        return self._decoded(ends=True)

    def _decoded(self, *, ends: bool) -> Tensor:
        """Samples (B, 1, N) of the whole steps that wait."""
        tokens = self._queue.take()
        rows = {slot: [row[i] for row in tokens] for i, slot in enumerate(self._slots)}
        samples = self._decoder.push(rows, self._slots if ends else ())
        return torch.stack([samples[slot][self.head] for slot in self._slots])[:, None]

    def _require_open(self) -> None:
        if self._closed:
            raise DataError("this stream has been finished; open another one")


def checked_rows(codec: Source, tokens: Sequence[Any] | Codes, num_rows: int) -> tuple[Tensor, ...]:
    """Tokens[i] (num_rows, n_i), or (n_i,) for one row, of values that the codec has; DataError where they are not."""
    given = codec.tokens_of(tokens) if isinstance(tokens, Codes) else tokens
    rows = token_rows(given, codec.codebook_sizes)
    for i, row in enumerate(rows):
        if row.shape[0] != num_rows:
            raise DataError(f"tokens of codebook {i} have shape {list(row.shape)}; this stream takes ({num_rows}, n)")
    return rows
