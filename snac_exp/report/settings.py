"""A resolved config for people: what differs from the defaults, or between runs, before all the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from snac_exp.config.arguments import is_path_key
from snac_exp.config.compose import compose_config, config_dir, resolved
from snac_exp.errors import ConfigError

ABSENT = "not set"
# Where a run lies says nothing about what it is.
_PLACES = ("output_dir",)
# Nor does how it was watched.
_NOT_COMPARED = ("name", "trainer.num_sample_clips", "trainer.log_every_steps")


@dataclass(frozen=True)
class Difference:
    """A key with its values as text: the default and the run's, or one per run."""

    key: str
    values: list[str]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys; lists and empty groups are values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def text_of(value: Any) -> str:
    """A value as one would type it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(text_of(item) for item in value)}]"
    if isinstance(value, float):
        return _number(value)
    return str(value) if not isinstance(value, Mapping) else "{}"


def _number(value: float) -> str:
    """The shortest form that is the number exactly; small ones as recipes write them, 5e-5."""
    digits, _, exponent = f"{value:e}".partition("e")
    small = f"{float(digits):g}e{int(exponent)}" if 0 < abs(value) < 1e-2 else ""
    return next(
        form for form in (small, f"{value:g}", repr(value)) if form and (form == repr(value) or float(form) == value)
    )


def differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Keys in which configs differ, with the value of each."""
    columns = [flat(values) for values in configs]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    found = []
    for key in keys:
        values = [text_of(column[key]) if key in column else ABSENT for column in columns]
        if len(set(values)) > 1 and key not in _PLACES:
            found.append(Difference(key, values))
    return found


def differences_between_runs(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Those in which runs differ as experiments, not in where they lie or how they were watched."""
    found = differences(configs)
    return [
        item for item in found if item.key not in _NOT_COMPARED and not item.key.startswith(("tracker.", "alerts."))
    ]


def differs_from_defaults(config: Mapping[str, Any]) -> tuple[list[Difference], str | None]:
    """Keys in which a run's config differs from conf/train.yaml as it is now; else why that cannot be compared."""
    try:
        defaults = _defaults(*_as_they_are())
    except ConfigError as error:
        return [], f"the defaults cannot be composed ({error})"
    return [item for item in differences([defaults, config]) if not _same_path(item)], None


@lru_cache(maxsize=1)
def _defaults(folder: Path, changed: int) -> dict[str, Any]:
    """The values of conf/train.yaml, composed once for all reports of a process while no file of `folder` changes."""
    # Not complete: defaults that a user has to set have no value here.
    return resolved(compose_config("train", []), complete=False)


def _as_they_are() -> tuple[Path, int]:
    """The folder of YAML files and when one of them, or the list of files in a folder, was changed last."""
    folder = config_dir()
    return folder, max((path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))), default=0)


def _same_path(item: Difference) -> bool:
    """Whether a run's absolute path is the default's relative one, from where the run was started."""
    default, ours = item.values
    name = item.key.rpartition(".")[2]
    # Stored configs hold absolute paths, the defaults relative ones.
    return is_path_key(name) and not Path(default).is_absolute() and ours.endswith(f"/{default}")
