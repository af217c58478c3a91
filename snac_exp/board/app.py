"""What the page asks for: itself, rows that changed, curves, configs and sounds of chosen runs. Nothing is written."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from snac_exp.board.chosen import configs, sound_file, sounds
from snac_exp.board.curves import MOST_RUNS, Curves
from snac_exp.board.entry import Entry
from snac_exp.board.index import Index
from snac_exp.board.watch import Watch
from snac_exp.errors import ConfigError
from snac_exp.report.render import STYLE

MOST_METRICS = 12  # columns, or charts, at once
_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Nothing runs but the scripts of this package, and nothing is loaded from elsewhere.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report brings its own script. In a sandbox it is of no origin: it cannot ask the board for anything.
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_COMMON = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def application(watch: Watch) -> Starlette:
    """The ASGI application."""
    board = _Board(watch.index, watch)
    routes = [
        *(Route("/" if path.stem == "index" else f"/{path.name}", _file(path)) for path in files()),
        Route("/runs", board.runs),
        Route("/curves", board.curves),
        Route("/configs", board.configs),
        Route("/sounds", board.sounds),
        Route("/sound/{run}/{folder}/{name}", board.sound),
        Route("/report/{run}", board.report),
    ]
    return Starlette(routes=routes, exception_handlers={ConfigError: _in_words, HTTPException: _refused})


def files() -> list[Path]:
    """The files of the page; the style of reports is one of them."""
    return [*sorted(path for path in _PAGE.iterdir() if path.suffix in _TYPES), STYLE]


class _Board:
    """The answers that need the index."""

    def __init__(self, index: Index, watch: Watch) -> None:
        self._index, self._watch = index, watch
        self._curves = Curves(index.inside)

    async def runs(self, request: Request) -> Response:
        """What changed since ?since=, with the values of every ?metric=."""
        query, is_behind = request.query_params, self._watch.is_behind  # as it was when somebody asked
        self._watch.asked()
        metrics = query.getlist("metric")[:MOST_METRICS]
        return await _json(lambda: self._index.changes(query.get("since", ""), metrics, is_behind))

    async def curves(self, request: Request) -> Response:
        """A chart of every ?metric= over every ?run=."""
        entries, log = self._chosen(request), request.query_params.get("log") == "true"
        metrics = request.query_params.getlist("metric")[:MOST_METRICS]
        return await _json(lambda: self._curves.charts(entries, metrics, log=log))

    async def configs(self, request: Request) -> Response:
        """In what the configs of every ?run= differ."""
        entries = self._chosen(request)
        return await _json(lambda: configs(entries))

    async def sounds(self, request: Request) -> Response:
        """The newest samples of every ?run=."""
        entries = self._chosen(request)
        return await _json(lambda: sounds(self._index.inside, entries))

    async def sound(self, request: Request) -> Response:
        """A file of samples."""
        names = request.path_params
        entry = self._index.entry(names["run"])
        path = await asyncio.to_thread(sound_file, self._index.inside, entry, names["folder"], names["name"])
        return FileResponse(path, media_type="audio/wav", headers=_COMMON | {"content-security-policy": "sandbox"})

    async def report(self, request: Request) -> Response:
        """The report of a run."""
        path = self._index.entry(request.path_params["run"]).folder.report
        if self._index.inside.signature(path) is None:
            raise ConfigError(f"there is no report of this run yet: snac-exp report {path.parent}")
        return FileResponse(path, media_type="text/html", headers=_COMMON | {"content-security-policy": REPORT_POLICY})

    def _chosen(self, request: Request) -> list[Entry]:
        runs = request.query_params.getlist("run")
        if len(runs) > MOST_RUNS:
            raise ConfigError(f"{len(runs)} runs are chosen; at most {MOST_RUNS} are shown at once")
        return [self._index.entry(run) for run in runs]


async def _json(made: Callable[[], Mapping[str, Any]]) -> Response:
    """Made in a thread: others are answered meanwhile."""
    return JSONResponse(await asyncio.to_thread(made), headers=_COMMON)


def _file(path: Path) -> Callable[[Request], Response]:
    headers = _COMMON | {"content-security-policy": PAGE_POLICY}

    def answer(_: Request) -> Response:
        return FileResponse(path, media_type=_TYPES[path.suffix], headers=headers)

    return answer


def _in_words(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 404, _COMMON)


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code, {**_COMMON, **(error.headers or {})})
