"""The service on its address: connections bounded, requests guarded, and an end that open streams are told of."""

import gc
import os
import socket
import sys
import threading
from dataclasses import dataclass

import uvicorn

from snac_exp.release.listening.connections import Connections, bound
from snac_exp.release.listening.guard import BodyBounds, Guard, hosts_of
from snac_exp.release.listening.server import CommandServer, listener_of, url_of
from snac_exp.release.listening.sockets import bound_sockets
from snac_exp.release.service.app import application
from snac_exp.release.service.key import KeyCheck
from snac_exp.release.service.shared import Service

LAST_SECONDS = 5.0  # for what is told at the end to be taken
END_SECONDS = 15.0  # behind the draining, within which the process has ended, however much comes


@dataclass(frozen=True)
class Address:
    """Where the service is, and who may ask it.

    max_connections: open beside those of streams, see `Connections`. header_seconds: as there. key: that clients send,
    None: none.
    """

    host: str
    port: int
    max_connections: int
    header_seconds: float
    key: str | None


class Server(CommandServer):
    """uvicorn's server, which lets open streams end first; a second signal ends them at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._last: list[threading.Timer] = []

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the service, then close."""
        await self._service.drain()
        await super().shutdown(sockets)

    def told(self, number: int) -> None:
        """A signal came."""
        draining = 0.0 if self.should_exit else self._service.bounds.drain_seconds
        self._last.append(end_after(draining + END_SECONDS))
        if self.should_exit:
            self._service.tell()
        super().told(number)

    def ended(self) -> None:
        """Nothing is served any more."""
        for timer in self._last:
            timer.cancel()


def end_after(seconds: float) -> threading.Timer:
    """End this process after so long, unless that is cancelled: a flood may keep the loop from ending by itself."""

    def end() -> None:
        print(f"ended {seconds:g} s after the signal, with what was still open", file=sys.stderr, flush=True)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def serve(service: Service, address: Address) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: the address cannot be bound.
    """
    listener = listener_of(address.host, address.port, service.bounds.stall_seconds)
    server = server_of(service, address)
    print(f"{url_of(listener)}/health  (stop with Ctrl-C)", flush=True)
    # What the program is made of stays: looked through with a client's many small lists, it would keep others waiting.
    gc.freeze()
    try:
        server.run([listener])
    finally:
        server.ended()
        gc.unfreeze()  # or libraries would find it in use at the end, and say so


def server_of(service: Service, address: Address) -> Server:
    """The server, which is not running."""
    body = BodyBounds(service.bounds.max_body_bytes, service.bounds.body_seconds, "service.max_body_megabytes")
    config = uvicorn.Config(
        Guard(KeyCheck(application(service), address.key), hosts_of(address.host), body),
        ws="websockets-sansio",
        ws_max_size=service.bounds.max_body_bytes,
        ws_per_message_deflate=False,  # a small message would become a large one
        log_level="error",  # no line for every request that is no HTTP
        loop="asyncio",  # see READ_BYTES
        http="h11",  # whatever else is installed
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(LAST_SECONDS),
    )
    config.load()
    # Those at work are bounded as streams, so that others always find a place to be told so.
    most = address.max_connections + service.bounds.max_streams + service.bounds.max_queue
    bound(config, Connections(most, address.header_seconds))
    bound_sockets(config)
    return Server(config, service)
