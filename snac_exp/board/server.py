"""The board on its address: connections bounded, requests guarded, and an end that waits for nobody."""

from pathlib import Path

import uvicorn

from snac_exp.board.app import application
from snac_exp.board.index import Index
from snac_exp.board.settings import BoardSettings
from snac_exp.board.watch import Watch
from snac_exp.release.listening.connections import Connections, bound
from snac_exp.release.listening.guard import BodyBounds, Guard, hosts_of
from snac_exp.release.listening.server import CommandServer, listener_of, url_of
from snac_exp.release.service.key import KeyCheck

_STALL_SECONDS = 30.0  # until a reader that takes nothing is left
_LAST_SECONDS = 1  # for answers under way at the end


def serve(folder: Path, settings: BoardSettings, key: str | None) -> None:
    """Show a folder until SIGINT or SIGTERM. key: that readers send; None: none.

    Raises:
        ConfigError: the address cannot be bound.
    """
    listener = listener_of(settings.host, settings.port, _STALL_SECONDS)
    watch = Watch(Index(folder), settings.every_seconds)
    server = server_of(watch, settings, key)
    watch.start()
    print(f"{url_of(listener)}  (stop with Ctrl-C)", flush=True)
    try:
        server.run([listener])
    finally:
        watch.close()


def server_of(watch: Watch, settings: BoardSettings, key: str | None) -> CommandServer:
    """The server, which is not running."""
    body = BodyBounds(settings.max_body_bytes, settings.header_seconds, "max_body_bytes")
    checked = KeyCheck(application(watch), key, browsers=True)
    config = uvicorn.Config(
        Guard(checked, hosts_of(settings.host), body),
        ws="none",
        lifespan="off",
        log_level="error",  # no line for every request that is no HTTP
        loop="asyncio",  # see READ_BYTES
        http="h11",  # whatever else is installed
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    config.load()
    bound(config, Connections(settings.max_connections, settings.header_seconds))
    return CommandServer(config)
