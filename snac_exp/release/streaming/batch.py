"""Many streams of one codec decoded together: they join, push at their own pace, and leave."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from snac_exp.errors import DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.incremental.decoder import IncrementalDecoder
from snac_exp.release.outputs import head_of
from snac_exp.release.streaming.positioned_noise import row_seeds
from snac_exp.release.streaming.stream import checked_rows
from snac_exp.release.streaming.token_queue import TokenQueue


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

    Not for several threads at once: one at a time calls it. A batch per thread uses several cores best, and batches
    share the codec's weights. Tensors that it gives are the caller's.

        batch = StreamBatch(codec)
        one, other = batch.open(24000, seed=1), batch.open(48000, seed=2)
        heard = batch.push({one: tokens, other: more_tokens}, ending=[other])
        play(heard[one], heard[other])
    """

    def __init__(self, codec: ReleasedCodec) -> None:
        self._codec = codec
        self._decoder = IncrementalDecoder(codec.layers)
        self._streams: dict[BatchStream, tuple[int, TokenQueue]] = {}

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
        name = head_of(self._codec.heads, head, sample_rate)
        seeds = row_seeds(seed, 1) if noise else (None,)
        stream = BatchStream(name, self._codec.heads[name], self._codec.layers.delay(name))
        self._streams[stream] = self._decoder.join([name], seeds[0]), TokenQueue(self._codec.geometry)
        return stream

    def check(self, stream: BatchStream, tokens: Sequence[Any] | Codes) -> tuple[Tensor, ...]:
        """What `push` would take of one stream's tokens: tokens[i] (1, n_i); nothing is pushed.

        Raises:
            DataError: the stream is not open here, another number of codebooks, more than one row, no whole numbers, or
                a value outside of its codebook.
        """
        self._require_open(stream)
        return checked_rows(self._codec, tokens, 1)

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
        rows = {stream: self.check(stream, given) for stream, given in tokens.items()}
        for stream in ending:
            self._require_open(stream)
            self._streams[stream][1].require_whole(rows.get(stream))
        # Nothing is refused from here on.
        for stream, taken in rows.items():
            self._streams[stream][1].append(taken)
        taking = {stream: self._streams[stream] for stream in [*rows, *ending]}
        whole = {slot: [row[0] for row in queue.take()] for slot, queue in taking.values()}
        samples = self._decoder.push(whole, {self._streams[stream][0] for stream in ending})
        for stream in ending:
            self._streams.pop(stream, None)
        return {stream: samples[slot][stream.head] for stream, (slot, _) in taking.items()}

    def close(self, stream: BatchStream) -> None:
        """Let a stream leave without its tail: what is not given yet is dropped. One that left already stays away."""
        if stream in self._streams:
            self._decoder.leave(self._streams.pop(stream)[0])

    def bytes_of(self, stream: BatchStream) -> int:
        """Memory that the layers keep of a stream, in bytes; tokens that wait come on top."""
        self._require_open(stream)
        return self._decoder.bytes_of(self._streams[stream][0])

    def _require_open(self, stream: BatchStream) -> None:
        if stream not in self._streams:
            raise DataError("this stream is not open in this batch; open another one")
