"""POST /decode, /health and /metrics of a real server on loopback: what is right sounds right, the rest is told."""

import io
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import soundfile
from websockets.exceptions import InvalidStatus

from snac_exp.errors import ConfigError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.sequence import spoken_ids
from snac_exp.lm.layouts.text import text_of_ids
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening.address import VARIABLE, key_of_environment
from snac_exp.release.service.key import client_of
from tests.helpers.service import BOUNDS, Served, assert_sounds, codes_of, expected, served
from tests.helpers.waiting import GUARD_SECONDS, until

pytestmark = pytest.mark.slow
KEY = "a key of some length"


@pytest.fixture(scope="module")
def service(codec: ReleasedCodec) -> Iterator[Served]:
    with served(codec) as found:
        yield found


def test_one_utterance_in_every_form_and_at_every_output(service: Served, codec: ReleasedCodec) -> None:
    codes = codes_of(codec, 5, 1)
    ids = spoken_ids(ids_of_codes(codes, service.service.layout)[0], service.service.layout)
    forms: list[dict[str, Any]] = [
        {"codes": codes},
        {"ids": ids.tolist()},
        {"text": text_of_ids(ids, service.service.layout)},
    ]
    for form, output, rate in zip(
        forms, ({"sample_rate": 24_000}, {"head": "head_48k"}, {}), (24_000, 48_000, 48_000), strict=True
    ):
        wav = service.decode(**form, **output, seed=3)
        samples, found = soundfile.read(io.BytesIO(wav.body), dtype="int16")
        assert (wav.status, found, wav.headers["content-type"]) == (200, rate, "audio/wav")
        assert_sounds(samples.tobytes(), expected(codec, codes, rate, 3))
        pcm = service.decode(**form, **output, seed=3, format="pcm")
        assert (pcm.status, pcm.headers["transfer-encoding"], pcm.headers["x-sample-rate"]) == (
            200,
            "chunked",
            str(rate),
        )
        assert_sounds(pcm.body, expected(codec, codes, rate, 3))
        assert pcm.headers["x-seconds"] == f"{5 * codec.geometry.coarse_hop / 24_000:g}"


def test_what_resync_drops_stands_in_the_headers(service: Served, codec: ReleasedCodec) -> None:
    ids = ids_of_codes(codes_of(codec, 4, 1), service.service.layout)[0].tolist()
    answer = service.decode(ids=[*ids[:7], 128263, *ids[8:]], mode="resync")
    assert (answer.status, answer.headers["x-dropped-ids"]) == (200, "7")
    gaps = json.loads(answer.headers["x-gaps"])
    assert gaps["gaps"] == 1
    assert gaps["first"][0].startswith("position 7, after 1 frames: 7 ids dropped")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "no JSON"),
        (b"\x00\xff" * 50, 400, "no JSON"),
        (b'{"codes": [[64], [0, 0], [0, 0, 0, 0]]}', 400, "codebook 0, position 0: code 64"),
        (b'{"codes": [[1], [0, 0], [0, 0]]}', 400, "ends within a step"),
        (b'{"ids": [128266, 7]}', 400, "position 1: id 7, text, where layout orpheus"),
        (b'{"text": "no token at all"}', 400, "no whole frames"),
        (b'{"ids": [128266], "head": "head_96k"}', 400, "no head 'head_96k'"),
        (b'{"ids": [' + b"128266, " * 3000 + b"128266]}", 413, "service.max_tokens=2000"),
        (b'{"ids": [' + b"128266, " * 60_000 + b"128266]}", 413, "service.max_body_megabytes="),
        (json.dumps({"codes": [[0] * 280, [0] * 560, [0] * 1120]}).encode(), 413, "service.max_seconds=20"),
    ],
)
def test_what_is_refused_says_why_in_one_line(service: Served, body: bytes, status: int, text: str) -> None:
    answer = service.ask("POST", "/decode", body)
    assert answer.status == status
    assert text in answer.text
    assert "\n" not in answer.text


def test_other_pages_and_other_names_do_not_get_in(service: Served) -> None:
    for path in ("/health", "/metrics", "/openapi.json"):
        assert service.ask("GET", path).status == 200
    assert service.ask("GET", "/health", Host="evil.example").status == 403
    assert service.ask("POST", "/decode", b"{}", Origin="http://evil.example").status == 403
    assert service.ask("GET", "/docs").status == 404
    assert service.ask("GET", "/decode").status == 405
    assert service.ask("GET", "/../../etc/passwd").status == 404


def test_a_refusal_comes_whole_however_much_was_sent_with_the_request(service: Served) -> None:
    """A connection that is closed with bytes unread is reset by the system, and what was answered may be lost."""
    head = b"POST /decode HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 150000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=GUARD_SECONDS) as connection:
        connection.sendall(head + b" " * 150_000)
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))
        assert b" 403 " in answer.splitlines()[0]
        assert b"another page asks for this one" in answer


def test_a_body_that_is_too_long_is_refused_whatever_its_headers_say(service: Served) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=GUARD_SECONDS) as connection:
        head = b"POST /decode HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head)
        piece = b"%x\r\n" % 50_000 + b" " * 50_000 + b"\r\n"
        for _ in range(5):
            connection.sendall(piece)
        assert b" 413 " in connection.recv(1000).splitlines()[0]


def test_places_are_counted_and_a_few_may_wait(codec: ReleasedCodec) -> None:
    """One stream at a time, one more waits; the next is refused. The one that waits is served."""
    with served(codec, max_streams=1, max_queue=1) as service, ThreadPoolExecutor(1) as pool:
        assert service.ask("GET", "/health").status == 200
        with service.socket() as holder:
            holder.send("{}")
            holder.recv()
            waiting = pool.submit(service.decode, codes=codes_of(codec, 1, 1))
            until(lambda: service.metric("snac_exp_streams_waiting") == 1, "it waits")
            refused = service.decode(codes=codes_of(codec, 1, 1))
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert "service.max_streams=1 streams are open and service.max_queue=1 wait" in refused.text
        assert waiting.result().status == 200
    with served(codec, max_streams=1, queue_seconds=0.05) as service, service.socket() as holder:
        holder.send("{}")
        holder.recv()
        late = service.decode(codes=codes_of(codec, 1, 1))
        assert (late.status, late.text) == (503, "no place within service.queue_seconds=0.05")


def test_one_client_leaves_places_for_others(codec: ReleasedCodec) -> None:
    body = json.dumps({"codes": codes_of(codec, 1, 1)}).encode()
    with served(codec, max_streams=3, max_streams_per_client=2) as service, service.socket() as first:
        with service.socket() as second:
            for holder in (first, second):
                holder.send("{}")
                holder.recv()
            assert [len(each) for each in service.service.decoders] == [1, 1]
            refused = service.ask("POST", "/decode", body)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert "service.max_streams_per_client=2 of your address" in refused.text
            assert service.metric('snac_exp_refused_total{status="429"}') == 1
            with pytest.raises(InvalidStatus) as caught:
                service.socket()
            assert caught.value.response.status_code == 429
            assert service.ask("POST", "/decode", body, source="127.0.0.2").status == 200
        until(lambda: service.metric("snac_exp_streams_open") == 1, "the second has gone")
        assert service.ask("POST", "/decode", body).status == 200


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_network_of_64_bits(host: str, client: str) -> None:
    assert client_of({"type": "http", "client": (host, 1)}) == client


def test_what_is_counted(codec: ReleasedCodec) -> None:
    with served(codec) as service:
        seconds = 3 * codec.geometry.coarse_hop / 24_000
        service.decode(codes=codes_of(codec, 3, 1), sample_rate=48_000)
        service.decode(codes=[[99], [0, 0], [0, 0, 0, 0]])
        assert service.metric("snac_exp_coarse_tokens_total") == 3
        assert service.metric('snac_exp_audio_seconds_total{head="head_48k"}') == pytest.approx(seconds)
        assert service.metric('snac_exp_streams_ended_total{how="finished"}') == 1
        assert service.metric('snac_exp_refused_total{status="400"}') == 1
        assert service.metric("snac_exp_streams_open") == 0
        assert service.metric("snac_exp_first_audio_seconds_count") == 1
        # A pass takes two tokens; a third one is made where the decoder is quicker than the request's end.
        assert service.metric("snac_exp_decode_pass_streams_count") in (2, 3)
        kind = service.ask("GET", "/metrics").headers["content-type"]
        assert kind.startswith("text/plain; version=")


def test_two_at_once_never_hear_each_other(service: Served, codec: ReleasedCodec) -> None:
    codes = [codes_of(codec, 6, number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(lambda n: service.decode(codes=codes[n], sample_rate=24_000, seed=n, format="pcm"), range(6))
        for number, answer in enumerate(answers):
            assert_sounds(answer.body, expected(codec, codes[number], 24_000, number))


def test_a_client_that_leaves_in_the_middle_leaves_nothing(codec: ReleasedCodec) -> None:
    """Its audio is never taken, so that it cannot have ended."""
    body = json.dumps({"codes": codes_of(codec, 200, 1), "format": "pcm"}).encode()
    with served(codec, max_unsent_seconds=0.1) as service:
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        connection.close()
        until(lambda: service.metric("snac_exp_streams_open") == 0, "its place is free")
        until(lambda: service.service.num_decoding == 0, "its stream has left")
        assert service.metric('snac_exp_streams_ended_total{how="left"}') == 1
        assert service.decode(codes=codes_of(codec, 2, 1)).status == 200


def test_the_key_is_asked_for_and_nothing_else_opens(codec: ReleasedCodec) -> None:
    with served(codec, key=KEY) as service:
        assert service.ask("GET", "/health").status == 200
        for headers in (
            {},
            {"Authorization": KEY},
            {"Authorization": f"Bearer {KEY}x"},
            {"Authorization": "Bearer \xe9"},
        ):
            for method, path in (
                ("POST", "/decode"),
                ("GET", "/metrics"),
                ("GET", "/openapi.json"),
                ("GET", "/health/"),
            ):
                answer = service.ask(method, path, b"{}", **headers)
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        right = {"Authorization": f"Bearer {KEY}"}
        assert service.ask("GET", "/metrics", **right).status == 200
        body = json.dumps({"codes": codes_of(codec, 1, 1)}).encode()
        assert service.ask("POST", "/decode", body, **right).status == 200


def test_a_key_is_needed_where_others_can_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert key_of_environment("127.0.0.1") is key_of_environment("localhost") is None
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        with pytest.raises(ConfigError, match=f"host={host} lets others in: .*{VARIABLE}="):
            key_of_environment(host)
    for bad in ("short", "\u00e9" * 20):
        monkeypatch.setenv(VARIABLE, bad)
        with pytest.raises(ConfigError, match="at least 16 letters of ASCII") as caught:
            key_of_environment("127.0.0.1")
        assert bad not in str(caught.value)
    monkeypatch.setenv(VARIABLE, KEY)
    assert key_of_environment("0.0.0.0") == KEY


def test_the_decoder_that_broke_is_an_error_of_ours(codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(codec) as service:
        with monkeypatch.context() as patch:
            patch.setattr(service.service.next_decoder._batch, "push", lambda *_: 1 / 0)
            answer = service.decode(codes=codes_of(codec, 2, 1))
            assert (answer.status, answer.text) == (500, "the decoder failed; try again")
        assert service.decode(codes=codes_of(codec, 2, 1)).status == 200


def test_streams_of_unread_audio_cost_what_their_bounds_say(codec: ReleasedCodec) -> None:
    """Nobody reads: the decoder pauses each of them, and someone else is served."""
    body = json.dumps({"codes": codes_of(codec, 230, 1), "format": "pcm"}).encode()
    request = b"POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with served(codec, max_unsent_seconds=0.5) as service:
        deaf = [socket.socket() for _ in range(3)]
        for each in deaf:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.connect(("127.0.0.1", service.port))
            each.sendall(request)
        until(lambda: service.service.num_decoding == 3, "they are open")
        assert service.decode(codes=codes_of(codec, 2, 1)).status == 200
        for stream in (item for each in service.service.decoders for item in list(each._streams)):
            assert stream._unsent <= (0.5 + BOUNDS.tick_tokens * codec.geometry.coarse_hop / 24_000) * 48_000
        for each in deaf:
            each.close()
        until(lambda: service.service.num_decoding == 0, "they have left")
