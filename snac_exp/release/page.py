"""The page to listen, in gradio: drop a file or record, hear and see the input beside every reconstruction.

Uploads and results lie in one temporary folder that goes when the page does. One upload is worked on at a time.
"""

import importlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening import listen, voices_of


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
    blocks.launch(
        server_name=settings.host,
        server_port=settings.port,
        share=False,
        quiet=True,
        prevent_thread_lock=not block,
        max_file_size=f"{max(1, int(settings.max_megabytes * 1000))}kb",
        allowed_paths=[],
        theme=gradio.themes.Default(font=["sans-serif"], font_mono=["monospace"]),
    )
    return blocks


def _blocks(
    gradio: Any, tuned: ReleasedCodec, pretrained: ReleasedCodec | None, settings: PageSettings, folder: Path
) -> Any:
    voices = voices_of(tuned, pretrained)

    def reconstruct(path: str | None) -> list[Any]:
        if path is None:
            raise gradio.Error("drop a file or record something first")
        try:
            target = Path(tempfile.mkdtemp(dir=folder))
            heard = listen(Path(path), voices, target, seed=settings.seed, max_seconds=settings.max_seconds)
        except DataError as error:
            raise gradio.Error(str(error).replace(str(path), "the upload")) from None
        return [*map(str, heard.outputs), str(heard.picture), heard.facts]

    with gradio.Blocks(title=f"snac_exp: {tuned.name}", analytics_enabled=False) as blocks:
        gradio.Markdown(f"# {tuned.name}: input and reconstructions\nat most {settings.max_seconds:g} s per upload")
        source = gradio.Audio(sources=["upload", "microphone"], type="filepath", label="input")
        button = gradio.Button("Reconstruct", variant="primary", elem_id="reconstruct")
        facts = gradio.Markdown(elem_id="facts")
        with gradio.Row():
            players = [gradio.Audio(label=voice.label, type="filepath", interactive=False) for voice in voices]
        picture = gradio.Image(label="spectrograms", type="filepath", interactive=False, elem_id="picture")
        button.click(reconstruct, source, [*players, picture, facts])
    return blocks


def _gradio() -> Any:
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise ConfigError(f"the page needs {error.name}: pip install 'snac_exp[serve]'") from None
