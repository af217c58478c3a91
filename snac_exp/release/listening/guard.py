"""What stands before page and service: requests that other pages make through a listener's browser, and endless ones.

A page elsewhere can have a browser send forms here, and, once its name resolves to this machine, anything. Both show in
the headers that browsers set themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MOST_WAIT_SECONDS = 60.0  # for the next piece of a request's body
REST_WAIT_SECONDS = 1.0  # for the next piece of one that is refused
REST_SECONDS = 10.0  # for all of them
FORM_BYTES = 1_000_000  # of a request, beside the upload in it

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class _TooLongError(Exception):
    """The body is larger, or comes more slowly, than is taken."""


@dataclass(frozen=True)
class BodyBounds:
    """What the body of a request may be.

    most_bytes: of it. seconds: for all of it to come. key: of the config that sets most_bytes, for messages.
    """

    most_bytes: int
    seconds: float
    key: str


class Guard:
    """An ASGI application before another one: it answers itself what must not reach that.

    hosts: names under which the page may be asked for; none: any.
    """

    def __init__(self, app: App, hosts: Iterable[str], body: BodyBounds) -> None:
        self._app, self._hosts, self._body = app, frozenset(hosts), body

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in scope["headers"]}
        origins = [
            bytes(value).decode("latin-1") for name, value in scope["headers"] if bytes(name).lower() == b"origin"
        ]
        if (reason := self._stranger(headers.get(b"host", ""), origins)) is not None:
            await self._refuse(scope, receive, send, 403, reason)
            return
        length = headers.get(b"content-length", "0")
        if not _is_at_most(length, self._body.most_bytes):
            await self._refuse(scope, receive, send, 413, f"the body is larger than {self._body.key}=")
            return
        await self._limited(scope, receive, send)

    def _stranger(self, asked: str, origins: Sequence[str]) -> str | None:
        """Why a request of this host and these origins is none of a listener's."""
        if self._hosts and _host_of(asked) not in self._hosts:
            return "this page is for this machine; serve it with host=ADDRESS to open it to others"
        if any(_parts(origin).netloc.lower() != asked.lower() for origin in origins):
            return "another page asks for this one"
        return None

    async def _refuse(self, scope: Message, receive: Receive, send: Send, status: int, reason: str) -> None:
        """Answer, and end the connection once its body is taken: one that is closed with bytes unread is reset.

        A client would then lose the answer.
        """
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._drain(receive)
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": reason.encode()})

    async def _drain(self, receive: Receive) -> None:
        """Take the body of what is refused, as much as of an upload and its form: many clients read no answer before
        all is sent."""
        left, more, end = self._body.most_bytes + FORM_BYTES, True, _now() + REST_SECONDS
        while more and left > 0:
            try:
                message = await asyncio.wait_for(receive(), min(REST_WAIT_SECONDS, end - _now()))
            except TimeoutError:
                return
            left -= len(message.get("body", b""))
            more = message["type"] == "http.request" and bool(message.get("more_body"))

    async def _limited(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on whose body is counted as it comes."""
        taken, answered, too_long, end = 0, False, False, _now() + self._body.seconds

        async def counted() -> Message:
            nonlocal taken, too_long
            if taken < 0:  # all of it has come: what is awaited now is the listener's leaving
                return await receive()
            try:
                # Pieces that come one by one, each in time, would otherwise hold a request open for days.
                message = await asyncio.wait_for(receive(), min(MOST_WAIT_SECONDS, end - _now()))
            except TimeoutError:
                too_long = True
                raise _TooLongError from None
            taken += len(message.get("body", b""))
            if taken > self._body.most_bytes:
                too_long = True
                raise _TooLongError
            if message["type"] != "http.request" or not message.get("more_body"):
                taken = -1
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            if too_long and not answered:
                return  # what applications make of an exception is no answer to this
            answered = True
            await send(message)

        try:
            await self._app(scope, counted if scope["type"] == "http" else receive, noted)
        except Exception:
            if answered or not too_long:
                raise
        if too_long and not answered:
            reason = f"the body is larger than {self._body.key}=, or does not come"
            await self._refuse(scope, receive, send, 413, reason)


def hosts_of(host: str) -> tuple[str, ...]:
    """The names under which a page that is bound to an address may be asked for; none: any, it is open to others."""
    return (*LOOPBACK, host.lower()) if host.lower() in LOOPBACK or host.startswith("127.") else ()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_at_most(length: str, most: int) -> bool:
    """Whether a Content-Length is a number up to this one; one of thousands of digits is not even converted."""
    return length.isascii() and length.isdigit() and len(length.lstrip("0")) <= 19 and int(length) <= most


def _host_of(asked: str) -> str | None:
    """The name in a Host that is a name and perhaps a port; None of anything else."""
    parts = _parts(f"//{asked}")
    return parts.hostname if parts.netloc == asked and "@" not in asked else None


def _parts(address: str) -> SplitResult:
    try:
        found = urlsplit(address)
        _ = found.hostname
    except ValueError:  # as of brackets that nothing closes
        return urlsplit("")
    return found
