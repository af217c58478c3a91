"""What a client is told: one line, with a status over HTTP and a close code over WebSocket."""

from enum import Enum


class Kind(Enum):
    """Why: (HTTP status, WebSocket close code)."""

    BAD = (400, 1007)  # what was sent means nothing here
    TOO_LARGE = (413, 1009)
    CROWDED = (429, 1013)  # too many wait already
    BUSY = (503, 1013)  # no place came free in time
    CLOSING = (503, 1012)
    SLOW = (408, 1008)  # nothing was sent, or taken, for too long
    BROKEN = (500, 1011)  # a defect of ours

    @property
    def status(self) -> int:
        """Of an HTTP response."""
        return self.value[0]

    @property
    def code(self) -> int:
        """Of a WebSocket's close."""
        return self.value[1]


class Refusal(Exception):  # noqa: N818 (what it is to the client; not all are errors)
    """A request or stream that does not go on. reason: one line for the client, without anything of this machine."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason
