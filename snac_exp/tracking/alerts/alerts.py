"""Telling a webhook what became of a run or a sweep; nothing here ends anything."""

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from snac_exp.config.schema.alerts import Alerts as Settings
from snac_exp.config.schema.alerts import Event
from snac_exp.errors import ConfigError
from snac_exp.tracking.alerts.delivery import NotDeliveredError, deliver

MAX_CHARACTERS = 1900  # Discord takes 2000
_GRACE_SECONDS = 1.0


def require_address(settings: Settings) -> None:
    """Refuse alerts without an address; cheap, so it can be asked before anything is built.

    Raises:
        ConfigError: the variable is not set, or holds no address.
    """
    name = settings.url_variable
    if name is None:
        return
    address = urlparse(os.environ.get(name, ""))
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ConfigError(
            f"alerts.url_variable={name}: the environment variable {name} holds no http(s) address; set it to that of "
            "the webhook, or leave alerts out: alerts=none"
        )


class Alerts:
    """Sends alerts in the background; `close` waits for them, no longer than the limit.

    The address is read from the environment when an alert is sent, and shown nowhere.
    """

    def __init__(self, settings: Settings, tell: Callable[[str], None] = print) -> None:
        """`tell` is given one line if alerts could not be delivered."""
        self._settings, self._tell = settings, tell
        self._threads: list[threading.Thread] = []
        self._failures: list[str] = []

    def asked_for(self, event: Event) -> bool:
        """Whether the settings ask for an event."""
        return self._settings.url_variable is not None and event in self._settings.on

    def send(self, event: Event, name: str, text: str, folder: Path) -> None:
        """Tell of an event of the run or sweep `name`, where the settings ask for it."""
        variable = self._settings.url_variable
        if variable is None or not self.asked_for(event):
            return
        body = body_of(self._settings.form, event, name, text, folder)
        thread = threading.Thread(target=self._deliver, args=(os.environ.get(variable, ""), body), daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """Wait for what is under way, and say once what did not arrive."""
        end = time.monotonic() + self._settings.limit_seconds + _GRACE_SECONDS
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
            if thread.is_alive():
                self._failures.append("no answer within alerts.limit_seconds")
        if self._failures:
            self._tell(f"alert not delivered: {self._failures[0]}; see to the webhook in {self._settings.url_variable}")
        self._threads, self._failures = [], []

    def _deliver(self, url: str, body: dict[str, Any]) -> None:
        settings = self._settings
        try:
            deliver(
                url,
                body,
                attempts=settings.attempts,
                timeout_seconds=settings.timeout_seconds,
                limit_seconds=settings.limit_seconds,
            )
        except NotDeliveredError as error:
            self._failures.append(str(error))


def body_of(form: str, event: Event, name: str, text: str, folder: Path) -> dict[str, Any]:
    """What is sent: Slack's and Discord's forms have one text, plain JSON its parts."""
    host = socket.gethostname()
    whole = f"{name}: {event.replace('_', ' ')}\n{text}\n{folder} on {host}"
    if len(whole) > MAX_CHARACTERS:
        whole = whole[: MAX_CHARACTERS - 1] + "…"
    if form == "slack":
        for mark, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            whole = whole.replace(mark, written)
        return {"text": whole}
    if form == "discord":
        return {"content": whole, "allowed_mentions": {"parse": []}}
    return {"event": event, "name": name, "text": text, "folder": str(folder), "host": host, "time": time.time()}
