"""The service of `snac-exp serve api=true` in a thread of the test's process, on loopback, and clients of it."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from websockets.sync.client import ClientConnection, connect

from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening.server import listener_of
from snac_exp.release.service.bounds import Bounds
from snac_exp.release.service.server import Address, Server, server_of
from snac_exp.release.service.shared import Service
from tests.helpers.browser import free_port
from tests.helpers.waiting import GUARD_SECONDS, until
from tests.lm.layouts.made import made

BOUNDS = Bounds(
    max_body_megabytes=0.2,
    body_seconds=GUARD_SECONDS,
    max_tokens=2000,
    max_seconds=20.0,
    max_streams=4,
    max_streams_per_client=None,
    max_queue=2,
    queue_seconds=GUARD_SECONDS,
    max_unsent_seconds=10.0,
    stall_seconds=600.0,
    idle_seconds=GUARD_SECONDS,
    open_seconds=GUARD_SECONDS,
    drain_seconds=0.0,
    tick_tokens=2,
    decoders=2,
)
SIZE = 64  # of a codebook of the tests' codecs


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body, of a refusal."""
        return self.body.decode()


@dataclass(frozen=True)
class Served:
    """A service that runs."""

    service: Service
    server: Server
    port: int

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, source: str = "127.0.0.1", **headers: str
    ) -> Answer:
        """One request. source: the address it comes from, any that begins with 127."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, GUARD_SECONDS, source_address=(source, 0))
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            found = connection.getresponse()
            return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def decode(self, **body: Any) -> Answer:
        """POST /decode."""
        return self.ask("POST", "/decode", json.dumps(body).encode())

    def metric(self, name: str) -> float:
        """The value of a line of /metrics."""
        lines = self.ask("GET", "/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def socket(self, **options: Any) -> ClientConnection:
        """A WebSocket to /stream."""
        options = {"open_timeout": GUARD_SECONDS, "proxy": None, "ping_interval": None} | options
        return connect(f"ws://127.0.0.1:{self.port}/stream", **options)


@contextmanager
def served(
    codec: ReleasedCodec, layout: str = "orpheus", key: str | None = None, entries: int = SIZE, **bounds: Any
) -> Iterator[Served]:
    """The service with these bounds; stopped in the end, its streams told at once."""
    service = Service(codec, made(layout, entries=entries), replace(BOUNDS, **bounds))
    address = Address("127.0.0.1", free_port(), 32, GUARD_SECONDS, key)
    server = server_of(service, address)
    thread = threading.Thread(
        target=server.run, args=([listener_of("127.0.0.1", address.port, service.bounds.stall_seconds)],)
    )
    thread.start()
    try:
        until(lambda: server.started, "the service is there")
        yield Served(service, server, address.port)
    finally:
        server.should_exit = True
        thread.join(GUARD_SECONDS)
        assert not thread.is_alive()


def codes_of(codec: ReleasedCodec, num_coarse: int, seed: int) -> list[list[int]]:
    """codes[i] (T_i,) as JSON takes them."""
    rng, geometry = np.random.default_rng(seed), codec.geometry
    lengths = [geometry.codebook_length(i, num_coarse) for i in range(geometry.num_codebooks)]
    return [rng.integers(SIZE, size=length).tolist() for length in lengths]


def part_of(codec: ReleasedCodec, codes: list[list[int]], start: int, num_coarse: int) -> list[list[int]]:
    """So many coarse tokens of codes[i]."""
    return [row[codec.geometry.codebook_slice(i, start, num_coarse)] for i, row in enumerate(codes)]


def expected(codec: ReleasedCodec, codes: list[list[int]], rate: int, seed: int) -> np.ndarray:
    """(N,) float32: what the codec decodes at once."""
    return codec.decode([torch.tensor(row) for row in codes], rate, seed=seed)[0, 0].numpy()


def assert_sounds(pcm: bytes, wanted: np.ndarray) -> None:
    """The same samples, to the last bit but one of 16."""
    found = np.frombuffer(pcm, "<i2")
    assert found.shape == wanted.shape
    assert np.abs(found - np.clip(wanted, -1, 1) * 32767).max() <= 1.001


def heard(socket: ClientConnection) -> tuple[bytes, dict[str, Any]]:
    """All audio up to the last line, and that line."""
    parts = []
    while isinstance(message := socket.recv(timeout=GUARD_SECONDS), bytes):
        parts.append(message)
    return b"".join(parts), json.loads(message)
