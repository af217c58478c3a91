"""A webhook on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from snac_exp.tracking.alerts import delivery
from tests.helpers.waiting import GUARD_SECONDS

VARIABLE = "MY_WEBHOOK"
"""The environment variable that holds its address."""


class Webhook(ThreadingHTTPServer):
    """Answers with the `answers` one after the other, then with 200: a status, headers; None: never."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, str]] | None] = []
        self.got: list[dict[str, Any]] = []
        self.asleep = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/secret-path"


class Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else (200, {})
        if answer is None:
            self.server.asleep.wait(GUARD_SECONDS)
            return
        if answer[0] == 200:
            self.server.got.append(json.loads(body))
        self.send_response(answer[0])
        for name, value in answer[1].items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(delivery, "FIRST_PAUSE_SECONDS", 0.01)
    server = Webhook()
    monkeypatch.setenv(VARIABLE, server.url)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.asleep.set()
    server.shutdown()
    server.server_close()
    thread.join()
