"""Many streams of one codec decoded together: they join, push at their own pace, and leave."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from snac_exp.errors import DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.streaming.stream import CodecStream


class BatchStream:
    """A stream of a `StreamBatch`, which makes it: what names it in the batch's calls. Equal to itself alone.

    Attributes:
        head: name of its output.
        sample_rate: of its audio, in Hz.
        delay_samples: algorithmic delay at that rate. Once the codes of [0, t) have been pushed, at least the audio of
            [0, t - delay) has been given.
    """

    def __init__(self, head: str, sample_rate: int, delay_samples: int) -> None:
        self.head, self.sample_rate, self.delay_samples = head, sample_rate, delay_samples

    @property
    def delay_seconds(self) -> float:
        """Algorithmic delay."""
        return self.delay_samples / self.sample_rate


class StreamBatch:
    """Streams that share the work of decoding. Each gives the samples that `ReleasedCodec.decode` gives for all of its
    codes with its seed, to 1e-6, whatever the others do; a push decodes nothing but what it brings.

    Not for several threads at once: one at a time calls it. Tensors that it gives are the caller's.

        batch = StreamBatch(codec)
        one, other = batch.open(24000, seed=1), batch.open(48000, seed=2)
        heard = batch.push({one: tokens, other: more_tokens}, ending=[other])
        play(heard[one], heard[other])
    """

    def __init__(self, codec: ReleasedCodec) -> None:
        self._codec = codec
        self._streams: dict[BatchStream, CodecStream] = {}

    def __len__(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    def open(
        self, sample_rate: int | None = None, *, head: str | None = None, seed: int | None = None, noise: bool = True
    ) -> BatchStream:
        """A stream more, at its beginning. The output is chosen as in `decode`; so are seed and noise.

        Raises:
            CodecError: no output has this rate or name, or several have this rate.
            DataError: the seed is no whole number.
        """
        inner = self._codec.stream(sample_rate, head=head, seed=seed, noise=noise)
        stream = BatchStream(inner.head, inner.sample_rate, inner.delay_samples)
        self._streams[stream] = inner
        return stream

    def check(self, stream: BatchStream, tokens: Sequence[Any] | Codes) -> None:
        """What `push` would refuse of one stream's tokens, without pushing them.

        Raises:
            DataError: the stream is not open here, another number of codebooks, more than one row, no whole numbers, or
                a value outside of its codebook.
        """
        self._require_open(stream)
        self._streams[stream].check(tokens)

    def push(
        self, tokens: Mapping[BatchStream, Sequence[Any] | Codes], ending: Collection[BatchStream] = ()
    ) -> dict[BatchStream, Tensor]:
        """Further tokens of some of the streams, decoded together -> the samples of each that are certain now.

        Args:
            tokens: of each stream, tokens[i] (n_i,) or (1, n_i), in order of time; streams may bring different numbers,
                and none. Codebooks may arrive unevenly: what does not make a whole step (a coarse token, or a whole
                attention window) waits. Also what encode gave, whole.
            ending: streams that end with what this call brings, or end without bringing anything: their tails are given
                too, and they leave the batch.

        Returns:
            For every stream named in `tokens` or `ending`: float32 (N,) at its rate on the codec's device, N may be 0.

        Raises:
            DataError: what `check` refuses, or a stream that ends within a step. Nothing has changed then: no stream
                has taken its tokens, none has ended.
        """
        for stream, rows in tokens.items():
            self.check(stream, rows)
        for stream in ending:
            self._require_open(stream)
            inner = self._streams[stream]
            inner.require_end(inner.check(tokens[stream]) if stream in tokens else None)
        heard = {stream: [self._streams[stream].push(rows)[0, 0]] for stream, rows in tokens.items()}
        for stream in dict.fromkeys(ending):
            heard.setdefault(stream, []).append(self._streams.pop(stream).finish()[0, 0])
        return {stream: torch.cat(parts) for stream, parts in heard.items()}

    def close(self, stream: BatchStream) -> None:
        """Let a stream leave without its tail: what is not given yet is dropped. One that left already stays away."""
        self._streams.pop(stream, None)

    def _require_open(self, stream: BatchStream) -> None:
        if stream not in self._streams:
            raise DataError("this stream is not open in this batch; open another one")
