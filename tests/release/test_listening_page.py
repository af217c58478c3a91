"""The page to listen in a headless browser: a real upload, a recording, what it refuses and what it leaves."""

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp import cli
from snac_exp.errors import ConfigError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.listening.page import RESULTS, PageSettings, opened_page
from tests.helpers.browser import Browser, free_port
from tests.helpers.waiting import GUARD_SECONDS, first_line, until
from tests.release.conftest import speech_like

LABELS = ["pretrained 24k", "tuned 24k", "tuned 48k"]
PRESS = "const b = [...document.querySelectorAll('button')].find(item => {}); if (b) b.click(); return !!b"

# In the page itself, so that a busy machine records no more than the page takes.
STOP_AFTER_TWO_SECONDS = """
(function look() {
  const shown = document.querySelector('time.duration')?.innerText, button = document.querySelector('.stop-button');
  if (shown >= '0:02' && button?.offsetParent) button.click(); else setTimeout(look, 20);
})()
"""


@pytest.fixture(scope="module")
def page(codec: ReleasedCodec, pretrained: ReleasedCodec) -> Iterator[tuple[str, Path]]:
    """Address and folder of the page, served; uploads of at most 10 s and 1 MB."""
    need_gradio()
    with opened_page(codec, pretrained, PageSettings("127.0.0.1", free_port(), 10.0, 1.0, 0)) as (blocks, folder):
        yield blocks.local_url, folder
    assert not folder.exists()


def need_gradio() -> None:
    """Skip without it; the page itself imports it, since gradio then decides where it keeps files."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs the extra [serve]: pip install -e '.[serve]'")


def reconstructed(browser: Browser) -> str:
    """Press the button once the input is uploaded, and wait for the figures."""
    browser.wait("return document.querySelector('input[type=file]') === null && document.querySelector('a[download]')")
    browser.run("document.querySelector('#reconstruct').click()")
    table: str = browser.wait(
        "return document.querySelector('#table')?.innerText.includes('48k') && "
        "document.querySelector('#table').innerText"
    )
    return table


@pytest.mark.slow
def test_the_page_takes_an_upload(
    page: tuple[str, Path], codec: ReleasedCodec, pretrained: ReleasedCodec, upload: Path, browser: Browser
) -> None:
    """What a visitor downloads is what the codecs make of the upload, to the last bit but one of 16."""
    assert page[0].startswith("http://127.0.0.1:")
    browser.open(page[0])
    browser.upload(upload)
    table = reconstructed(browser)
    assert all(label in table for label in LABELS)
    width = browser.wait("const i = document.querySelector('#picture img'); return i && i.naturalWidth")
    assert width == 1000
    text = browser.run("return document.body.innerText")
    assert all(label in text for label in LABELS)
    audio = soundfile.read(upload, dtype="float32")[0]
    for label, shown, rate in zip(LABELS, (pretrained, codec, codec), (24_000, 24_000, 48_000), strict=True):
        saved, found = soundfile.read(browser.save(f"{label.replace(' ', '_')}.wav"), dtype="int16")
        expected = shown.decode(shown.encode(audio, 44_100), rate, seed=0)[0, 0].numpy() * 32767
        assert (found, saved.shape) == (rate, expected.shape)
        assert np.abs(saved - np.clip(expected, -32767, 32767)).max() <= 1
        assert np.std(saved) > 300
    assert browser.run("return document.querySelector('[aria-label=Share]') === null")  # it would upload elsewhere


@pytest.mark.slow
def test_the_page_records(page: tuple[str, Path], browser: Browser) -> None:
    """Chromium's own microphone beeps; the beeps are heard in what comes out."""
    browser.open(page[0])
    browser.wait(PRESS.format("item.ariaLabel === 'Record audio'"))
    browser.wait(PRESS.format("item.classList.contains('record-button')"))
    browser.run(STOP_AFTER_TWO_SECONDS)
    table = reconstructed(browser)
    assert all(label in table for label in LABELS)
    narrow, wide = (soundfile.read(browser.save(f"tuned_{rate}.wav"))[0] for rate in ("24k", "48k"))
    assert len(narrow) > 24_000
    assert abs(len(wide) - 2 * len(narrow)) <= 1
    recorded = max(
        (path for path in page[1].glob("*/*.wav") if "reconstructions_" not in str(path)), key=os.path.getmtime
    )
    assert np.std(soundfile.read(recorded)[0]) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "rate", "text", "message"),
    [
        (30, 24_000, None, "exceed the maximum allowed size of 1000.0 Kb"),
        (12, 8_000, None, "12 s of audio are more than the 10 s that this page takes"),
        (0, 0, "<html>this is no audio</html>", "the upload: not readable as audio"),
    ],
)
def test_uploads_that_are_refused_say_why(
    page: tuple[str, Path],
    browser: Browser,
    tmp_path: Path,
    seconds: int,
    rate: int,
    text: str | None,
    message: str,
) -> None:
    path = tmp_path / "take.wav"
    if text is None:
        soundfile.write(path, speech_like(seconds * rate), rate)
    else:
        path.write_text(text)
    before = set(page[1].glob(f"{RESULTS}*/*"))
    browser.open(page[0])
    browser.upload(path)
    if "maximum" not in message:
        browser.wait("return document.querySelector('input[type=file]') === null")
        browser.run("document.querySelector('#reconstruct').click()")
    browser.wait(f"return document.body.innerText.includes('{message}')")
    assert set(page[1].glob(f"{RESULTS}*/*")) == before


def test_an_upload_that_is_too_large_is_refused(page: tuple[str, Path]) -> None:
    """By the server too, whatever a visitor's browser lets through, and whatever the name says."""
    address, folder = page
    before = sorted(folder.rglob("*"))
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../big.wav"\r\n\r\n'
    for size, status in ((2_000_000, 413), (1000, 200)):
        data = body + bytes(size) + b"\r\n--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert status_of(urllib.request.Request(f"{address}gradio_api/upload", data, headers)) == status
    new = [path for path in folder.rglob("*") if path not in before and path.is_file()]
    assert [path.name for path in new] == ["big.wav"]  # the small one, inside the folder whatever its name was
    assert not list(folder.parent.glob("big.wav"))


def status_of(request: urllib.request.Request | str) -> int:
    try:
        with urllib.request.urlopen(request, timeout=GUARD_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_other_files_of_the_machine_are_not_served(page: tuple[str, Path]) -> None:
    address, folder = page
    for name in ("/etc/passwd", str(Path(__file__).resolve()), "pyproject.toml", f"{folder}/../../etc/passwd"):
        assert status_of(f"{address}gradio_api/file={name}") in (403, 404)


@pytest.mark.slow
def test_addresses_that_cannot_be_bound(page: tuple[str, Path], checkpoint: Path) -> None:
    port = page[0].rsplit(":", 1)[1].strip("/")
    for key, message in (
        (f"port={port}", rf"host=127\.0\.0\.1 port={port} \(Address already in use\); give another port="),
        ("port=70000", "port=70000 must be between 1 and 65535"),
        ("port=0", "port=0 must be between 1 and 65535"),
        ("host=not.a.name.invalid", r"host=not\.a\.name\.invalid .* give another port= or host="),
    ):
        with pytest.raises(ConfigError, match=message):
            cli.run(["serve", f"checkpoint={checkpoint}", "pretrained=null", key])


@pytest.mark.slow
def test_a_page_that_is_stopped_at_work_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    """By the system's signal, which is treated as Ctrl-C is."""
    need_gradio()
    temporary, wave = tmp_path / "tmp", io.BytesIO()
    temporary.mkdir()
    soundfile.write(wave, np.tile(speech_like(24_000 * 10), 10), 24_000, format="WAV")
    command = ["serve", f"checkpoint={checkpoint}", "pretrained=null", f"port={free_port()}"]
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "snac_exp.cli", *command],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    root = f"{first_line(process).split()[0]}/gradio_api"
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    upload = urllib.request.Request(f"{root}/upload", head + wave.getvalue() + b"\r\n--x--\r\n", form)
    (path,) = json.loads(urllib.request.urlopen(upload, timeout=GUARD_SECONDS).read())
    job = json.dumps({"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{root}/call/reconstruct", job, {"Content-Type": "application/json"}),
        timeout=GUARD_SECONDS,
    )
    until(lambda: list(temporary.glob(f"*/{RESULTS}*/.*")), "it decodes", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, "Traceback" in errors) == (0, False), errors
    assert not list(temporary.glob("snac_exp_*"))
