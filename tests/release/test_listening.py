"""The page to listen: what it computes, and the page itself in a headless browser with a real upload."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from snac_exp import cli
from snac_exp.codec.checkpoint import save_snac
from snac_exp.errors import ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening import listen, voices_of
from snac_exp.release.sources import load_codec
from tests.release.conftest import random_codec, speech_like

LABELS = ["pretrained 24k", "tuned 24k", "tuned 48k"]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> ReleasedCodec:
    folder = tmp_path_factory.mktemp("pretrained")
    save_snac(random_codec().model, folder)
    return load_codec(folder)


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "it's mine.wav"
    soundfile.write(path, speech_like(44_100, channels=2), 44_100)
    return path


def test_every_voice_is_heard(codec: ReleasedCodec, pretrained: ReleasedCodec, upload: Path, tmp_path: Path) -> None:
    voices = voices_of(codec, pretrained)
    assert [voice.label for voice in voices] == LABELS
    heard = listen(upload, voices, tmp_path, seed=0, max_seconds=2.0)
    lengths = [len(soundfile.read(path)[0]) for path in heard.outputs]
    assert lengths == [24_000, 24_000, 48_000]
    assert heard.picture.stat().st_size > 10_000
    assert heard.facts.count("| 0.49 |") == 3
    tuned, _ = soundfile.read(heard.outputs[1])
    assert np.abs(tuned - soundfile.read(heard.outputs[0])[0]).max() > 1e-3


def test_uploads_that_are_too_long_or_no_audio(codec: ReleasedCodec, upload: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"more than the 0\.5 s"):
        listen(upload, voices_of(codec, None), tmp_path, seed=0, max_seconds=0.5)
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(DataError, match="not readable as audio"):
        listen(tmp_path / "page.html", voices_of(codec, None), tmp_path, seed=0, max_seconds=9.0)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_without_gradio_the_page_says_what_to_install(codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from snac_exp.release.page import PageSettings, serve

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ConfigError, match=r"pip install 'snac_exp\[serve\]'"):
        serve(codec, None, PageSettings("127.0.0.1", None, 10.0, 5.0, 0))


def test_the_verb_binds_to_loopback_unless_told_otherwise(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr("snac_exp.release.page.serve", lambda *arguments: served.append(arguments))
    assert cli.run(["serve", f"checkpoint={checkpoint}"]) == 0
    assert cli.run(["serve", f"checkpoint={checkpoint}", "host=0.0.0.0", f"pretrained={checkpoint}"]) == 0
    (tuned, none, first), (_, pretrained, second) = served
    assert (tuned.sample_rates, none, pretrained.sample_rates) == ((24_000, 48_000), None, (24_000, 48_000))
    assert (first.host, first.max_seconds, first.max_megabytes, second.host) == ("127.0.0.1", 120.0, 50.0, "0.0.0.0")
    with pytest.raises(ConfigError, match="must be greater than 0"):
        cli.run(["serve", f"checkpoint={checkpoint}", "max_seconds=0"])


class Browser:
    """Headless Chromium through chromedriver's own protocol (W3C WebDriver)."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": flags}}}}
        self.session = self.ask("POST", "/session", options)["sessionId"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def run(self, script: str) -> Any:
        return self.ask("POST", f"/session/{self.session}/execute/sync", {"script": script, "args": []})

    def find(self, css: str) -> str:
        found = self.ask("POST", f"/session/{self.session}/element", {"using": "css selector", "value": css})
        return str(next(iter(found.values())))

    def wait(self, script: str, seconds: float = 60.0) -> Any:
        """The first true value of a script, or a failure that shows the page's text."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.2)
        raise AssertionError(f"{script} never came true; the page says: {self.run('return document.body.innerText')}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def browser() -> Iterator[Browser]:
    if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        browser = Browser(port)
        yield browser
        browser.ask("DELETE", f"/session/{browser.session}")
    finally:
        driver.terminate()
        driver.wait()


def test_the_page_takes_an_upload(
    codec: ReleasedCodec, pretrained: ReleasedCodec, upload: Path, browser: Browser
) -> None:
    pytest.importorskip("gradio", reason="the optional extra [serve] is not installed")
    from snac_exp.release.page import PageSettings, serve

    page = serve(codec, pretrained, PageSettings("127.0.0.1", free_port(), 10.0, 5.0, 0), block=False)
    folder = Path(page.snac_exp_folder.name)
    try:
        assert page.local_url.startswith("http://127.0.0.1:")
        browser.ask("POST", f"/session/{browser.session}/url", {"url": page.local_url})
        browser.wait("return document.querySelector('input[type=file]') !== null")
        field = browser.find("input[type=file]")
        browser.ask("POST", f"/session/{browser.session}/element/{field}/value", {"text": str(upload)})
        browser.wait("return document.querySelector('input[type=file]') === null")  # it is uploaded
        browser.run("document.querySelector('#reconstruct').click()")
        facts = browser.wait(
            "return document.querySelector('#facts')?.innerText.includes('48k') && "
            "document.querySelector('#facts').innerText"
        )
        assert all(label in facts for label in LABELS)
        width = browser.wait("const i = document.querySelector('#picture img'); return i && i.naturalWidth")
        assert width == 1000
        text = browser.run("return document.body.innerText")
        assert all(label in text for label in LABELS)
        wavs = {
            path.name: soundfile.info(path).frames
            for path in folder.rglob("*.wav")
            if "4k" in path.name or "8k" in path.name
        }
        assert wavs["tuned_48k.wav"] == 48_000
    finally:
        page.close()
        page.snac_exp_folder.cleanup()
    assert not folder.exists()
