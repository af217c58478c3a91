"""What is no setting of alerts, refused when the recipe is composed. No message shows an address: it is a secret."""

import re

from snac_exp.config.schema.alerts import Alerts
from snac_exp.errors import ConfigError

MAX_LIMIT_SECONDS = 600.0


def check_alerts(alerts: Alerts) -> None:
    """The name of the variable, and the bounds.

    Raises:
        ConfigError: names the key.
    """
    name = alerts.url_variable
    if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError(
            "alerts.url_variable is the NAME of an environment variable, like SNAC_EXP_WEBHOOK, and what was given is "
            "none: put the address into that variable, never into a config"
        )
    if not 1 <= alerts.attempts <= 20:
        raise ConfigError(f"alerts.attempts={alerts.attempts} must lie between 1 and 20")
    for key in ("timeout_seconds", "limit_seconds"):
        if not 0 < getattr(alerts, key) <= MAX_LIMIT_SECONDS:
            raise ConfigError(f"alerts.{key}={getattr(alerts, key)} must lie between 0 and {MAX_LIMIT_SECONDS:g}")
