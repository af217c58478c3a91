"""JSON files that hold an object, which a disk or a person may have damaged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.files import read_json

NUMBER = (int, float)
TEXT_OR_NONE = (str, type(None))

Shape = Mapping[str, type | tuple[type, ...]]
"""Keys that an object must have, with the types of their values."""

_EPOCH: Shape = {
    "epoch": int, "stage": str, "phase": str, "num_tokens": int, "batch_size": int, "schedule": str,
    "peak_rates": dict, "loss_weights": dict,
}  # fmt: skip


def read_object(path: Path, shape: Shape | None = None) -> dict[str, Any]:
    """The object in a JSON file, its digest verified where it has one.

    Raises:
        ConfigError: it is damaged, or has not the required shape.
    """
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is damaged ({error}); restore it or remove it") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is damaged: it is no object; restore it or remove it")
    require_shape(path, values, shape or {})
    return values


def require_shape(path: Path, values: object, shape: Shape, where: str = "it") -> None:
    """Whether an object has these keys with values of these types; `where` of the file it stands.

    Raises:
        ConfigError: names what is missing or wrong.
    """
    found = values if isinstance(values, dict) else {}
    missing = sorted(key for key in shape if key not in found)
    if missing:
        raise ConfigError(f"{path} is damaged: {where} lacks {', '.join(missing)}; restore it or remove it")
    wrong = sorted(key for key, kind in shape.items() if not isinstance(found[key], kind))
    if wrong:
        raise ConfigError(f"{path} is damaged: {where} has another kind of {', '.join(wrong)}; restore it or remove it")


def read_plan(path: Path) -> dict[str, Any]:
    """A run's plan.json; empty where there is none yet.

    Raises:
        ConfigError: it is damaged, or no plan.
    """
    if not path.exists():
        return {}
    plan = read_object(path)
    require_shape(path, {"epochs": []} | plan, {"epochs": list})
    epochs = plan.get("epochs", [])
    for number, epoch in enumerate(epochs, start=1):
        require_shape(path, epoch, _EPOCH, f"entry {number} of its epochs")
        for name in ("peak_rates", "loss_weights"):
            rates = dict.fromkeys([*epochs[0][name], *epoch[name]], (*NUMBER, type(None)))  # the same in every epoch
            require_shape(path, epoch[name], rates, f"{name} of entry {number} of its epochs")
    return plan
