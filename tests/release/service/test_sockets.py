"""WebSocket /stream of a real server on loopback: audio while tokens come, and whatever else comes is told."""

import contextlib
import json
import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.text import text_of_ids
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening.connections import READ_BYTES
from tests.helpers.service import Served, assert_sounds, codes_of, expected, heard, part_of, served
from tests.helpers.waiting import GUARD_SECONDS, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def service(codec: ReleasedCodec) -> Iterator[Served]:
    with served(codec, max_streams=8) as found:
        yield found


def told(client: ClientConnection) -> tuple[int, dict[str, Any]]:
    """The close code, and the last line before it; audio is passed over."""
    last: dict[str, Any] = {}
    try:
        while True:
            message = client.recv(timeout=GUARD_SECONDS)
            last = json.loads(message) if isinstance(message, str) else last
    except ConnectionClosed as closed:
        return (1006 if closed.rcvd is None else closed.rcvd.code), last


def say(client: ClientConnection, *messages: str | bytes) -> None:
    """Send what the service still takes: it may have closed before the last one, and `told` says why."""
    with contextlib.suppress(ConnectionClosed):
        for message in messages:
            client.send(message)


def begun(service: Served, **output: Any) -> ClientConnection:
    client = service.socket()
    client.send(json.dumps(output))
    assert json.loads(client.recv(timeout=GUARD_SECONDS))["delay_seconds"] > 0
    return client


def test_tokens_come_one_by_one_and_audio_comes_before_the_last(service: Served, codec: ReleasedCodec) -> None:
    codes = codes_of(codec, 8, 1)
    text = text_of_ids(ids_of_codes(codes, service.service.layout)[0], service.service.layout)
    with service.socket() as client:
        client.send(json.dumps({"sample_rate": 24_000, "seed": 5}))
        begin = json.loads(client.recv())
        assert (begin["head"], begin["sample_rate"]) == ("head_24k", 24_000)
        half = len(text) // 2 + 3  # within a token
        client.send(json.dumps({"text": text[:half]}))
        early = client.recv(timeout=GUARD_SECONDS)
        assert isinstance(early, bytes)
        for start in range(half, len(text), 25):
            client.send(json.dumps({"text": text[start : start + 25]}))
        client.send(json.dumps({"end": True}))
        rest, end = heard(client)
        assert_sounds(early + rest, expected(codec, codes, 24_000, 5))
        assert end == {
            "end": True, "frames": 8, "seconds": pytest.approx(8 * codec.geometry.coarse_hop / 24_000, abs=1e-6),
            "dropped_ids": 0, "num_gaps": 0, "gaps": [],
        }  # fmt: skip
        assert told(client)[0] == 1000


def test_many_at_once_never_hear_each_other(service: Served, codec: ReleasedCodec) -> None:
    def one(number: int) -> None:
        rng, codes, rate = random.Random(number), codes_of(codec, 6, number), (24_000, 48_000)[number % 2]
        with begun(service, sample_rate=rate, seed=number) as client:
            place = 0
            while place < 6:
                size = rng.randint(1, 3)
                client.send(json.dumps({"codes": part_of(codec, codes, place, size), "end": place + size >= 6}))
                place += size
            assert_sounds(heard(client)[0], expected(codec, codes, rate, number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))


@pytest.mark.parametrize(
    ("messages", "code", "error"),
    [
        ([b"\x00\xff\xfe garbage"], 1007, "no JSON"),
        (["[]"], 1007, "Input should be"),
        (['{"head": "head_96k"}'], 1007, "no head 'head_96k'"),
        (["{}", b"\x80" * 1000], 1007, "no JSON"),
        (["{}", '{"ids": [128266, 1]}'], 1007, "position 1: id 1, text"),
        (["{}", '{"codes": [[64], [], []]}'], 1007, "codebook 0, position 0: code 64"),
        (["{}", '{"ids": [1e400]}'], 1007, "ids[0]"),
        (["{}", '{"codes": [[1], [], []], "end": true}'], 1007, "ends within a step"),
        (["{}", '{"end": true}', '{"end": true}'], None, ""),
        (["{}", json.dumps({"ids": [128266] * 2001})], 1009, "service.max_tokens=2000"),
        (["{}", "x" * 300_000], 1009, ""),
    ],
)
def test_garbage_is_told_and_closed(service: Served, messages: list[str | bytes], code: int | None, error: str) -> None:
    with service.socket() as client:
        say(client, *messages)
        found, last = told(client)
    if code is None:  # whether the second end comes before the stream has ended
        assert found in (1000, 1007)
    else:
        assert (found, error in last.get("error", "")) == (code, True)
    until(lambda: service.service.num_open == 0, "its place is free")


def test_frames_that_break_the_protocol_end_that_connection_alone(service: Served, codec: ReleasedCodec) -> None:
    broken = (
        b"\xff" * 64,  # reserved bits
        b"\x81\x05hello",  # not masked
        b"\x81\xfe\xff\xff" + b"\x00" * 40,  # longer than what comes
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # no UTF-8
        b"\x89\xfe\x00\xff" + b"\x00" * 300,  # a ping that is too long
        b"\x81\xff\x7f" + b"\xff" * 7 + b"\x00" * 4,  # nearly without end
        b"\x00\x80\x00\x00\x00\x00",  # goes on with nothing
    )
    with begun(service, seed=1, sample_rate=24_000) as bystander:
        for frame in broken:
            client = service.socket()
            client.socket.sendall(frame)
            client.socket.close()
        codes = codes_of(codec, 3, 3)
        bystander.send(json.dumps({"codes": codes, "end": True}))
        assert_sounds(heard(bystander)[0], expected(codec, codes, 24_000, 1))
    until(lambda: service.service.num_open == 0, "their places are free")


def test_clients_that_vanish_leave_nothing(service: Served, codec: ReleasedCodec) -> None:
    """Closed, reset, and gone in the middle of a message."""
    codes = codes_of(codec, 20, 1)
    for how in ("close", "reset", "middle"):
        client = begun(service)
        client.send(json.dumps({"codes": codes}))
        if how == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "middle":
            client.socket.sendall(b"\x81\xfe\x10\x00\x00\x00\x00\x00{")
        client.socket.close()
        until(lambda: service.service.num_open == 0, "its place is free")
        until(lambda: service.service.num_decoding == 0, "its stream has left")
    with begun(service, seed=1, sample_rate=24_000) as next_one:
        next_one.send(json.dumps({"codes": codes, "end": True}))
        assert_sounds(heard(next_one)[0], expected(codec, codes, 24_000, 1))


def test_one_that_says_nothing_is_closed(codec: ReleasedCodec) -> None:
    with served(codec, idle_seconds=0.05) as service:
        for messages in ((), ("{}",), ("{}", json.dumps({"codes": codes_of(codec, 1, 1)}))):
            with service.socket() as client:
                say(client, *messages)
                assert told(client) == (1008, {"error": "nothing came for service.idle_seconds=0.05", "status": 408})


def test_one_that_says_nothing_in_many_words_is_closed_too(codec: ReleasedCodec) -> None:
    with served(codec, open_seconds=0.1) as service, service.socket() as client:
        say(client, *["{}"] * 20)
        assert told(client) == (1008, {"error": "open for more than service.open_seconds=0.1", "status": 408})


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_a_handshake_that_cannot_begin_is_no_open_door(service: Served, method: bytes) -> None:
    """It is counted with no other connection, so it must not stay."""
    head = b"Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=GUARD_SECONDS) as client:
        client.sendall(method + b" /stream HTTP/1.1\r\n" + head + b"Sec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n")
        heard = b""
        with contextlib.suppress(ConnectionResetError):  # an end, too
            while piece := client.recv(1000):
                heard += piece
        assert b" 101 " not in heard


def test_a_flood_of_tiny_frames_is_read_by_turns_with_the_others(service: Served, codec: ReleasedCodec) -> None:
    with begun(service) as client:
        client.socket.sendall(b"\x89\x80\x00\x00\x00\x00" * 20_000)
        assert {item.transport.max_size for item in service.server.server_state.connections.copy()} == {READ_BYTES}
        assert service.decode(codes=codes_of(codec, 1, 1)).status == 200


def test_one_that_takes_nothing_is_left_and_its_connection_ends(codec: ReleasedCodec) -> None:
    """The server has its place and its socket back, though nothing that was written is ever read."""
    bounds = {"stall_seconds": 0.3, "max_unsent_seconds": 200.0, "max_tokens": 20_000, "max_seconds": 200.0}
    with (
        served(codec, **bounds) as service,
        deaf_socket(service.port) as deaf,
        service.socket(sock=deaf, close_timeout=0.1) as client,
    ):
        client.send("{}")
        until(lambda: service.service.num_decoding == 1, "its stream is open")
        say(client, *[json.dumps({"codes": codes_of(codec, 250, 1)})] * 4)
        until(lambda: service.service.num_decoding == 0, "it is left")
        until(lambda: service.service.num_open == 0, "its place is free")
        # By the service or by the system, whose clocks are set alike.
        ended = (service.metric(f'snac_exp_streams_ended_total{{how="{how}"}}') for how in ("slow", "left"))
        assert sum(ended) == 1
        until(lambda: not service.server.server_state.connections, "its connection is gone")


def deaf_socket(port: int) -> socket.socket:
    """A connection that takes little beyond what is read of it."""
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect(("127.0.0.1", port))
    return deaf


def test_another_page_and_one_without_the_key_do_not_get_in(service: Served, codec: ReleasedCodec) -> None:
    with pytest.raises(InvalidStatus) as caught:
        service.socket(origin="http://evil.example")
    assert caught.value.response.status_code == 403
    key = "a key of some length"
    with served(codec, key=key) as closed:
        with pytest.raises(InvalidStatus) as caught:
            closed.socket()
        assert caught.value.response.status_code == 401
        with closed.socket(additional_headers={"Authorization": f"Bearer {key}"}) as client:
            client.send("{}")
            assert isinstance(client.recv(timeout=GUARD_SECONDS), str)


def test_one_too_many_is_told_before_it_begins(codec: ReleasedCodec) -> None:
    with served(codec, max_streams=1, max_queue=0) as service, begun(service):
        with pytest.raises(InvalidStatus) as caught:
            service.socket()
        assert caught.value.response.status_code == 429
        assert b"service.max_streams=1" in caught.value.response.body
