"""Who may ask: those who send the key, where there is one."""

import hmac

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

OPEN = ("/health",)  # says nothing but that the service is there, and balancers of load have no key


class KeyCheck:
    """An ASGI application before another one: answers 401 to requests without `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app, self._wanted = app, None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._fits(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        answer = PlainTextResponse("send the key: Authorization: Bearer KEY", 401, {"WWW-Authenticate": "Bearer"})
        if scope["type"] == "websocket":
            await receive()
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _fits(self, headers: Headers) -> bool:
        if self._wanted is None:
            return True
        # In a time that does not tell how much of it was right.
        return hmac.compare_digest(headers.get("authorization", "").encode("latin-1"), self._wanted)
