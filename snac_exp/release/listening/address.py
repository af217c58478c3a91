"""The address of a server: whether it is free, and the key that clients need where others can reach it."""

import os
import socket

from snac_exp.errors import ConfigError
from snac_exp.release.listening.guard import hosts_of

VARIABLE = "SNAC_EXP_API_KEY"
FEWEST_LETTERS = 16


def require_free(host: str, port: int) -> None:
    """ConfigError unless this address can be bound; servers would not say why."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"port={port} must be between 1 and 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as the server will; one that listens still counts
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot serve on host={host} port={port} ({reason}); give another port= or host=") from None


def key_of_environment(host: str) -> str | None:
    """The key that clients must send; None where the service is for this machine alone and none is set.

    Raises:
        ConfigError: it is missing and others could reach the service, or it is too short to be one.
    """
    key = os.environ.get(VARIABLE, "").strip()
    if not key and not hosts_of(host):
        raise ConfigError(f"host={host} lets others in: set a key for them in the environment, {VARIABLE}=…")
    if key and (len(key) < FEWEST_LETTERS or not key.isascii()):
        raise ConfigError(f"{VARIABLE} must have at least {FEWEST_LETTERS} letters of ASCII")
    return key or None
