"""Who asks, and who may: those who send the key, where there is one."""

import base64
import binascii
import hmac
import ipaddress

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

OPEN = ("/health",)  # says nothing but that the service is there, and balancers of load have no key


class KeyCheck:
    """An ASGI application before another one: answers 401 to requests without `Authorization: Bearer KEY`.

    browsers: they ask their user for a name, which is free, and the key as its password (RFC 7617).
    """

    def __init__(self, app: ASGIApp, key: str | None, *, browsers: bool = False) -> None:
        self._app, self._wanted = app, None if key is None else f"Bearer {key}".encode()
        self._browsers = browsers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._fits(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        scheme = 'Basic realm="snac_exp: any name, and the key as password"' if self._browsers else "Bearer"
        answer = PlainTextResponse("send the key: Authorization: Bearer KEY", 401, {"WWW-Authenticate": scheme})
        if scope["type"] == "websocket":
            await receive()
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _fits(self, headers: Headers) -> bool:
        if self._wanted is None:
            return True
        sent = headers.get("authorization", "").encode("latin-1")
        # In a time that does not tell how much of it was right.
        return hmac.compare_digest(_as_bearer(sent) if self._browsers else sent, self._wanted)


def client_of(scope: Scope) -> str:
    """Who asks: an IPv4 address, or the network of 64 bits of an IPv6 address, all of which one client has."""
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return str(ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False))


def _as_bearer(sent: bytes) -> bytes:
    """`Basic …` of any name as `Bearer KEY`; anything else as it is."""
    scheme, _, credentials = sent.partition(b" ")
    if scheme.lower() != b"basic":
        return sent
    try:
        return b"Bearer " + base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return sent
