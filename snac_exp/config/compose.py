"""Compose YAML groups and overrides into a checked `Experiment`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from snac_exp.config.arguments import hydra_overrides, is_path_key, unquoted
from snac_exp.config.schema import Experiment
from snac_exp.config.structure import nearest, structure
from snac_exp.config.validate import validate
from snac_exp.errors import ConfigError
from snac_exp.system.remote.urls import is_url

OF_A_SWEEP = ("hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.sweeper")
OF_THE_SWEEP_COMMAND = ("dry_run", "wait")
ADDED_GROUPS = ("experiment", "debug", "sweep")


def config_dir() -> Path:
    """The folder of YAML files: conf/ of the checkout, or its copy inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    # A checkout's own files first: these are the ones that users edit.
    checkout = package.parent / "conf"
    return checkout if (checkout / "train.yaml").exists() else package / "conf"


def compose_config(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a primary config of conf/ with Hydra overrides; errors become `ConfigError` with the mend."""
    # Hydra has one state per process and refuses to be initialised twice.
    GlobalHydra.instance().clear()
    try:
        refuse_sweep(config_name, overrides)
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose(config_name, overrides=list(overrides))
    except HydraException as error:
        raise ConfigError(explain(error)) from error


def verb_values(verb: str, arguments: Sequence[str], path_keys: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved values of conf/VERB.yaml with `key=value` arguments; `path_keys` are keys that hold paths here.

    Where a verb has a key of its own that is also the name of a group (`data`, `checkpoint`), Hydra would take the
    argument for a choice of that group; so it is set here.
    """
    keys = OmegaConf.load(config_dir() / f"{verb}.yaml")
    assert isinstance(keys, DictConfig)
    own = {str(key) for key in keys if (config_dir() / str(key)).is_dir()}
    given = dict(item.split("=", 1) for item in arguments if item.split("=", 1)[0] in own)
    others = [item for item in arguments if item.split("=", 1)[0] not in own]
    config = compose_config(verb, hydra_overrides(others, path_keys))
    for key, value in given.items():
        # Others are paths, in which an interpolation is meant as the letters it has.
        is_path = not isinstance(keys.get(key), bool)
        config[key] = unquoted(value).replace("${", "\\${") if is_path else yaml.safe_load(value)
    return resolved(config)


def refuse_sweep(config_name: str, overrides: Sequence[str]) -> None:
    """Overrides that only a sweep has: of one run they would be an unknown key, an ambiguous value, or pass unheeded.

    Raises:
        ConfigError: one of them; says how a sweep is started.
        HydraException: an override that cannot be read.
    """
    for item in OverridesParser.create().parse_overrides(list(overrides)):
        key, line = item.key_or_group, item.input_line
        of_the_command = config_name == "train" and key in OF_THE_SWEEP_COMMAND
        if key.partition(".")[0] == "sweep" or key.startswith(OF_A_SWEEP) or of_the_command:
            raise ConfigError(f"{line} needs -m before it: a sweep is started with: python train.py -m {line} …")
        if config_name == "train" and item.is_sweep_override():
            raise ConfigError(
                f"{line} names several values, which is a sweep, and a sweep is started with: "
                f"python train.py -m {line} …; one value with a comma is a list, key=[…], or in quotes, key='…'"
            )


def resolved(config: DictConfig, *, complete: bool = True) -> dict[str, Any]:
    """Plain dictionaries with all interpolations resolved; if `complete`, a value still `???` is an error."""
    try:
        container = OmegaConf.to_container(config, resolve=True, throw_on_missing=complete)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "?")
        if isinstance(error, MissingMandatoryValue):
            raise ConfigError(f"{key} has no value; set it with {key}=VALUE") from error
        raise ConfigError(f"{key} has no value: {str(error).splitlines()[0]}; set it with {key}=VALUE") from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def experiment_of(values: dict[str, Any]) -> Experiment:
    """The checked experiment of a resolved config."""
    experiment = structure(Experiment, values)
    validate(experiment)
    return experiment


def compose_experiment(overrides: Sequence[str], *, complete: bool = True) -> tuple[Experiment, dict[str, Any]]:
    """Compose conf/train.yaml with overrides: the checked experiment and the resolved values to store with the run.

    A plan needs no data, so it may be made of a recipe that is not `complete`.
    """
    values = resolved(compose_config("train", overrides), complete=complete)
    # What is stored with the run must mean the same from another working directory.
    values = with_absolute_paths(values)
    return experiment_of(values), values


def with_absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Relative paths of data, codec and `init_from` made absolute, so that a run resumes from wherever one stands."""
    return {key: _absolute(key, value) for key, value in values.items()}


def _absolute(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return with_absolute_paths(value)
    if isinstance(value, list):
        return [_absolute("", item) for item in value]  # of data.sources, each with its own keys
    if isinstance(value, str) and value != "???" and is_path_key(key) and key != "output_dir" and not is_url(value):
        return str(Path(value).expanduser().absolute())
    return value


def explain(error: HydraException) -> str:
    """Hydra's own first line, or ours with the nearest right name where a key or a file was misspelt."""
    if isinstance(error, OverrideParseException):
        reason = str(error).splitlines()[0]
        return f"cannot read the override {error.override}: {reason}; quote values with special characters, key='…'"
    cause = error.__cause__
    parent = getattr(cause, "parent_node", None)
    if parent is not None:
        # OmegaConf's error knows where the key was wanted, hence what keys there are.
        close = nearest(str(getattr(cause, "key", "")), map(str, parent.keys()))
        return f"unknown key '{getattr(cause, 'full_key', '?')}'{close}"
    text = next(line for line in str(error).splitlines() if line.strip())
    absent = re.search(r"Could not override '([^']+)'.*No match in the defaults list", text)
    if absent is not None and (config_dir() / absent[1]).is_dir():
        if absent[1] in ADDED_GROUPS:
            return f"{absent[1]} is added to the recipe, not replaced: write +{absent[1]}=NAME"
        mend = "its --help lists the keys"
        if absent[1] == "codec":
            mend = "where it takes a codec, that is checkpoint=: its folder, its hub id or its name, as checkpoint=demo"
        return f"unknown key '{absent[1]}' of this command; {mend}"
    wanted = re.search(r"Could not find '([^']+)'", text)
    if wanted is None:
        return text
    group, _, name = wanted[1].rpartition("/")  # of `init=` the name is empty
    close = nearest(name, (path.stem for path in (config_dir() / group).glob("*.yaml")))
    return f"there is no file conf/{wanted[1]}.yaml{close}"
