"""What one client can make the service keep: mistakes, answers that nobody takes, sockets that do not close, places."""

import json
import logging
import socket
import struct
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from pydantic import ValidationError

from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening import sockets
from snac_exp.release.service.messages import Utterance, parsed
from snac_exp.release.service.refusal import Refusal
from snac_exp.release.service.server import Address, server_of
from snac_exp.release.service.shared import Service
from tests.helpers.service import BOUNDS, Served, codes_of, served
from tests.helpers.waiting import GUARD_SECONDS, until
from tests.lm.layouts.made import made

HANDSHAKE = (
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
)
GARBAGE = b"\x81\x81\x00\x00\x00\x00x"  # a text message, masked


def connected(service: Served, sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=GUARD_SECONDS)
    connection.sendall(sent)
    return connection


def talking_garbage(service: Served) -> socket.socket:
    """A WebSocket that says something, and never that it closes."""
    connection = connected(service, HANDSHAKE)
    hear(connection, b"\r\n\r\n")
    connection.sendall(GARBAGE)
    return connection


def hear(connection: socket.socket, awaited: bytes) -> None:
    """All that comes until this has come."""
    heard = b""
    while awaited not in heard:
        piece = connection.recv(1000)
        assert piece, f"closed before {awaited!r}: {heard!r}"
        heard += piece


def wait_for_end(connection: socket.socket) -> None:
    """TimeoutError where the service does not end it."""
    with suppress(ConnectionResetError):  # an end, too
        while connection.recv(1000):
            pass


@pytest.mark.parametrize("body", [{"ids": [""] * 1000}, {"ids": [[""] * 1000] * 2}, {"codes": [1] * 1000}])
def test_a_list_of_mistakes_is_read_up_to_the_first(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Utterance.model_validate_json(json.dumps(body))
    assert caught.value.error_count() <= 2  # of each form that was tried


def test_of_many_mistakes_only_the_number_is_told() -> None:
    with pytest.raises(Refusal, match="the message has 200 mistakes"):
        parsed(Utterance, json.dumps({f"key {number}": 1 for number in range(200)}))
    with pytest.raises(Refusal, match="head: String should have at most 200 characters, not 'aaa"):
        parsed(Utterance, json.dumps({"head": "a" * 100_000}))


@pytest.fixture
def protocol(codec: ReleasedCodec) -> Any:
    """A WebSocket's end in the service, on a transport that notes what is asked of it."""
    service = Service(codec, made("orpheus", entries=64), BOUNDS)
    config = server_of(service, Address("127.0.0.1", 1, 1, 1.0, None)).config
    kind: Any = config.ws_protocol_class
    made_one = kind(config, SimpleNamespace(connections=set(), tasks=set(), default_headers=[]), {}, Mock())
    made_one.transport = Mock()
    return made_one


def test_pings_of_one_that_takes_nothing_are_answered_once(protocol: Any) -> None:
    pongs = [[b"1"], [b"2", b"3"], []]
    protocol.conn = SimpleNamespace(data_to_send=lambda: pongs.pop(0))
    protocol.pause_writing()
    for _ in range(3):
        protocol.handle_ping()
    protocol.transport.write.assert_not_called()
    protocol.resume_writing()
    protocol.transport.write.assert_called_once_with(b"3")


def test_a_message_has_so_many_fragments_and_no_more(protocol: Any) -> None:
    empty = SimpleNamespace(data=b"", fin=False)
    for _ in range(sockets.MOST_FRAGMENTS):
        protocol.handle_cont(empty)
    protocol.transport.abort.assert_not_called()
    protocol.handle_cont(empty)
    protocol.transport.abort.assert_called_once()
    assert len(protocol.frames) == sockets.MOST_FRAGMENTS


def test_text_that_is_none_fills_no_log(protocol: Any) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]
    protocol.logger.addHandler(handler)
    protocol.conn, protocol.curr_msg_data_type = Mock(data_to_send=lambda: []), "text"
    protocol.frames = [b"\xff"]
    protocol.send_receive_event_to_app()
    protocol.conn.send_close.assert_called_once_with(1007)
    protocol.logger.error("ASGI callable returned without completing handshake.")  # after a refusal
    assert records == []
    protocol.logger.error("Exception in ASGI application")
    protocol.logger.removeHandler(handler)
    assert len(records) == 1


@pytest.mark.slow
def test_sockets_that_were_told_to_close_and_stay_give_way(
    codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "CLOSE_SECONDS", GUARD_SECONDS)
    monkeypatch.setattr(sockets, "MOST_CLOSING", 1)
    with served(codec) as service, talking_garbage(service) as first:
        hear(first, struct.pack("!H", 1007))  # of a close frame
        with talking_garbage(service) as second:
            wait_for_end(first)
            hear(second, struct.pack("!H", 1007))  # the newer one is still answered


@pytest.mark.slow
def test_one_that_leaves_while_it_waits_leaves_its_place_in_the_queue(codec: ReleasedCodec) -> None:
    body = json.dumps({"codes": codes_of(codec, 1, 1)}).encode()
    request = b"POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with served(codec, max_streams=1, max_queue=1) as service, service.socket() as holder:
        holder.send("{}")
        holder.recv()
        for sent in (request, HANDSHAKE):
            waiting = connected(service, sent)
            until(lambda: service.metric("snac_exp_streams_waiting") == 1, "it waits")
            waiting.close()
            until(lambda: service.metric("snac_exp_streams_waiting") == 0, "it has left")
        assert service.service.num_open == 1
