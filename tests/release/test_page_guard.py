"""Who may ask the page what: nobody through another page, nobody by another name, and nobody without end."""

import asyncio
import http.client
import socket
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest

from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening import guard
from snac_exp.release.listening.connections import MOST_HEADER_BYTES, Connections
from snac_exp.release.listening.guard import BodyBounds, Guard, Message, hosts_of
from snac_exp.release.listening.page import PageSettings, opened_page
from tests.helpers.browser import free_port
from tests.helpers.waiting import GUARD_SECONDS
from tests.release.test_listening_page import need_gradio

MOST_BYTES = 1_001_000


def answer(
    headers: dict[str, str], *, host: str = "127.0.0.1", pieces: tuple[bytes, ...] = (), seconds: float = 60.0
) -> tuple[int, str]:
    """Status and text of a request of these headers whose body comes in pieces; 200 and its length if it passes.

    A refusal says nothing before the body has come, or as much of it as is ever taken.
    """
    sent: list[Message] = []
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def app(scope: Message, receive: guard.Receive, send: guard.Send) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(body)).encode()})

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        if pieces and pieces[-1] == b"and then nothing":
            await asyncio.sleep(3600)
        if pieces and pieces[-1] == b"and so on":
            await asyncio.sleep(0.002)
            return {"type": "http.request", "body": b"x", "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message.get("status") == 403 or (message.get("status") == 413 and "content-length" in headers):
            assert not waiting
        sent.append(message)

    named = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    guarded = Guard(app, hosts_of(host), BodyBounds(MOST_BYTES, seconds, "max_megabytes"))
    asyncio.run(guarded({"type": "http", "headers": named}, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize("name", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860"])
def test_this_machine_by_any_of_its_names_is_answered(name: str) -> None:
    assert answer({"host": name, "origin": f"http://{name}"}, pieces=(b"x" * 10,)) == (200, "10")
    assert answer({"host": name}) == (200, "0")


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "",
        "[",
        "localhost@x",
        "x@localhost",
        "localhost/x",
    ],
)
def test_another_name_that_leads_here_is_refused_unless_the_page_is_open_to_others(name: str) -> None:
    assert answer({"host": name}) == (
        403,
        "this page is for this machine; serve it with host=ADDRESS to open it to others",
    )
    assert answer({"host": name}, host="0.0.0.0") == (200, "0")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1234", "http://evil@127.0.0.1:7860", "http://["]
)
def test_what_another_page_sends_is_refused_wherever_it_is_served(origin: str) -> None:
    for host in ("127.0.0.1", "0.0.0.0"):
        found = answer({"host": "127.0.0.1:7860", "origin": origin}, host=host, pieces=(b"form",))
        assert found == (403, "another page asks for this one")


def test_a_body_is_bounded_whatever_its_header_says(monkeypatch: pytest.MonkeyPatch) -> None:
    most = MOST_BYTES
    monkeypatch.setattr(guard, "REST_WAIT_SECONDS", 0.01)
    for length in (str(most + 1), "x", "-1", "9" * 5000, "\u00b2"):
        for pieces in ((), (b"x" * 1000, b"x" * most), (b"x", b"and then nothing")):
            assert answer({"host": "localhost", "content-length": length}, pieces=pieces)[0] == 413
    assert answer({"host": "localhost"}, pieces=(b"x" * most,)) == (200, str(most))
    assert answer({"host": "localhost", "content-length": "3"}, pieces=(b"x" * most, b"x"))[0] == 413
    monkeypatch.setattr(guard, "MOST_WAIT_SECONDS", 0.01)
    assert answer({"host": "localhost"}, pieces=(b"a", b"and then nothing"))[0] == 413


def test_a_body_that_comes_byte_by_byte_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer({"host": "localhost"}, pieces=(b"and so on",), seconds=0.1)[0] == 413
    monkeypatch.setattr(guard, "REST_SECONDS", 0.1)
    assert answer({"host": "localhost", "content-length": "x"}, pieces=(b"and so on",))[0] == 413


@pytest.fixture(scope="module")
def page(codec: ReleasedCodec) -> Iterator[tuple[str, Path]]:
    need_gradio()
    with opened_page(codec, None, PageSettings("127.0.0.1", free_port(), 10.0, 1.0, 0)) as (blocks, folder):
        yield urlsplit(blocks.local_url).netloc, folder


def asked(page: str, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(page, timeout=GUARD_SECONDS)
    connection.request(method, path, body, headers)
    with connection.getresponse() as found:
        return found.status, found.read()


def held(page: str, sent: bytes) -> socket.socket:
    """A connection that has sent this and no more."""
    host, _, port = page.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=GUARD_SECONDS)
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the page closes it; waits for that."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


SLOW = (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")


@pytest.mark.slow
def test_connections_that_never_ask_are_closed_in_time(codec: ReleasedCodec) -> None:
    need_gradio()
    # Long enough for gradio's own request at its start.
    settings = PageSettings("127.0.0.1", free_port(), 10.0, 1.0, 0, header_seconds=2.0)
    with opened_page(codec, None, settings) as (blocks, _), ExitStack() as stack:
        page = urlsplit(blocks.local_url).netloc
        # Others, which only have to be installed to be taken, read more at a time than the bounds allow for.
        assert (blocks.server.config.loop, blocks.server.config.http) == ("asyncio", "h11")
        assert all(map(is_closed, [stack.enter_context(held(page, sent)) for sent in SLOW]))


class Connection:
    """What of uvicorn's protocols is used; its clock runs by hand."""

    def __init__(self) -> None:
        self.cycle: types.SimpleNamespace | None = None
        self.loop = self.transport = self
        self.is_open = True

    def call_later(self, seconds: float, close: Callable[["Connection"], None], connection: "Connection") -> Mock:
        self.timer = Mock(side_effect=lambda: close(connection), seconds=seconds)
        return self.timer

    def abort(self) -> None:
        self.is_open = False


def test_a_connection_owes_each_of_its_requests_in_time_and_few_bytes() -> None:
    connections, one, other = Connections(8, 3.0), Connection(), Connection()
    for connection in (one, other):
        connections.opened(connection)
    first = one.timer
    one.cycle = types.SimpleNamespace(response_complete=False, more_body=False)
    connections.heard(one, 100)
    assert (first.cancel.call_count, first.seconds, one.is_open) == (1, 3.0, True)
    one.cycle.response_complete = True
    connections.heard(one, 1)  # of the next request
    assert one.timer is not first
    one.timer()
    assert not one.is_open
    connections.heard(other, MOST_HEADER_BYTES)
    assert other.is_open
    connections.heard(other, 1)
    assert not other.is_open


def test_a_body_that_does_not_come_gives_way_and_one_that_has_come_stays() -> None:
    connections, slow, whole, new = Connections(2, 3.0), Connection(), Connection(), Connection()
    for connection, more_body in ((whole, False), (slow, True)):
        connections.opened(connection)
        connection.cycle = types.SimpleNamespace(response_complete=False, more_body=more_body)
        connections.heard(connection, 100)
    assert slow.timer.cancel.called  # its body has a time of its own
    connections.opened(new)
    assert (slow.is_open, whole.is_open, new.is_open) == (False, True, True)


@pytest.mark.slow
def test_many_connections_that_never_ask_keep_nobody_out(codec: ReleasedCodec) -> None:
    need_gradio()
    settings = PageSettings("127.0.0.1", free_port(), 10.0, 1.0, 0, max_connections=8, header_seconds=GUARD_SECONDS)
    with opened_page(codec, None, settings) as (blocks, _), ExitStack() as stack:
        page = urlsplit(blocks.local_url).netloc
        slow = [stack.enter_context(held(page, SLOW[number % 3])) for number in range(12)]
        assert all(map(is_closed, slow[:4]))
        assert asked(page, "GET", "/", {})[0] == 200
        assert is_closed(slow[4])
        slow[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            slow[-1].recv(1)


@pytest.mark.slow
def test_the_page_itself_refuses_them_and_serves_no_other_file(page: tuple[str, Path]) -> None:
    address, folder = page
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\nx\r\n--b--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    upload = ("POST", "/gradio_api/upload")
    assert asked(address, "GET", "/", {})[0] == 200
    assert asked(address, "GET", "/", {"Host": "evil.example"})[0] == 403
    assert asked(address, *upload, kind | {"Origin": "http://evil.example"}, form % b"a.wav")[0] == 403
    assert asked(address, *upload, kind | {"Host": "evil.example"}, form % b"a.wav")[0] == 403
    assert [path for path in folder.rglob("*.wav")] == []
    for name in (b"../../../tmp/out.wav", b"<script>alert(1)</script>.wav"):
        status, body = asked(address, *upload, kind, form % name)
        assert status == 200
        assert b"<" not in body
    assert {path.name for path in folder.rglob("*.wav")} == {"out.wav", "script.wav"}
    join = {"Content-Type": "application/json", "Content-Length": "3000000"}
    assert asked(address, "POST", "/gradio_api/queue/join", join, b"{}")[0] == 413
    for path in (
        "/etc/passwd",
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        f"{folder}/../../etc/passwd",
        "conf",
    ):
        assert asked(address, "GET", f"/gradio_api/file={path}", {})[0] == 403
