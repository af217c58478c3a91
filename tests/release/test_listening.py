"""The page to listen: what it computes, and the page itself in a headless browser with a real upload."""

import io
import json
import os
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
from snac_exp.errors import CodecError, ConfigError, DataError
from snac_exp.release.before import codec_before
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening import listen, voices_of
from snac_exp.release.sources import load_codec, open_model
from snac_exp.training.checkpoints import write_checkpoint
from tests.release.conftest import payload_of, random_codec, random_model, speech_like

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


def test_the_verb_binds_to_loopback_unless_told_otherwise(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Any] = []
    monkeypatch.setattr("snac_exp.release.page.serve", lambda *arguments: served.append(arguments))
    assert cli.run(["serve", f"checkpoint={checkpoint}"]) == 0
    assert "no pretrained codec beside it" in capsys.readouterr().out
    assert cli.run(["serve", f"checkpoint={checkpoint}", "host=0.0.0.0", f"pretrained={checkpoint}"]) == 0
    (tuned, none, first), (_, pretrained, second) = served
    assert (tuned.sample_rates, none, pretrained.sample_rates) == ((24_000, 48_000), None, (24_000, 48_000))
    assert (first.host, first.max_seconds, first.max_megabytes, second.host) == ("127.0.0.1", 120.0, 50.0, "0.0.0.0")
    with pytest.raises(ConfigError, match="must be greater than 0"):
        cli.run(["serve", f"checkpoint={checkpoint}", "max_seconds=0"])


def test_the_codec_before_training_is_found_where_the_run_found_it(tmp_path: Path) -> None:
    save_snac(random_codec().model, tmp_path / "codec")
    payload = payload_of(random_model())

    def before(place: dict[str, Any] | None) -> ReleasedCodec:
        payload["config"]["codec"] = place
        write_checkpoint(tmp_path / "model.pt", payload)
        return codec_before(open_model(tmp_path / "model.pt"))

    found = before({"name": "small", "path": str(tmp_path / "codec"), "bundled": None, "hub_id": None})
    assert (found.sample_rates, found.fingerprint) == ((24_000,), load_codec(tmp_path / "codec").fingerprint)
    for place, message in (
        (None, "does not say what it was trained from"),
        ({"bundled": "demo_codec"}, "is not the one that"),
        ({"path": str(tmp_path / "gone")}, "gone"),
        ({"scratch": {}}, "was trained from random weights"),
        ({"path": ["x"]}, "says nowhere to load from"),
    ):
        with pytest.raises(CodecError, match=message):
            before(place)


class Browser:
    """Headless Chromium through chromedriver's own protocol (W3C WebDriver)."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # a microphone that beeps
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


@pytest.fixture(scope="module")
def page(codec: ReleasedCodec, pretrained: ReleasedCodec) -> Iterator[Any]:
    """The page, served; uploads of at most 10 s and 1 MB."""
    pytest.importorskip("gradio", reason="the optional extra [serve] is not installed")
    from snac_exp.release.page import PageSettings, serve

    page = serve(codec, pretrained, PageSettings("127.0.0.1", free_port(), 10.0, 1.0, 0), block=False)
    folder = Path(page.snac_exp_folder.name)
    yield page
    page.close()
    page.snac_exp_folder.cleanup()
    assert not folder.exists()


def reconstructed(browser: Browser) -> str:
    """Press the button and wait for the figures."""
    browser.run("document.querySelector('#reconstruct').click()")
    facts: str = browser.wait(
        "return document.querySelector('#facts')?.innerText.includes('48k') && "
        "document.querySelector('#facts').innerText"
    )
    return facts


def test_the_page_takes_an_upload(page: Any, upload: Path, browser: Browser) -> None:
    assert page.local_url.startswith("http://127.0.0.1:")
    browser.ask("POST", f"/session/{browser.session}/url", {"url": page.local_url})
    browser.wait("return document.querySelector('input[type=file]') !== null")
    field = browser.find("input[type=file]")
    browser.ask("POST", f"/session/{browser.session}/element/{field}/value", {"text": str(upload)})
    browser.wait("return document.querySelector('input[type=file]') === null")  # it is uploaded
    facts = reconstructed(browser)
    assert all(label in facts for label in LABELS)
    width = browser.wait("const i = document.querySelector('#picture img'); return i && i.naturalWidth")
    assert width == 1000
    text = browser.run("return document.body.innerText")
    assert all(label in text for label in LABELS)
    links = browser.run("return [...document.querySelectorAll('a[download]')].map(link => link.href)")
    (wide,) = [link for link in links if link.endswith("tuned_48k.wav")]
    with urllib.request.urlopen(wide, timeout=10) as answer:
        assert soundfile.info(io.BytesIO(answer.read())).frames == 48_000
    assert browser.run("return document.querySelector('[aria-label=Share]') === null")  # it would upload elsewhere


def test_the_page_records(page: Any, browser: Browser) -> None:
    browser.ask("POST", f"/session/{browser.session}/url", {"url": page.local_url})
    press = "const b = [...document.querySelectorAll('button')].find(item => {}); if (b) b.click(); return !!b"
    browser.wait(press.format("item.ariaLabel === 'Record audio'"))
    browser.wait(press.format("item.classList.contains('record-button')"))
    time.sleep(1.5)
    browser.wait(press.format("item.classList.contains('stop-button') && item.offsetParent !== null"))
    browser.wait("return document.querySelectorAll('a[download]').length > 0")  # it is uploaded
    assert all(label in reconstructed(browser) for label in LABELS)


def test_an_upload_that_is_too_large_is_refused(page: Any, tmp_path: Path) -> None:
    before = sorted(Path(page.snac_exp_folder.name).rglob("*"))
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../big.wav"\r\n\r\n'
    for size, status in ((2_000_000, 413), (1000, 200)):
        data = body + bytes(size) + b"\r\n--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        request = urllib.request.Request(f"{page.local_url}gradio_api/upload", data, headers)
        try:
            found = urllib.request.urlopen(request, timeout=20).status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status
    new = [path for path in Path(page.snac_exp_folder.name).rglob("*") if path not in before and path.is_file()]
    assert [path.name for path in new] == ["big.wav"]  # the small one, inside the folder whatever its name was
    assert not list(Path(page.snac_exp_folder.name).parent.glob("big.wav"))


def test_a_port_that_is_taken_is_named(page: Any, codec: ReleasedCodec) -> None:
    from snac_exp.release.page import PageSettings, serve

    with pytest.raises(ConfigError, match="choose another port="):
        serve(codec, None, PageSettings("127.0.0.1", page.server_port, 10.0, 1.0, 0), block=False)


def test_results_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    from snac_exp.release.page import KEEP_SECONDS, RESULTS, _forget_old

    for name, age in ((f"{RESULTS}old", KEEP_SECONDS + 5), (f"{RESULTS}new", 5), ("other", KEEP_SECONDS + 5)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    _forget_old(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{RESULTS}new", "other"]
