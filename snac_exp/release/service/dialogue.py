"""WebSocket /stream: tokens in as a model makes them, PCM out as it is decoded.

The client sends an `Output` as JSON, then `Piece`s, the last with "end": true. The service answers the first with one
line of JSON (head, sample_rate, delay_seconds), sends PCM as binary messages, and at the end one line of JSON (frames,
seconds, dropped_ids, gaps). What is refused is one line {"error": …} and a close code.
"""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from snac_exp.release.service.answers import refused
from snac_exp.release.service.key import client_of
from snac_exp.release.service.messages import Output, Piece, parsed
from snac_exp.release.service.refusal import Kind, Refusal
from snac_exp.release.service.shared import TELL_SECONDS, LeftError, Service
from snac_exp.release.service.streams import ClientStream

_MOST_REASON_BYTES = 123  # of a close frame

T = TypeVar("T")


async def talk(socket: WebSocket, service: Service) -> None:
    """One client, from its request to its end."""
    try:
        async with service.place(client_of(socket.scope), lambda: _gone(socket)):
            await socket.accept()
            await _accepted(socket, service)
    except LeftError:
        return
    except Refusal as refusal:
        service.metrics.refused(refusal.kind.status)
        await socket.send_denial_response(refused(refusal))


async def _gone(socket: WebSocket) -> None:
    """Until a client that waits has left; it may not say anything yet."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _accepted(socket: WebSocket, service: Service) -> None:
    """It keeps its place until it has been told how it ended."""
    try:
        await _Dialogue(socket, service).run()
    except Refusal as refusal:
        service.metrics.refused(refusal.kind.status)
        service.metrics.ended(refusal.kind.name.lower())
        await _close(socket, refusal)
    except WebSocketDisconnect:
        service.metrics.ended("left")


class _Dialogue:
    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self._ended = False

    async def run(self) -> None:
        """Until all audio is given; WebSocketDisconnect where the client leaves before."""
        # One that never says what it wants is told too when the service ends.
        await self._service.unless_told(self._all())
        self._service.metrics.ended("finished")
        await self._socket.close()

    async def _all(self) -> None:
        stream = ClientStream(self._service, parsed(Output, await self._message()))
        try:
            begin = {"head": stream.head, "sample_rate": stream.sample_rate, "delay_seconds": stream.delay_seconds}
            await self._in_time(self._socket.send_text(json.dumps(begin)))
            await self._service.unless_told(self._speak(stream), self._listen(stream))
            await self._in_time(self._socket.send_text(json.dumps({"end": True, **asdict(stream.summary)})))
        finally:
            stream.close()

    async def _speak(self, stream: ClientStream) -> None:
        async for samples in stream.audio():
            await self._in_time(self._socket.send_bytes(samples))

    async def _listen(self, stream: ClientStream) -> None:
        while True:
            piece = parsed(Piece, await self._message())
            if self._ended:
                raise Refusal(Kind.BAD, 'a message after the one with "end": true')
            self._ended = piece.end
            stream.push(piece, ends=piece.end)

    async def _message(self) -> str | bytes:
        seconds = None if self._ended else self._service.bounds.idle_seconds
        try:
            message = await asyncio.wait_for(self._socket.receive(), seconds)
        except TimeoutError:
            raise Refusal(Kind.SLOW, f"nothing came for service.idle_seconds={seconds:g}") from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        return text if text is not None else bytes(message["bytes"])

    async def _in_time(self, sending: Coroutine[Any, Any, None]) -> None:
        seconds = self._service.bounds.stall_seconds
        try:
            await asyncio.wait_for(sending, seconds)
        except TimeoutError:
            raise Refusal(Kind.SLOW, f"nothing was taken for service.stall_seconds={seconds:g}") from None


async def _close(socket: WebSocket, refusal: Refusal) -> None:
    """Tell a client why, as far as it takes that."""
    reason = refusal.reason.encode()[:_MOST_REASON_BYTES].decode(errors="ignore")

    async def tell() -> None:
        await socket.send_text(json.dumps({"error": refusal.reason, "status": refusal.kind.status}))
        await socket.close(refusal.kind.code, reason)

    # One that takes nothing, or has gone, is left without a word: the server closes its connection.
    telling = asyncio.ensure_future(tell())
    await asyncio.wait({telling}, timeout=TELL_SECONDS)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
