"""What trackio refuses at the start of a run, refused when the recipe is composed; trackio takes a second to load.

The limits are those of `SQLiteStorage.validate_project_name`; two names that differ in other characters than letters,
digits, `-` and `_` would be one project there.
"""

from snac_exp.config.schema import Tracker
from snac_exp.errors import ConfigError

RESERVED_START = "registry-"
RESERVED_ENDS = (
    *("_system", "_configs", "_traces", "_artifacts", "_artifact_versions", "_artifact_aliases"),
    *("_run_artifact_links", "_external_run_artifact_links"),
)


def check_trackio(tracker: Tracker) -> None:
    """The project that trackio is told of.

    Raises:
        ConfigError: names the key.
    """
    project = tracker.project
    if not tracker.trackio:
        return
    if not project or not all(character.isalnum() or character in "-_" for character in project):
        raise ConfigError(
            f"tracker.project={project!r}: trackio's projects are named in letters, digits, - and _; choose such a "
            "name, or tracker.trackio=false"
        )
    if project.startswith(RESERVED_START) or project.endswith(RESERVED_ENDS):
        raise ConfigError(
            f"tracker.project={project!r}: trackio keeps names that begin with {RESERVED_START} or end with "
            f"{', '.join(RESERVED_ENDS)} for itself; choose another one, or tracker.trackio=false"
        )
