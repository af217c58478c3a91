"""The routes of the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from snac_exp import __version__
from snac_exp.release.service.answers import AudioResponse, refused
from snac_exp.release.service.dialogue import talk
from snac_exp.release.service.messages import Utterance, parsed
from snac_exp.release.service.refusal import Kind, Refusal
from snac_exp.release.service.shared import Service


def application(service: Service) -> FastAPI:
    """The ASGI application; its decoder runs from its start to its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    # Without pages that load scripts from elsewhere; /openapi.json describes the same.
    app = FastAPI(title="snac_exp", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    body = {"required": True, "content": {"application/json": {"schema": Utterance.model_json_schema()}}}

    @app.post("/decode", openapi_extra={"requestBody": body}, response_class=Response)
    async def decode(request: Request) -> Response:
        """A whole utterance to audio."""
        try:
            return AudioResponse(service, parsed(Utterance, await _body(request, service)))
        except ClientDisconnect:
            return refused(Refusal(Kind.BAD, "the body ended before its end"))
        except Refusal as refusal:
            service.metrics.refused(refusal.kind.status)
            return refused(refusal)

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        await talk(socket, service)

    @app.get("/health")
    async def health() -> JSONResponse:
        """200 while streams are taken, 503 otherwise."""
        return JSONResponse(_state(service), 200 if service.is_well else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts in Prometheus' text format."""
        return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    @app.exception_handler(HTTPException)
    async def in_words(_: Request, error: HTTPException) -> Response:
        """Refusals of the framework as one line, like ours."""
        return PlainTextResponse(error.detail, error.status_code, error.headers)

    return app


async def _body(request: Request, service: Service) -> bytes:
    """Of a request; Refusal where the service ends before it has come."""
    found = b""

    async def read() -> None:
        nonlocal found
        found = await request.body()

    await service.unless_told(read())
    return found


def _state(service: Service) -> dict[str, Any]:
    status = "ok" if service.is_well else "closing" if service.is_closing else "broken"
    return {"status": status, "codec": service.codec.name, "layout": service.layout.name, "heads": service.codec.heads}
