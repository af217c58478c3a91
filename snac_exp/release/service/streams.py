"""One client's stream in the event loop: its tokens go to the decoder, its audio comes back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from snac_exp.errors import CodecError, DataError
from snac_exp.lm.layouts.reading import Gap
from snac_exp.release.service.messages import Output, Tokens
from snac_exp.release.service.reading import TokenReader
from snac_exp.release.service.refusal import Kind, Refusal
from snac_exp.release.service.shared import Service

SHOWN_GAPS = 20  # in what a client is told at the end


@dataclass(frozen=True)
class Summary:
    """What became of a stream's tokens. gaps: the first of what `resync` dropped, in words."""

    frames: int
    seconds: float
    dropped_ids: int
    num_gaps: int
    gaps: tuple[str, ...]


class ClientStream:
    """Opened where there is a place (`Service.place`), and closed, whatever happens.

    Raises:
        Refusal: no output has this rate or name.
    """

    def __init__(self, service: Service, output: Output) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[tuple[bytes | Exception, bool]] = asyncio.Queue()
        self._reader = TokenReader(service.layout, output.mode, service.bounds)
        self._begun: float | None = None
        self._decoder = service.next_decoder
        try:
            self._stream = self._decoder.open(
                self._deliver, head=output.head, sample_rate=output.sample_rate, seed=output.seed, noise=output.noise
            )
        except CodecError as error:
            raise Refusal(Kind.BAD, str(error)) from None
        self.head, self.sample_rate = self._stream.head, self._stream.sample_rate
        self.delay_seconds = self._stream.delay_seconds

    @property
    def num_samples(self) -> int:
        """Of the audio of all tokens so far, at the stream's rate."""
        return self._service.codec.geometry.audio_samples(self._reader.num_frames, self.sample_rate)

    @property
    def summary(self) -> Summary:
        """Of all tokens so far; gaps once it is finished."""
        gaps: tuple[Gap, ...] = self._reader.gaps
        lines = tuple(gap.line for gap in gaps[:SHOWN_GAPS])
        frames = self._reader.num_frames
        seconds = round(self._service.layout.seconds(frames), 6)
        return Summary(frames, seconds, sum(gap.num_ids for gap in gaps), len(gaps), lines)

    def push(self, tokens: Tokens, *, ends: bool = False) -> None:
        """Further tokens, perhaps the last; none of them are taken where they are refused.

        Raises:
            Refusal: they do not belong where they stand, or are too many.
        """
        if self._begun is None:
            self._begun = self._loop.time()
        before = self._reader.num_frames
        for rows in [self._reader.read(tokens), *([self._reader.finish()] if ends else [])]:
            if any(map(len, rows)):
                self._decoder.push(self._stream, rows)
        self._service.metrics.taken(self._reader.num_frames - before)
        if ends:
            self._finish()

    async def audio(self) -> AsyncIterator[bytes]:
        """PCM as it is decoded: signed 16 bit, little-endian, mono; what was given counts as taken by the client.

        Raises:
            Refusal: the service has been told to end, or the decoder broke.
        """
        first, ends = True, False
        while not ends:
            samples, ends = await self._next()
            if not samples:
                continue
            if first and self._begun is not None:
                self._service.metrics.first_audio(self._loop.time() - self._begun)
            first = False
            yield samples
            self._decoder.taken(self._stream, len(samples) // 2)
            self._service.metrics.given(self.head, len(samples) / 2 / self.sample_rate)

    def close(self) -> None:
        """Drop whatever is left."""
        self._decoder.close(self._stream)

    def _finish(self) -> None:
        try:
            self._decoder.finish(self._stream)
        except DataError as error:
            raise Refusal(Kind.BAD, str(error)) from None

    def _deliver(self, item: bytes | Exception, ends: bool) -> None:
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, (item, ends))

    async def _next(self) -> tuple[bytes, bool]:
        item, ends = await self._arrived.get()
        if isinstance(item, Exception):
            raise Refusal(Kind.BROKEN, "the decoder failed; try again")
        return item, ends
