"""What all clients of a service share: codec, layout, decoder, places, counts."""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import torch

from snac_exp.errors import ConfigError
from snac_exp.lm.layouts.layout import Layout
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.service.batching import BatchDecoder
from snac_exp.release.service.bounds import Bounds
from snac_exp.release.service.metrics import Metrics
from snac_exp.release.service.refusal import Kind, Refusal

TELL_SECONDS = 2.0  # for a client to take what it is told last
Gone = Callable[[], Coroutine[Any, Any, None]]
"""Ends once a client has left."""


class LeftError(Exception):
    """A client left before it got a place; nobody is there to be told anything."""


class Service:
    """One codec for many clients. Its decoders run while `running` does; everything else is for the event loop.

    Attributes:
        decoders: a thread and a batch each, which share the streams; those of a processor's cores do not wait for each
            other, as threads within one batch do.
    """

    def __init__(self, codec: ReleasedCodec, layout: Layout, bounds: Bounds) -> None:
        self.codec, self.layout, self.bounds = codec, layout, bounds
        self.metrics = Metrics()
        self.decoders = [
            BatchDecoder(
                codec,
                tick_tokens=bounds.tick_tokens,
                max_unsent_seconds=bounds.max_unsent_seconds,
                watcher=self.metrics,
            )
            for _ in range(_num_decoders(bounds.decoders, codec.device))
        ]
        self.is_closing = False
        self._threads = [threading.Thread(target=each.run, name="decoder", daemon=True) for each in self.decoders]
        self._places = asyncio.Semaphore(bounds.max_streams)
        self._waiting = 0
        self._open = 0
        self._of_client = Counter[str]()
        self._emptied = asyncio.Event()
        self._told = asyncio.Event()

    @property
    def is_well(self) -> bool:
        """Whether it takes streams."""
        return all(thread.is_alive() for thread in self._threads) and not self.is_closing

    @property
    def num_open(self) -> int:
        """Streams that have a place."""
        return self._open

    @property
    def num_decoding(self) -> int:
        """Streams that a decoder holds."""
        return sum(map(len, self.decoders))

    @property
    def next_decoder(self) -> BatchDecoder:
        """The one that holds the fewest streams."""
        return min(self.decoders, key=len)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The decoders at work."""
        self.decoders[0].warm_up()
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            for decoder in self.decoders:
                decoder.stop()
            for thread in self._threads:
                await asyncio.to_thread(thread.join)

    @asynccontextmanager
    async def place(self, client: str, gone: Gone) -> AsyncIterator[None]:
        """One of the places for streams, as long as it is held; a few may wait for one.

        Raises:
            Refusal: too many wait or are of this client, none came free in time, or the service is closing.
            LeftError: the client has left before.
        """
        with self._counted(client):
            await self._enter(gone)
            self._open += 1
            self.metrics.open.set(self._open)
            try:
                yield
            finally:
                self._open -= 1
                self.metrics.open.set(self._open)
                self._places.release()
                if not self._open:
                    self._emptied.set()

    async def drain(self) -> None:
        """Take nothing new, let the open streams end, and tell those that have not in time."""
        self.is_closing = True
        await self._until_empty(self.bounds.drain_seconds, self._told)
        self.tell()
        await self._until_empty(2 * TELL_SECONDS)

    def tell(self) -> None:
        """End every open stream now."""
        self.is_closing = True
        self._told.set()

    async def unless_told(self, *work: Coroutine[Any, Any, None]) -> None:
        """Run these until the first one is done; the others are cancelled.

        Raises:
            Refusal: open streams are to end, or it has taken too long. What the first one raises.
        """
        tasks = [asyncio.ensure_future(item) for item in (self._told.wait(), *work)]
        try:
            await asyncio.wait(tasks, timeout=self.bounds.open_seconds, return_when=asyncio.FIRST_COMPLETED)
            finished = [task for task in tasks[1:] if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not finished and self._told.is_set():
            raise Refusal(
                Kind.CLOSING, f"the service ends; it waited service.drain_seconds={self.bounds.drain_seconds:g}"
            )
        if not finished:
            raise Refusal(Kind.SLOW, f"open for more than service.open_seconds={self.bounds.open_seconds:g}")
        finished[0].result()

    @contextmanager
    def _counted(self, client: str) -> Iterator[None]:
        """A stream of this client, open or waiting."""
        most = self.bounds.max_streams_per_client
        if most is not None and self._of_client[client] >= most:
            raise Refusal(
                Kind.CROWDED, f"service.max_streams_per_client={most} of your address are open or wait; end one first"
            )
        self._of_client[client] += 1
        try:
            yield
        finally:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]  # of each that ever asked, there would be one for ever

    async def _until_empty(self, seconds: float, *sooner: asyncio.Event) -> None:
        """Wait for all streams to end, or so long, or for another event."""
        if self._open:
            self._emptied.clear()
            waiting = [asyncio.ensure_future(event.wait()) for event in (self._emptied, *sooner)]
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def _enter(self, gone: Gone) -> None:
        if self.is_closing:
            raise Refusal(Kind.CLOSING, "the service is closing")
        # Together, since one that is about to get a place waits too for a moment.
        if self._open + self._waiting >= self.bounds.max_streams + self.bounds.max_queue:
            raise Refusal(
                Kind.CROWDED,
                f"service.max_streams={self.bounds.max_streams} streams are open and "
                f"service.max_queue={self.bounds.max_queue} wait; try again later",
            )
        self._waiting += 1
        self.metrics.waiting.set(self._waiting)
        try:
            await self._wait(gone)
        finally:
            self._waiting -= 1
            self.metrics.waiting.set(self._waiting)
        if self.is_closing:
            self._places.release()
            raise Refusal(Kind.CLOSING, "the service is closing")

    async def _wait(self, gone: Gone) -> None:
        """For a place, as long as one may and the client is there."""
        if not self._places.locked():
            await self._places.acquire()
            return
        acquiring, leaving = asyncio.ensure_future(self._places.acquire()), asyncio.ensure_future(gone())
        left = False
        try:
            seconds = self.bounds.queue_seconds
            await asyncio.wait((acquiring, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            left = leaving.done()
            if not acquiring.done() and not left:
                raise Refusal(Kind.BUSY, f"no place within service.queue_seconds={seconds:g}")
            if left:
                raise LeftError
        except BaseException:
            acquiring.cancel()
            await asyncio.gather(acquiring, return_exceptions=True)
            if not acquiring.cancelled():  # it came at the last moment
                self._places.release()
            raise
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


def _num_decoders(wanted: int | None, device: torch.device) -> int:
    """How many threads decode."""
    on_cpu = device.type == "cpu"
    if wanted is not None and wanted > 1 and not on_cpu:
        raise ConfigError(
            f"service.decoders={wanted}: device={device} decodes all streams in one batch; set it to null"
        )
    return wanted or (min(2, len(os.sched_getaffinity(0))) if on_cpu else 1)
