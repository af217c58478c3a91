"""Arguments of the verbs here: `checkpoint=` names a codec, not a group of the recipe."""

from collections.abc import Sequence
from typing import Any

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved

_KEY = "checkpoint"


def verb_values(verb: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The resolved values of conf/VERB.yaml with `key=value` arguments.

    conf/ has a group called checkpoint, so Hydra would take the argument for a choice of that group: it is set here.
    """
    given = [item.split("=", 1)[1] for item in arguments if item.startswith(f"{_KEY}=")]
    config = compose_config(verb, hydra_overrides([item for item in arguments if not item.startswith(f"{_KEY}=")]))
    if given:
        config[_KEY] = ""  # no longer missing
    values = resolved(config)
    return values | {_KEY: _unquoted(given[-1])} if given else values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    return value[1:-1] if quoted else value
