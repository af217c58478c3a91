"""Headless Chromium through chromedriver's own protocol (W3C WebDriver)."""

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.waiting import GUARD_SECONDS, until


class Browser:
    """One window; what it saves lands in `downloads`."""

    def __init__(self, port: int, downloads: Path) -> None:
        self.root, self.downloads = f"http://127.0.0.1:{port}", downloads
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # a microphone that beeps
        several = {"profile.default_content_setting_values.automatic_downloads": 1}  # without asking
        chrome = {"args": flags, "prefs": {"download.default_directory": str(downloads), **several}}
        guards = {"script": 1000 * GUARD_SECONDS, "pageLoad": 1000 * GUARD_SECONDS}
        wanted = {"goog:chromeOptions": chrome, "timeouts": {name: int(value) for name, value in guards.items()}}
        self.session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One command of the protocol; `path` begins with a slash."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=GUARD_SECONDS) as answer:
            return json.loads(answer.read())["value"]

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self.ask("POST", f"/session/{self.session}/execute/sync", {"script": script, "args": []})

    def find(self, css: str) -> str:
        """The first element that a selector finds."""
        found = self.ask("POST", f"/session/{self.session}/element", {"using": "css selector", "value": css})
        return str(next(iter(found.values())))

    def wait(self, script: str) -> Any:
        """The first true value of a script; a failure shows the page's text."""
        try:
            return until(lambda: self.run(script), f"{script} is true")
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says: {self.run('return document.body.innerText')}") from None

    def open(self, address: str) -> None:
        self.ask("POST", f"/session/{self.session}/url", {"url": address})

    def clear(self) -> None:
        """A tab that knows nothing of pages before, in place of the one that showed them; nothing is saved yet."""
        window = f"/session/{self.session}/window"
        fresh = self.ask("POST", f"{window}/new", {"type": "tab"})["handle"]
        self.ask("DELETE", window)
        self.ask("POST", window, {"handle": fresh})
        self.ask("POST", f"/session/{self.session}/se/log", {"type": "browser"})
        for path in self.downloads.glob("*"):
            path.unlink(missing_ok=True)  # of one that is still being saved the name changes

    def rest(self) -> None:
        """Leave the page: one that is still shown asks its server, which is gone, again and again."""
        self.open("about:blank")

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self.ask("POST", f"/session/{self.session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def upload(self, path: Path) -> None:
        """Choose a file for the input."""
        self.wait("return document.querySelector('input[type=file]') !== null")
        field = self.find("input[type=file]")
        self.ask("POST", f"/session/{self.session}/element/{field}/value", {"text": str(path)})

    def save(self, name: str) -> Path:
        """Click the link that downloads a file, and wait until it is there."""
        self.wait(f"const a = document.querySelector('a[download][href$=\"{name}\"]'); if (a) a.click(); return !!a")
        saved = self.downloads / name
        until(saved.is_file, f"{name} is saved")  # Chromium gives it this name once it is whole
        return saved


_held: list[socket.socket] = []


def free_port() -> int:
    """A port of this machine that nothing listens on.

    It stays bound until this process ends, or the system could give it to another before a server listens there; a
    server that sets SO_REUSEADDR, as servers do, may do so all the same.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    _held.append(probe)
    return int(probe.getsockname()[1])


@contextmanager
def opened_browser(downloads: Path) -> Iterator[Browser]:
    """A browser with a driver of its own; skips where there is none."""
    if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        until(lambda: _answers(f"http://127.0.0.1:{port}/status"), "chromedriver answers", driver)
        browser = Browser(port, downloads)
        yield browser
        browser.ask("DELETE", f"/session/{browser.session}")
    finally:
        driver.terminate()
        driver.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=GUARD_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
