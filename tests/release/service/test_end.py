"""How the service ends: by a signal, with open streams that finish or are told; and the command itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from snac_exp import cli
from snac_exp.errors import CodecError, ConfigError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening.address import VARIABLE
from tests.helpers.browser import free_port
from tests.helpers.commands import python_process
from tests.helpers.service import Served, assert_sounds, codes_of, expected, heard, part_of, served
from tests.helpers.waiting import GUARD_SECONDS, first_line, until

pytestmark = pytest.mark.slow


def ending(service: Served) -> None:
    """As SIGTERM does it in a process of its own."""
    service.server.should_exit = True
    until(lambda: service.service.is_closing, "it closes")


def test_open_streams_end_in_peace_and_nobody_new_gets_in(codec: ReleasedCodec) -> None:
    codes = codes_of(codec, 6, 1)
    with served(codec, drain_seconds=GUARD_SECONDS) as service, service.socket() as client:
        client.send(json.dumps({"seed": 1, "sample_rate": 24_000}))
        client.recv()
        client.send(json.dumps({"codes": part_of(codec, codes, 0, 3)}))
        ending(service)
        health = service.ask("GET", "/health")
        assert (health.status, json.loads(health.body)["status"]) == (503, "closing")
        refused = service.decode(codes=codes)
        assert (refused.status, refused.text) == (503, "the service is closing")
        with pytest.raises(InvalidStatus) as caught:
            service.socket()
        assert caught.value.response.status_code == 503
        client.send(json.dumps({"codes": part_of(codec, codes, 3, 3), "end": True}))
        assert_sounds(heard(client)[0], expected(codec, codes, 24_000, 1))


def test_open_streams_are_told_when_the_time_is_over(codec: ReleasedCodec) -> None:
    with served(codec, drain_seconds=0.05) as service, service.socket() as silent, service.socket() as client:
        client.send("{}")
        client.recv()
        until(lambda: service.service.num_open == 2, "both are open")
        half = socket.create_connection(("127.0.0.1", service.port), timeout=GUARD_SECONDS)
        half.sendall(b"POST /decode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        until(lambda: len(service.server.server_state.tasks) == 3, "a body is awaited")
        service.server.should_exit = True
        with half:
            assert b" 503 " in half.recv(1000).splitlines()[0]
        for each in (client, silent):
            told = json.loads(each.recv(timeout=GUARD_SECONDS))
            assert told == {"error": "the service ends; it waited service.drain_seconds=0.05", "status": 503}
            with pytest.raises(ConnectionClosed) as caught:
                each.recv(timeout=GUARD_SECONDS)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012
    assert "decoder" not in {thread.name for thread in threading.enumerate()}


def test_a_loop_that_is_kept_from_ending_is_ended_at_the_stated_time(
    codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr("snac_exp.release.service.server.end_after", asked.append)
    with served(codec, drain_seconds=7.0) as service:
        service.server.told(signal.SIGTERM)
        service.server.told(signal.SIGTERM)
    assert asked == [7.0 + 15.0, 15.0]
    stuck = "import threading; from snac_exp.release.service.server import end_after; end_after(0.01)"
    done = python_process("-c", f"{stuck}; threading.Event().wait()")
    assert (done.status, done.err) == (1, "ended 0.01 s after the signal, with what was still open\n")


@contextmanager
def command(checkpoint: Path, *more: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`snac-exp serve api=true` in a process of its own, and its address."""
    words = ["serve", f"checkpoint={checkpoint}", "api=true", f"port={free_port()}", "threads=1", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "snac_exp.cli", *words],
        env=os.environ | {VARIABLE: ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process, first_line(process).split()[0].removesuffix("/health")
    finally:
        process.kill()
        process.wait()


def test_the_command_serves_and_a_signal_ends_it(checkpoint: Path, codec: ReleasedCodec) -> None:
    """The second one at once, though a stream is open."""
    with command(checkpoint, f"service.drain_seconds={GUARD_SECONDS}") as (process, root):
        body = json.dumps({"codes": codes_of(codec, 2, 1)}).encode()
        with urllib.request.urlopen(f"{root}/decode", body, timeout=GUARD_SECONDS) as answer:
            assert answer.read(4) == b"RIFF"
        with connect(f"{root.replace('http', 'ws')}/stream", proxy=None, open_timeout=GUARD_SECONDS) as client:
            client.send("{}")
            client.recv()
            process.send_signal(signal.SIGTERM)

            def closing() -> bool:
                try:
                    urllib.request.urlopen(f"{root}/health", timeout=GUARD_SECONDS).close()
                except urllib.error.HTTPError as error:
                    return error.code == 503
                return False

            until(closing, "it closes", process)
            process.send_signal(signal.SIGTERM)
            assert json.loads(client.recv(timeout=GUARD_SECONDS))["status"] == 503
            with pytest.raises(ConnectionClosed):
                client.recv(timeout=GUARD_SECONDS)
        _, errors = process.communicate(timeout=GUARD_SECONDS)
        assert (process.returncode, errors) == (0, "")


def test_what_cannot_be_served_is_refused_before_it_listens(
    checkpoint: Path, codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    start = ["serve", f"checkpoint={checkpoint}", "api=true"]
    for more, message in (
        (["host=0.0.0.0"], "host=0.0.0.0 lets others in"),
        (["service.max_streams=0"], "service.max_streams=0 must be greater than 0"),
        (["service.max_stream=1"], "max_stream"),
        (["threads=0"], "threads=0 must be at least 1"),
        (["body_seconds=nan"], "body_seconds=nan must be greater than 0"),
        (["layout.codebook_size=8"], "does not fit codec"),
        (["port=0"], "port=0 must be between 1 and 65535"),
    ):
        with pytest.raises((ConfigError, CodecError), match=message):
            cli.run([*start, *more])
