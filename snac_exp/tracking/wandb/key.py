"""Whether this machine can send to W&B without asking anybody."""

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlparse

from snac_exp.errors import ConfigError

WAYS_OUT = "run `wandb login` (or set WANDB_API_KEY), or set tracker.mode=offline and upload later with `wandb sync`"


def require_key(mode: str) -> None:
    """Refuse mode online where no key is found; cheap, so it can be asked before anything is built.

    Raises:
        ConfigError: with the two ways out.
    """
    if mode == "online" and not has_key():
        raise ConfigError(f"tracker.mode=online, but there is no W&B key on this machine: {WAYS_OUT}")


def has_key() -> bool:
    """Whether W&B would find a key: in the environment, or stored for its host by `wandb login` in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(base_url()).netloc
    chosen = os.environ.get("NETRC")
    # _netrc is its name on Windows.
    for path in [Path(chosen).expanduser()] if chosen else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            found = netrc.netrc(str(path)).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue  # W&B finds no key there either
        if found is not None and found[2]:  # login, account, password
            return True
    return False


def base_url() -> str:
    """The W&B server: WANDB_BASE_URL, else what `wandb login --host` stored, else the public one."""
    if os.environ.get("WANDB_BASE_URL"):
        return os.environ["WANDB_BASE_URL"]
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(Path(folder).expanduser() / "settings", encoding="utf-8")
    return settings.get("default", "base_url", fallback="https://api.wandb.ai")
