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
        ConfigError: with the two ways out, and the netrc that cannot be read, if any.
    """
    if mode == "online" and not has_key():
        damaged = "".join(f" ({error})" for error in map(_key_in, _netrc_files()) if isinstance(error, Exception))
        raise ConfigError(f"tracker.mode=online, but there is no W&B key on this machine: {WAYS_OUT}{damaged}")


def has_key() -> bool:
    """Whether W&B would find a key: in the environment, or stored for its host by `wandb login` in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return any(isinstance(_key_in(path), str) for path in _netrc_files())


def _netrc_files() -> list[Path]:
    """Where one may lie; _netrc is the name on Windows."""
    chosen = os.environ.get("NETRC")
    return [Path(chosen).expanduser()] if chosen else [Path.home() / ".netrc", Path.home() / "_netrc"]


def _key_in(path: Path) -> str | Exception | None:
    """What a netrc has for the W&B server, or why it cannot be read; W&B finds no key there then either."""
    try:
        found = netrc.netrc(str(path)).authenticators(urlparse(base_url()).netloc)
    except FileNotFoundError as error:
        return error if os.environ.get("NETRC") else None  # named by the user, or looked for
    except UnicodeDecodeError as error:
        return ValueError(f"{path}: {error}")
    except (OSError, netrc.NetrcParseError) as error:
        return error
    return None if found is None else found[2] or None  # login, account, password


def base_url() -> str:
    """The W&B server: WANDB_BASE_URL, else what `wandb login --host` stored, else the public one."""
    if os.environ.get("WANDB_BASE_URL"):
        return os.environ["WANDB_BASE_URL"]
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(Path(folder).expanduser() / "settings", encoding="utf-8")
    return settings.get("default", "base_url", fallback="https://api.wandb.ai")
