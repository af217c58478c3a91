"""A server that ends as a command does, and the socket on which it listens."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from snac_exp.release.listening.address import require_free


class CommandServer(uvicorn.Server):
    """uvicorn's server, whose process is not ended by the signal once more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the process ends as a command does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in HANDLED_SIGNALS:
            loop.add_signal_handler(number, self.told, number)
        try:
            yield
        finally:
            for number in HANDLED_SIGNALS:
                loop.remove_signal_handler(number)

    def told(self, number: int) -> None:
        """A signal came."""
        self.handle_exit(number, None)


def listener_of(host: str, port: int, stall_seconds: float) -> socket.socket:
    """The socket that listens; connections whose other side takes nothing, or is no more, are ended by the system.

    Raises:
        ConfigError: the address cannot be bound.
    """
    require_free(host, port)
    family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A transport that is closed waits for what it has written to be taken, without end; the kernel does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * stall_seconds))
    listener.bind(place)
    listener.listen(128)
    return listener


def url_of(listener: socket.socket) -> str:
    """The address as a browser takes it."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
