"""The board of a folder in a thread of the test's process, on loopback, and requests to it."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from snac_exp.board.index import Index
from snac_exp.board.server import server_of
from snac_exp.board.settings import BoardSettings
from snac_exp.board.watch import Watch
from snac_exp.release.listening.server import listener_of
from tests.helpers.browser import free_port
from tests.helpers.waiting import GUARD_SECONDS, until


@dataclass(frozen=True)
class Board:
    """A board that runs."""

    watch: Watch
    port: int

    @property
    def index(self) -> Index:
        """What is known."""
        return self.watch.index

    @property
    def address(self) -> str:
        """For a browser."""
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request; underscores of names of headers are hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD_SECONDS)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            found = connection.getresponse()
            return found.status, {name.lower(): value for name, value in found.getheaders()}, found.read()
        finally:
            connection.close()

    def told(self, path: str, **query: Any) -> Any:
        """What the JSON of an answer says; lists in the query are given one by one."""
        status, _, body = self.ask(f"{path}?{urlencode(query, doseq=True)}")
        assert status == 200, body
        return json.loads(body)

    def rows(self) -> dict[str, dict[str, Any]]:
        """All rows by path, once everything has been read."""
        until(lambda: self.index.num_refreshes, "all runs are read")
        return {row["path"]: row for row in self.told("/runs")["rows"]}


@contextmanager
def shown(folder: Path, key: str | None = None, every_seconds: float = 0.05) -> Iterator[Board]:
    """The board of a folder; stopped in the end."""
    settings = BoardSettings("127.0.0.1", free_port(), every_seconds, 32, GUARD_SECONDS, 1000)
    watch = Watch(Index(folder), every_seconds)
    server = server_of(watch, settings, key)
    listener = listener_of(settings.host, settings.port, GUARD_SECONDS)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    watch.start()
    try:
        until(lambda: server.started, "the board is there")
        yield Board(watch, settings.port)
    finally:
        watch.close()
        server.should_exit = True
        thread.join(GUARD_SECONDS)
        assert not thread.is_alive()
