"""POST /decode: a whole utterance in, its audio out while it is decoded."""

import asyncio
import io
import json
import wave
from collections.abc import Mapping

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from snac_exp.release.service.key import client_of
from snac_exp.release.service.messages import Utterance
from snac_exp.release.service.refusal import Kind, Refusal
from snac_exp.release.service.shared import LeftError, Service
from snac_exp.release.service.streams import ClientStream

RETRY_SECONDS = 1
_MEDIA = {"wav": "audio/wav", "pcm": "audio/pcm"}


def refused(refusal: Refusal) -> Response:
    """The answer that says so."""
    later = refusal.kind in (Kind.CROWDED, Kind.BUSY, Kind.CLOSING)
    headers = {"Retry-After": str(RETRY_SECONDS)} if later else None
    return PlainTextResponse(refusal.reason, refusal.kind.status, headers)


class AudioResponse(Response):
    """Takes a place, decodes, and sends as the client takes it.

    A WAV file has its length in front, so one that was cut off shows; PCM comes in chunks, and one that was cut off has
    no last chunk. What `resync` dropped stands in the headers.
    """

    def __init__(self, service: Service, utterance: Utterance) -> None:
        super().__init__()
        self._service, self._utterance = service, utterance
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            async with self._service.place(client_of(scope), lambda: _gone(receive)):
                stream = ClientStream(self._service, self._utterance)
                try:
                    await self._decoded(stream, receive, send)
                finally:
                    stream.close()
        except LeftError:
            return
        except Refusal as refusal:
            self._service.metrics.refused(refusal.kind.status)
            # Where the audio has begun, the server closes the connection on an answer that is not whole.
            if not self._begun:
                await refused(refusal)(scope, receive, send)

    async def _decoded(self, stream: ClientStream, receive: Receive, send: Send) -> None:
        # In a thread: a long list takes a while to read, and others are served meanwhile.
        await asyncio.to_thread(stream.push, self._utterance, ends=True)
        if not stream.num_samples:
            raise Refusal(Kind.BAD, "there are no whole frames of codes to decode")
        how = "left"

        async def send_all() -> None:
            nonlocal how
            await self._send(stream, send)
            how = "finished"

        try:
            await self._service.unless_told(send_all(), _gone(receive))
        except Refusal as refusal:
            how = refusal.kind.name.lower()
            raise
        finally:
            self._service.metrics.ended(how)

    async def _send(self, stream: ClientStream, send: Send) -> None:
        audio = stream.audio()
        # The first audio decides between an answer and an error.
        samples = await anext(audio, b"")
        headers = self._described(stream)
        self._begun = True
        await send({"type": "http.response.start", "status": 200, "headers": _raw(headers)})
        if self._utterance.format == "wav":
            samples = wav_header(stream.num_samples, stream.sample_rate) + samples
        await self._send_in_time(send, samples)
        async for more in audio:
            await self._send_in_time(send, more)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _described(self, stream: ClientStream) -> dict[str, str]:
        summary = stream.summary
        headers = {
            "content-type": _MEDIA[self._utterance.format],
            "x-sample-rate": str(stream.sample_rate),
            "x-head": stream.head,
            "x-seconds": f"{summary.seconds:g}",
            "x-dropped-ids": str(summary.dropped_ids),
        }
        if self._utterance.format == "wav":
            size = len(wav_header(0, stream.sample_rate)) + 2 * stream.num_samples
            headers["content-length"] = str(size)
        if summary.gaps:
            headers["x-gaps"] = json.dumps({"gaps": summary.num_gaps, "first": summary.gaps})
        return headers

    async def _send_in_time(self, send: Send, samples: bytes) -> None:
        seconds = self._service.bounds.stall_seconds
        try:
            await asyncio.wait_for(send({"type": "http.response.body", "body": samples, "more_body": True}), seconds)
        except TimeoutError:
            raise Refusal(Kind.SLOW, f"nothing was taken for service.stall_seconds={seconds:g}") from None


def wav_header(num_samples: int, sample_rate: int) -> bytes:
    """What stands before the samples of a mono WAV file of 16 bit."""
    file = io.BytesIO()
    writer = wave.open(file, "wb")  # noqa: SIM115 (closing it would set the number back to that of the samples so far)
    writer.setnchannels(1)
    writer.setsampwidth(2)
    writer.setframerate(sample_rate)
    writer.setnframes(num_samples)
    writer.writeframesraw(b"")
    return file.getvalue()


async def _gone(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1", "backslashreplace")) for name, value in headers.items()]
