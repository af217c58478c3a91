"""A decoder of many streams: a thread that decodes what has come of every one, in one batch, again and again."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.files.audio import pcm
from snac_exp.release.outputs import head_of
from snac_exp.release.streaming.batch import BatchStream, StreamBatch
from snac_exp.release.streaming.token_queue import TokenQueue

AHEAD_SECONDS = 1.0  # of audio not taken yet, from which on a stream lets those that have less go first

_log = logging.getLogger("snac_exp.service")


class Watcher(Protocol):
    """Told about every pass of the decoder."""

    def decoded(self, num_streams: int, seconds: float) -> None:
        """So many streams were decoded together, in so many seconds."""
        ...


Deliver = Callable[[bytes | Exception, bool], None]
"""Takes what became of a stream, in order: PCM (signed 16 bit, little-endian) or why it broke, and whether it has ended
with that. Called in the decoder's thread, so it only hands on."""


class Stream:
    """A client's stream in a `BatchDecoder`, which makes it. Equal to itself alone.

    Attributes:
        head: name of its output.
        sample_rate: of its audio, in Hz.
        delay_seconds: as of `BatchStream`.
    """

    def __init__(self, codec: ReleasedCodec, head: str, seed: int | None, noise: bool, deliver: Deliver) -> None:
        self.head, self.sample_rate = head, codec.heads[head]
        self.delay_seconds = codec.layers.delay(head) / self.sample_rate
        self._seed, self._noise, self._deliver = seed, noise, deliver
        self._queue = TokenQueue(codec.geometry)
        self._in_batch: BatchStream | None = None
        self._ends = False
        self._unsent = 0  # samples that the client has not taken


class BatchDecoder:
    """Decodes the streams of many clients together; for several threads at once, its `run` in one of its own.

    A pass takes a few steps of every stream that has some, so a long utterance keeps nobody waiting. Streams whose
    clients still have a second to take are left for when no others want anything; one whose client takes nothing waits
    in the end, and costs what it holds.

    Args:
        tick_tokens: coarse tokens of a stream in one pass.
        max_unsent_seconds: of audio that its client has not taken, beyond which a stream waits.
    """

    def __init__(
        self, codec: ReleasedCodec, *, tick_tokens: int, max_unsent_seconds: float, watcher: Watcher | None = None
    ) -> None:
        self._codec, self._watcher = codec, watcher
        self._tick_steps = max(1, tick_tokens // codec.geometry.coarse_step)
        self._max_unsent_seconds = max_unsent_seconds
        self._changed = threading.Condition()
        self._batch = StreamBatch(codec)
        self._streams: dict[Stream, None] = {}
        self._left: list[BatchStream] = []
        self._stopped = False

    def __len__(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    def open(
        self, deliver: Deliver, *, head: str | None, sample_rate: int | None, seed: int | None, noise: bool = True
    ) -> Stream:
        """A stream more; the output and the noise are chosen as in `ReleasedCodec.decode`.

        Raises:
            CodecError: no output has this rate or name, or several have this rate.
        """
        stream = Stream(self._codec, head_of(self._codec.heads, head, sample_rate), seed, noise, deliver)
        with self._changed:
            self._streams[stream] = None
        return stream

    def push(self, stream: Stream, rows: Sequence[Tensor]) -> None:
        """Further tokens[i] (n_i,) int64 of a stream, values that its codec has."""
        with self._changed:
            stream._queue.append([row[None] for row in rows])
            self._changed.notify_all()

    def finish(self, stream: Stream) -> None:
        """Nothing comes any more: the rest is decoded, then the stream leaves.

        Raises:
            DataError: tokens are left over that make no whole step.
        """
        with self._changed:
            stream._queue.require_whole()
            stream._ends = True
            self._changed.notify_all()

    def taken(self, stream: Stream, num_samples: int) -> None:
        """A client has taken so many samples."""
        with self._changed:
            stream._unsent -= num_samples
            self._changed.notify_all()

    def close(self, stream: Stream) -> None:
        """Let a stream leave, whatever it still has; nothing more is delivered. One that left stays away."""
        with self._changed:
            if stream in self._streams:
                del self._streams[stream]
                # The batch belongs to the decoder's thread.
                self._left += [stream._in_batch] if stream._in_batch is not None else []
                self._changed.notify_all()

    def stop(self) -> None:
        """Have `run` return after its pass."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def warm_up(self) -> None:
        """Decode a step for every output, so that the first client does not wait for what happens once."""
        batch = StreamBatch(self._codec)
        geometry = self._codec.geometry
        silence = [
            torch.zeros(geometry.codebook_length(i, geometry.coarse_step), dtype=torch.int64)
            for i in range(geometry.num_codebooks)
        ]
        streams = [batch.open(head=head, seed=0) for head in self._codec.heads]
        batch.push(dict.fromkeys(streams, silence), streams)

    def run(self) -> None:
        """Decode until `stop`; sleeps while there is nothing to do."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._left or any(map(self._has_work, self._streams)))
                if self._stopped:
                    return
            self.tick()

    def tick(self) -> int:
        """One pass over all streams that have something; gives how many those were."""
        with self._changed:
            left, self._left = self._left, []
            ready = self._next()
            rows = {stream: [row[0] for row in stream._queue.take(self._tick_steps)] for stream in ready}
            ending = [stream for stream in ready if stream._ends and not stream._queue.has_step]
        started = time.perf_counter()
        try:
            self._pass(left, rows, ending)
        except Exception as error:
            # What the layers hold may be half of a pass: nobody's stream can go on.
            _log.exception("the decoder failed; all streams are ended")
            self._start_again(error)
        if ready and self._watcher is not None:
            self._watcher.decoded(len(ready), time.perf_counter() - started)
        return len(ready)

    def _pass(self, left: Sequence[BatchStream], rows: dict[Stream, list[Tensor]], ending: Sequence[Stream]) -> None:
        """Decode rows[stream][i] (1, T_i), the tokens that came of codebook i, in one batch; close what has left."""
        for item in left:
            self._batch.close(item)
        for stream in rows:
            if stream._in_batch is None:
                stream._in_batch = self._batch.open(head=stream.head, seed=stream._seed, noise=stream._noise)
        named = {stream: stream._in_batch for stream in rows if stream._in_batch is not None}
        made = self._batch.push(
            {named[stream]: taken for stream, taken in rows.items()}, [named[stream] for stream in ending]
        )
        for stream, item in named.items():
            self._hand_on(stream, pcm(made[item].cpu().numpy()).tobytes(), ends=stream in ending)

    def _hand_on(self, stream: Stream, samples: bytes, *, ends: bool) -> None:
        with self._changed:
            # One that was closed during the pass hears nothing of it, and may have joined the batch since.
            if stream not in self._streams:
                self._left += [stream._in_batch] if stream._in_batch is not None else []
                return
            stream._unsent += len(samples) // 2
            if ends:
                del self._streams[stream]
            if samples or ends:  # the end with the last audio: a client that has all of it may leave at once
                stream._deliver(samples, ends)

    def _next(self) -> list[Stream]:
        ready = [stream for stream in self._streams if self._has_work(stream)]
        return [stream for stream in ready if stream._unsent < AHEAD_SECONDS * stream.sample_rate] or ready

    def _has_work(self, stream: Stream) -> bool:
        if stream._unsent >= self._max_unsent_seconds * stream.sample_rate:
            return False
        return stream._ends or stream._queue.has_step

    def _start_again(self, error: Exception) -> None:
        with self._changed:
            broken, self._streams, self._left = list(self._streams), {}, []
            self._batch = StreamBatch(self._codec)
            for stream in broken:
                stream._deliver(error, True)
