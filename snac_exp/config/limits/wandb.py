"""What W&B refuses at the start of a run, refused when the recipe is composed. No W&B here: it takes a second to load.

The limits are those of wandb.sdk.wandb_settings and of its server.
"""

from snac_exp.config.schema import Experiment
from snac_exp.errors import ConfigError

MAX_NAME_CHARACTERS = 128  # of a project, a run or a group
MAX_TAG_CHARACTERS = 64
FORBIDDEN_CHARACTERS = "/\\#?%:"
RUN_FOLDER_CHARACTERS = 32  # a run is listed as NAME/TIME-HASH


def check_wandb(experiment: Experiment) -> None:
    """Project, entity, tags and the name of a run that W&B is told of.

    Raises:
        ConfigError: names the key.
    """
    tracker = experiment.tracker
    if tracker.mode == "off":
        return
    check_name("tracker.project", tracker.project)
    if tracker.entity is not None:
        check_name("tracker.entity", tracker.entity)
    for tag in tracker.tags:
        if not 1 <= len(tag) <= MAX_TAG_CHARACTERS:
            raise ConfigError(
                f"tracker.tags={tag!r} has {len(tag)} characters; W&B takes tags of 1 to {MAX_TAG_CHARACTERS}"
            )
    longest = MAX_NAME_CHARACTERS - RUN_FOLDER_CHARACTERS
    if len(experiment.name) > longest:
        raise ConfigError(
            f"name={experiment.name!r} has {len(experiment.name)} characters; W&B takes {longest} beside time and "
            "hash of the run: choose a shorter one, or tracker.mode=off"
        )


def check_name(key: str, value: str) -> None:
    """ConfigError unless W&B takes this name of a project or entity."""
    if not 1 <= len(value) <= MAX_NAME_CHARACTERS:
        raise ConfigError(f"{key}={value!r} has {len(value)} characters; W&B takes 1 to {MAX_NAME_CHARACTERS}")
    found = [character for character in FORBIDDEN_CHARACTERS if character in value]
    if found:
        raise ConfigError(
            f"{key}={value!r} holds {' '.join(found)}; W&B takes no {' '.join(FORBIDDEN_CHARACTERS)} in such a name"
        )
