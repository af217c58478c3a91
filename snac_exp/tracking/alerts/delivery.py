"""Bringing one message to a webhook: retried, bounded, and never with a word about the address."""

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError

FIRST_PAUSE_SECONDS = 1.0
_TRANSIENT = (408, 425, 429)  # with 5xx: worth another try


class NotDeliveredError(Exception):
    """The message did not arrive; says why, without the address."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like others: the address is a secret of its host alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


def deliver(url: str, body: Mapping[str, Any], *, attempts: int, timeout_seconds: float, limit_seconds: float) -> None:
    """POST `body` as JSON until it is taken.

    Raises:
        NotDeliveredError: refused for good, or not taken within the attempts and the limit.
    """
    end, pause = time.monotonic() + limit_seconds, FIRST_PAUSE_SECONDS
    for number in range(1, attempts + 1):
        reason, asked_pause = _attempt(url, body, min(timeout_seconds, max(end - time.monotonic(), 0.01)))
        if reason is None:
            return
        wait = pause if asked_pause is None else asked_pause
        if number == attempts or time.monotonic() + wait >= end:
            raise NotDeliveredError(f"{reason}, at attempt {number}")
        time.sleep(wait)
        pause *= 2


def _attempt(url: str, body: Mapping[str, Any], timeout: float) -> tuple[str | None, float | None]:
    """Why the message was not taken, None if it was; and the pause that the server asks for, in seconds.

    Raises:
        NotDeliveredError: another attempt would meet the same.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "snac_exp"}
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.build_opener(_NoRedirect()).open(request, timeout=timeout):
            return None, None
    except HTTPError as error:
        with error:
            if error.code not in _TRANSIENT and error.code < 500:
                said = "a redirect, which is not followed" if error.code < 400 else "which is for good"
                raise NotDeliveredError(f"the server answered {error.code}, {said}") from None
            asked = error.headers.get("Retry-After", "")
            return f"the server answered {error.code}", float(asked) if asked.isdigit() else None
    except URLError as error:
        # Its reason is the system's word, or a text of urllib that may hold the address.
        reason = error.reason
        return (str(reason.strerror or type(reason).__name__) if isinstance(reason, OSError) else "no connection"), None
    except OSError as error:
        return error.strerror or type(error).__name__, None
    except Exception as error:  # an address that is none: http.client and urllib would show it
        raise NotDeliveredError(f"the address cannot be used ({type(error).__name__})") from None
