"""The service on its address: connections bounded, requests guarded, and an end that open streams are told of."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from snac_exp.release.listening.address import require_free
from snac_exp.release.listening.connections import Connections, bound
from snac_exp.release.listening.guard import BodyBounds, Guard, hosts_of
from snac_exp.release.service.app import application
from snac_exp.release.service.key import KeyCheck
from snac_exp.release.service.shared import Service

LAST_SECONDS = 5.0  # for what is told at the end to be taken


@dataclass(frozen=True)
class Address:
    """Where the service is, and who may ask it.

    max_connections, header_seconds: as of `Connections`. key: that clients send, None: none.
    """

    host: str
    port: int
    max_connections: int
    header_seconds: float
    key: str | None


class Server(uvicorn.Server):
    """uvicorn's server, which lets open streams end first; a second signal ends them at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the service, then close."""
        await self._service.drain()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the process is not ended by the signal once more: it ends as a command does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in HANDLED_SIGNALS:
            loop.add_signal_handler(number, self._told, number)
        try:
            yield
        finally:
            for number in HANDLED_SIGNALS:
                loop.remove_signal_handler(number)

    def _told(self, number: int) -> None:
        if self.should_exit:
            self._service.tell()
        self.handle_exit(number, None)


def serve(service: Service, address: Address) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: the address cannot be bound.
    """
    server, listener = server_of(service, address), listener_of(address, service.bounds.stall_seconds)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}/health  (stop with Ctrl-C)", flush=True)
    server.run([listener])


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
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(LAST_SECONDS),
    )
    config.load()
    bound(config, Connections(address.max_connections, address.header_seconds))
    return Server(config, service)


def listener_of(address: Address, stall_seconds: float) -> socket.socket:
    """The socket that listens; connections whose other side takes nothing, or is no more, are ended by the system."""
    require_free(address.host, address.port)
    family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A transport that is closed waits for what it has written to be taken, without end; the kernel does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * stall_seconds))
    listener.bind(place)
    listener.listen(128)
    return listener
