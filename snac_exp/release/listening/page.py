"""The page to listen, in gradio: drop a file or record, hear and see the input beside every reconstruction.

Uploads and results lie in one temporary folder that goes when the page does. One upload is worked on at a time.
"""

import importlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from snac_exp.errors import ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening.address import require_free
from snac_exp.release.listening.connections import Connections, bound, plain_servers
from snac_exp.release.listening.guard import FORM_BYTES, BodyBounds, Guard, hosts_of
from snac_exp.release.listening.reconstruct import Player, Reconstructions, listen, players_of
from snac_exp.system.markup.markdown import plain

KEEP_SECONDS = 3600  # of gradio's copies and of our results alike
RESULTS = "reconstructions_"  # folders of results begin so


@dataclass(frozen=True)
class PageSettings:
    """Where the page is served and how much it takes."""

    host: str
    port: int
    max_seconds: float
    max_megabytes: float
    seed: int
    max_connections: int = 64
    header_seconds: float = 10.0
    body_seconds: float = 300.0


def serve(tuned: ReleasedCodec, pretrained: ReleasedCodec | None, settings: PageSettings) -> NoReturn:
    """Serve the page until interrupted, see `opened_page`, and end the process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped by the system, the folder goes as with Ctrl-C
    with opened_page(tuned, pretrained, settings) as (blocks, _):
        print(f"{blocks.local_url.rstrip('/')}  (stop with Ctrl-C)", flush=True)
        blocks.block_thread()
    sys.stdout.flush()
    os._exit(0)  # a thread of gradio's may still be within PyTorch, where the interpreter's end would abort the process


@contextmanager
def opened_page(
    tuned: ReleasedCodec, pretrained: ReleasedCodec | None, settings: PageSettings
) -> Iterator[tuple[Any, Path]]:
    """The page, which is served, and the folder of its files, which goes with it at the end.

    Raises:
        ConfigError: gradio is not installed, or the address cannot be bound.
    """
    require_free(settings.host, settings.port)
    with tempfile.TemporaryDirectory(prefix="snac_exp_page_") as folder:
        # Set before gradio is imported, which takes its settings from the environment.
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        gradio = _gradio()
        listener = Listener(players_of(tuned, pretrained), settings, Path(folder))
        blocks = _blocks(gradio, tuned.name, listener)
        most_bytes = int(settings.max_megabytes * 1_000_000) + FORM_BYTES
        body = BodyBounds(most_bytes, settings.body_seconds, "max_megabytes")
        guard = {"hosts": hosts_of(settings.host), "body": body}
        # More at a time would only wait for the listener's lock.
        blocks.queue(default_concurrency_limit=1, max_size=16)
        with plain_servers():
            blocks.launch(
                server_name=settings.host,
                server_port=settings.port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                # In kilobytes, since gradio takes whole numbers only.
                max_file_size=f"{max(1, int(settings.max_megabytes * 1000))}kb",
                allowed_paths=[],
                app_kwargs={"middleware": [importlib.import_module("starlette.middleware").Middleware(Guard, **guard)]},
                run_history=False,  # it would keep uploads
                footer_links=[],
                # Plain names of fonts, so that the page loads none from a server elsewhere.
                theme=gradio.themes.Default(font=["sans-serif"], font_mono=["monospace"]),
                css="#table table {width: 100%} #table td + td, #table th + th {text-align: right}",
            )
        bound(blocks.server.config, Connections(settings.max_connections, settings.header_seconds))
        try:
            yield blocks, Path(folder)
        finally:
            # First what computes: it writes into the folder, which goes right after.
            listener.close()
            blocks.close(verbose=False)


class Listener:
    """What is computed for the uploads, one at a time, each into a folder of its own below `folder`."""

    def __init__(self, players: list[Player], settings: PageSettings, folder: Path) -> None:
        self.players, self.settings, self.folder = players, settings, folder
        self._working, self._closing = threading.Lock(), threading.Event()

    def reconstruct(self, path: Path) -> Reconstructions:
        """Every player's output for one upload; DataError if it cannot be used, or the page closes meanwhile."""
        limit, seed = self.settings.max_seconds, self.settings.seed
        with self._working:
            self._go_on()
            # Under the lock, so no folder goes while it is being filled.
            _forget_old(self.folder)
            target = Path(tempfile.mkdtemp(prefix=RESULTS, dir=self.folder))
            return listen(path, self.players, target, seed=seed, max_seconds=limit, advance=self._go_on)

    def close(self) -> None:
        """Take nothing more, and wait for what is under way, which ends with its chunk."""
        self._closing.set()
        # The lock is free once the computation under way has met the event.
        with self._working:
            return

    def _go_on(self, seconds: float = 0.0) -> None:
        if self._closing.is_set():
            raise DataError("the page is being closed; open it again")


def _blocks(gradio: Any, name: str, listener: Listener) -> Any:
    settings = listener.settings

    def reconstruct(path: str | None) -> list[Any]:
        if path is None:
            raise gradio.Error("drop a file or record something first")
        try:
            made = listener.reconstruct(Path(path))
        except DataError as error:
            # The path in the message is one of this machine, and the browser need not know it.
            raise gradio.Error(str(error).replace(str(path), "the upload")) from None
        return [*map(str, made.outputs), str(made.picture), made.table]

    cache = (KEEP_SECONDS, KEEP_SECONDS)  # how often gradio looks at its own copies, and how old they may become
    with gradio.Blocks(title=f"snac_exp: {name}", analytics_enabled=False, delete_cache=cache) as blocks:
        limits = f"at most {settings.max_seconds:g} s and {settings.max_megabytes:g} MB"
        gradio.Markdown(f"# {plain(name)}: input and reconstructions\nDrop a file or record, {limits}.")
        source = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="input", buttons=["download"])
        button = gradio.Button("Reconstruct", variant="primary", elem_id="reconstruct")
        shown = {"type": "filepath", "interactive": False}
        with gradio.Row():  # without gradio's button to share, which uploads to a server elsewhere
            players = [gradio.Audio(label=player.label, buttons=["download"], **shown) for player in listener.players]
        table = gradio.Markdown(elem_id="table")
        buttons = ["download", "fullscreen"]
        picture = gradio.Image(label="spectrograms", format="png", buttons=buttons, elem_id="picture", **shown)
        results = [*players, picture, table]
        source.change(lambda: [None] * len(results), None, results, queue=False)  # they are of another input
        button.click(reconstruct, source, results)
    return blocks


def _forget_old(folder: Path) -> None:
    """Results go an hour after they were made, so that a page that is open for weeks fills no disk."""
    for path in folder.glob(f"{RESULTS}*"):
        if time.time() - path.stat().st_mtime > KEEP_SECONDS:
            shutil.rmtree(path)


def _gradio() -> Any:
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise ConfigError(f"the page needs {error.name}: pip install 'snac_exp[serve]'") from None
