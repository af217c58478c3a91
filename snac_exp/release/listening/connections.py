"""Connections to the page, bounded: slow ones that never ask for anything would keep everyone else out.

uvicorn waits for the first line and the headers of a request for ever. Here a connection has some seconds for them, and
where there are too many, the oldest of those whose request has not come whole gives way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

MOST_HEADER_BYTES = 65_536
READ_BYTES = 4_096  # at a time: thousands of tiny frames of one connection are read by turns with the others'


@dataclass
class Connections:
    """All that are open: those that still owe a request, or a part of it, oldest first, and those at work.

    most: open at a time. seconds: for the headers of a request, from its first byte or the connection's begin.
    """

    most: int
    seconds: float
    _owing: dict[Any, Any] = field(default_factory=dict, init=False)
    _bytes: dict[Any, int] = field(default_factory=dict, init=False)

    def opened(self, connection: Any) -> None:
        """One was made; if it is one too many, the oldest that owes a request goes."""
        self._wait_for(connection)
        if len(self._bytes) > self.most:
            self._close(next(iter(self._owing)))

    def heard(self, connection: Any, num_bytes: int) -> None:
        """One has sent something, and its protocol has read it."""
        if connection.cycle is not None and not connection.cycle.response_complete:  # the headers have come
            if not connection.cycle.more_body:
                self._at_work(connection)
                return
            if connection not in self._owing:
                self._wait_for(connection)
            self._owing[connection].cancel()  # its body has a time of its own
        elif connection in self._bytes:
            if connection not in self._owing:
                self._wait_for(connection)
            self._bytes[connection] += num_bytes
            if self._bytes[connection] > MOST_HEADER_BYTES:
                self._close(connection)

    def closed(self, connection: Any) -> None:
        """One is gone, or is no longer of HTTP."""
        self._at_work(connection)
        self._bytes.pop(connection, None)

    def _wait_for(self, connection: Any) -> None:
        self._bytes[connection] = 0
        self._owing[connection] = connection.loop.call_later(self.seconds, self._close, connection)

    def _at_work(self, connection: Any) -> None:
        timer = self._owing.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _close(self, connection: Any) -> None:
        self.closed(connection)
        connection.transport.abort()  # what it has not read of an answer is not waited for either


@contextmanager
def plain_servers() -> Iterator[None]:
    """Within it a server of uvicorn that is made without a word about them has asyncio's loop and h11, whatever else is
    installed: of another loop READ_BYTES would not hold."""
    import uvicorn

    made = uvicorn.Config
    uvicorn.Config = partial(made, loop="asyncio", http="h11")  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        uvicorn.Config = made  # type: ignore[misc]


def bound(config: Any, connections: Connections) -> None:
    """Have the server of a uvicorn config count every connection that is made from now on."""
    protocol: Any = config.http_protocol_class

    class Bounded(protocol):  # type: ignore[misc]
        """uvicorn's protocol, which tells what happens to it."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if hasattr(transport, "max_size"):  # asyncio's own have it
                transport.max_size = READ_BYTES
            connections.opened(self)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            connections.heard(self, len(data))

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.closed(self)

        def handle_websocket_upgrade(self, *arguments: Any) -> None:
            connections.closed(self)
            super().handle_websocket_upgrade(*arguments)
            # Its headers are all there: a handshake that has not begun now, as after a POST, never does.
            if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
                self.transport.abort()

    config.http_protocol_class = Bounded
