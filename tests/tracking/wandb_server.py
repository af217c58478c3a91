"""A W&B server in miniature: it keeps the history rows and run facts that W&B's own client sends, and nothing else."""

import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "p", "name": "project", "entity": {"id": "e", "name": "team"}}


class WandbServer(ThreadingHTTPServer):
    """Serves on a free port of this machine; `rows`, `upserts` and `views` are what it was told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lines: dict[int, str] = {}
        self.upserts: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(self.lines[index]) for index in sorted(self.lines)]

    def __enter__(self) -> "WandbServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def answer(self, name: str, variables: dict[str, Any]) -> dict[str, Any]:
        """To a GraphQL operation."""
        known = bool(self.upserts)
        match name:
            case "RunResumeStatus":
                return {"model": PROJECT | {"bucket": self._bucket() if known else None}}
            case "UpsertBucket":
                self.upserts.append(variables)
                return {"upsertBucket": {"bucket": self._bucket(), "inserted": not known, "internalId": "1"}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.url}/files/{name}"} for name in variables["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
            case "UpsertView2":
                self.views.append(variables)
                return {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}
            case "Viewer":
                return {
                    "viewer": {"id": "u", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}}
                }
        return {}

    def _bucket(self) -> dict[str, Any]:
        tail = [self.lines[index] for index in sorted(self.lines)][-1:]
        return {
            **{
                "id": "b",
                "name": self.upserts[-1]["name"],
                "displayName": "run",
                "project": PROJECT,
                "sweepName": None,
            },
            **{"config": "{}", "summaryMetrics": "{}", "wandbConfig": json.dumps({"t": {}}), "tags": []},
            **{"historyLineCount": len(self.lines), "logLineCount": 0, "eventsLineCount": 0},
            **{"historyTail": json.dumps(tail), "eventsTail": "[]"},
        }


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self._body()
        self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if self.path.startswith("/graphql"):
            asked = json.loads(body)
            found = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            self._reply({"data": self.server.answer(found[1] if found else "", asked.get("variables") or {})})
        elif "file_stream" in self.path:
            history = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
            for index, line in enumerate(history.get("content", []), start=history.get("offset", 0)):
                self.server.lines[index] = line
            self._reply({"limits": {}})
        else:
            self._reply({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
