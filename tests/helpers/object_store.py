"""A real S3 server on loopback (moto's), and a proxy before it that fails as networks and stores do."""

import http.client
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.helpers.waiting import until

HOST = "127.0.0.1"
_CREDENTIAL = "test/20260101/us-east-1/s3/aws4_request"
KEYS = {"Authorization": f"AWS4-HMAC-SHA256 Credential={_CREDENTIAL}, SignedHeaders=host, Signature=0"}
"""The server asks for a signature and does not verify it."""


class Store:
    """A bucket of the server. faults: taken one by one by the GETs of objects: 500, break, short, change; or `always`.

    reads: GETs by name of object that were answered.
    """

    def __init__(self, server_port: int) -> None:
        self.server_port, self.port = server_port, 0
        self.faults: list[str] = []
        self.always: str | None = None
        self.reads: Counter[str] = Counter()
        self.lock = threading.Lock()

    def request(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> "Answer":
        connection = http.client.HTTPConnection(HOST, self.server_port)
        connection.request(method, path, body, headers or {})
        found = connection.getresponse()
        answer = Answer(found.status, dict(found.getheaders()), found.read())
        connection.close()
        return answer

    def put(self, key: str, content: bytes) -> None:
        assert self.request("PUT", f"/bucket/{key}", content, KEYS).status == 200

    def upload(self, folder: Path, key: str) -> str:
        """All files of a folder; the address they then have."""
        for path in sorted(folder.iterdir()):
            if path.is_file():
                self.put(f"{key}/{path.name}", path.read_bytes())
        return f"s3://bucket/{key}"

    def next_fault(self) -> str | None:
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


def handler_of(store: Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.forward("GET")

        def do_HEAD(self) -> None:
            self.forward("HEAD")

        def log_message(self, *_: object) -> None:
            pass

        def forward(self, method: str) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = store.request(method, self.path, headers=headers)
            path = urlsplit(self.path).path
            is_object = method == "GET" and path.count("/") > 1 and answer.status in (200, 206)
            fault = store.next_fault() if is_object else None
            body = answer.body
            if fault == "500":
                answer.status, body = 500, b"<Error><Code>InternalError</Code></Error>"
            elif fault == "change":
                store.put(path.removeprefix("/bucket/"), os.urandom(len(body)))
            elif fault == "short":
                body = body[: len(body) // 2]
            elif is_object:
                store.reads[path] += 1
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length", "0") if method == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            if method == "GET":
                self.wfile.write(body[: len(body) // 2] if fault == "break" else body)
            if fault == "break":
                self.close_connection = True

    return Handler


def moto_server() -> str | None:
    """The program, in the environment that make gives it, or on the path."""
    ours = Path(sys.prefix) / "store" / "bin" / "moto_server"
    return str(ours) if ours.exists() else shutil.which("moto_server")


@contextmanager
def running_store(folder: Path) -> Iterator[Store]:
    """The server with an empty bucket behind its proxy; skips where there is no server."""
    program = moto_server()
    if program is None:
        pytest.skip("needs an S3 server: make installs one into .venv/store; or put moto_server on the path")
    log = folder / "moto.log"
    with open(log, "w") as file:
        server = subprocess.Popen([program, "-H", HOST, "-p", "0"], stdout=file, stderr=file)
    try:
        store = Store(until(lambda: _port_in(log), "the server said its port", server))
        assert store.request("PUT", "/bucket").status == 200
        proxy = ThreadingHTTPServer((HOST, 0), handler_of(store))
        store.port = proxy.server_address[1]
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            proxy.shutdown()
            proxy.server_close()
            thread.join()
    finally:
        server.terminate()
        server.wait()


def _port_in(log: Path) -> int:
    whole = log.read_text().rpartition("\n")[0]
    found = [line for line in whole.splitlines() if f"http://{HOST}:" in line]
    return int(found[0].rsplit(":", 1)[1].split()[0].rstrip("/")) if found else 0


def environment_of(store: Store, cache: Path) -> dict[str, str]:
    """What makes s3:// mean this store, and the cache of remote folders a new one."""
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{store.port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "SNAC_EXP_REMOTE_CACHE": os.fspath(cache),
    }  # fmt: skip
