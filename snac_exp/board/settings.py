"""The keys of conf/board.yaml."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BoardSettings:
    """Where the board is, how often the runs are looked at, and what is taken of those who look.

    max_connections, header_seconds: as of `Connections`. max_body_bytes: of a request; the page sends none.
    """

    host: str
    port: int
    every_seconds: float
    max_connections: int
    header_seconds: float
    max_body_bytes: int
