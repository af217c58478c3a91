"""The page to listen, in gradio: drop a file or record, hear and see the input beside every reconstruction.

Uploads and results lie in one temporary folder that goes when the page does. One upload is worked on at a time.
"""

import importlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening import listen, voices_of

KEEP_SECONDS = 3600
RESULTS = "heard_"  # folders of results begin so


@dataclass(frozen=True)
class PageSettings:
    """Where the page is served and how much it takes."""

    host: str
    port: int | None
    max_seconds: float
    max_megabytes: float
    seed: int


def serve(tuned: ReleasedCodec, pretrained: ReleasedCodec | None, settings: PageSettings, *, block: bool = True) -> Any:
    """Serve the page until interrupted, or, without `block`, until `close()` of what is returned.

    Raises:
        ConfigError: gradio is not installed.
    """
    folder = tempfile.TemporaryDirectory(prefix="snac_exp_page_")
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gradio = _gradio()
    blocks = _blocks(gradio, tuned, pretrained, settings, Path(folder.name))
    blocks.queue(default_concurrency_limit=1, max_size=16)
    blocks.snac_exp_folder = folder  # lives as long as the page
    try:
        _, address, _ = blocks.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{max(1, int(settings.max_megabytes * 1000))}kb",
            allowed_paths=[],
            run_history=False,  # it would keep uploads
            footer_links=[],
            theme=gradio.themes.Default(font=["sans-serif"], font_mono=["monospace"]),
            css="#facts table {width: 100%} #facts td + td, #facts th + th {text-align: right}",
        )
    except OSError as error:
        raise ConfigError(f"cannot serve on {settings.host}:{settings.port} ({error}); choose another port=") from None
    print(f"{address.rstrip('/')}  (stop with Ctrl-C)", flush=True)
    if block:
        blocks.block_thread()
    return blocks


def _blocks(
    gradio: Any, tuned: ReleasedCodec, pretrained: ReleasedCodec | None, settings: PageSettings, folder: Path
) -> Any:
    voices = voices_of(tuned, pretrained)

    def reconstruct(path: str | None) -> list[Any]:
        if path is None:
            raise gradio.Error("drop a file or record something first")
        try:
            _forget_old(folder)
            target = Path(tempfile.mkdtemp(prefix=RESULTS, dir=folder))
            heard = listen(Path(path), voices, target, seed=settings.seed, max_seconds=settings.max_seconds)
        except DataError as error:
            raise gradio.Error(str(error).replace(str(path), "the upload")) from None
        return [*map(str, heard.outputs), str(heard.picture), heard.facts]

    cache = (KEEP_SECONDS, KEEP_SECONDS)  # how often gradio looks at its own copies, and how old they may become
    with gradio.Blocks(title=f"snac_exp: {tuned.name}", analytics_enabled=False, delete_cache=cache) as blocks:
        limits = f"at most {settings.max_seconds:g} s and {settings.max_megabytes:g} MB"
        gradio.Markdown(f"# {tuned.name}: input and reconstructions\nDrop a file or record, {limits}.")
        source = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="input", buttons=["download"])
        button = gradio.Button("Reconstruct", variant="primary", elem_id="reconstruct")
        shown = {"type": "filepath", "interactive": False}
        with gradio.Row():  # without gradio's button to share, which uploads to a server elsewhere
            players = [gradio.Audio(label=voice.label, buttons=["download"], **shown) for voice in voices]
        facts = gradio.Markdown(elem_id="facts")
        buttons = ["download", "fullscreen"]
        picture = gradio.Image(label="spectrograms", format="png", buttons=buttons, elem_id="picture", **shown)
        results = [*players, picture, facts]
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
