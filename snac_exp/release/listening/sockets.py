"""WebSockets, bounded: what is kept for one that takes nothing, and how long one that was told to go may stay.

uvicorn answers every ping at once, whether or not its answers are taken, waits for the other side to close, and writes
a traceback for each text that is no UTF-8.
"""

import logging
from typing import Any

CLOSE_SECONDS = 2.0  # for the other side to close, once it was told to
MOST_CLOSING = 64  # that were told to; one more ends the oldest
_OF_CLIENTS = ("UTF-8", "without completing handshake")  # messages about text that is none, and about each refusal
MOST_FRAGMENTS = 4096  # of a message: empty ones are of no size, and have no end


def bound_sockets(config: Any) -> None:
    """Have the server of a uvicorn config, which is loaded and has ws="websockets-sansio", keep these bounds."""
    protocol: Any = config.ws_protocol_class
    closing: dict[Any, None] = {}
    logger = logging.getLogger("uvicorn.error.websockets")
    logger.setLevel(logging.ERROR)
    logger.addFilter(_is_ours)

    class Bounded(protocol):  # type: ignore[misc]
        """uvicorn's protocol, which keeps little."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.logger = logger
            self.close_timeout = CLOSE_SECONDS
            self._pong = b""

        def handle_ping(self) -> None:
            """Of pings that came while nothing was taken only the last is answered, as RFC 6455 (5.5.3) allows."""
            if self.writable.is_set():
                super().handle_ping()
            else:
                self._pong = (self.conn.data_to_send() or [self._pong])[-1]

        def handle_cont(self, event: Any) -> None:
            if len(self.frames) < MOST_FRAGMENTS:
                super().handle_cont(event)
            else:
                self.transport.abort()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._pong and not self.close_sent:
                self.transport.write(self._pong)
            self._pong = b""

        async def send(self, message: Any) -> None:
            await super().send(message)
            if self.close_sent and not self.disconnected:
                closing[self] = None
                if len(closing) > MOST_CLOSING:
                    oldest = next(iter(closing))
                    del closing[oldest]
                    oldest.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            closing.pop(self, None)
            super().connection_lost(exc)

    config.ws_protocol_class = Bounded


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a message is about this program, and not about what a client sent."""
    return not any(words in str(record.msg) for words in _OF_CLIENTS)
