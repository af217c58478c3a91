"""Whether the packages of the trackers that a recipe chooses are installed; none of them is loaded for it."""

from importlib.util import find_spec

from snac_exp.config.schema import Tracker
from snac_exp.errors import ConfigError
from snac_exp.tracking.wandb.key import require_key

EXTRAS = ("tensorboard", "trackio")
"""Trackers that are extras; each has the name of its package and of its key."""


def require_packages(settings: Tracker) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        ConfigError: with the command that installs it.
    """
    for name in EXTRAS:
        if getattr(settings, name) and find_spec(name) is None:
            raise ConfigError(
                f"tracker.{name}=true needs the package {name}: pip install 'snac_exp[{name}]', or leave it out"
            )


def require_trackers(settings: Tracker) -> None:
    """Refuse trackers that cannot start on this machine; cheap, so it can be asked before anything is built.

    Raises:
        ConfigError: a package or W&B's key is missing; says how to mend it.
    """
    require_packages(settings)
    require_key(settings.mode)
