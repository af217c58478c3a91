"""Does the loader take it? What the doctor calls healthy can be opened and used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snac_exp.codec.files.weights import SAFETENSORS_FILE, weights_file
from snac_exp.codec.geometry import CONFIG_FILE
from snac_exp.doctor.findings import Finding, problem
from snac_exp.doctor.opening import OpenedCheckpoint
from snac_exp.errors import SnacExpError
from snac_exp.release.blueprint import TRUSTED_PREFIX
from snac_exp.release.loading import open_model, open_saved
from snac_exp.release.token_model import load_token_model
from snac_exp.system.checksums.listed_files import DESCRIPTION_FILE


def examine_loading(opened: OpenedCheckpoint) -> list[Finding]:
    """A problem where the loader refuses what the doctor could open; nothing is said where no loader knows the model:
    a task or a head of the user's own, or a file of weights without a config beside it."""
    try:
        if opened.saved is not None:
            if opened.config.get("lm"):
                load_token_model(opened.path)
            elif _codec_of_this_package(opened.config):
                open_saved(opened.saved, opened.path)
        elif is_of_folder(opened.path):
            open_model(opened.path.parent)
    except SnacExpError as error:
        return [problem("loading", opened.path.name, f"it does not load: {error}")]
    return []


def is_of_folder(path: Path) -> bool:
    """Whether this is the file of weights that the loader takes when it is given the folder."""
    folder = path.parent
    if (folder / DESCRIPTION_FILE).is_file():
        return path.name == SAFETENSORS_FILE
    return (folder / CONFIG_FILE).is_file() and path.name == weights_file(folder).name


def _codec_of_this_package(config: Mapping[str, Any]) -> bool:
    task, heads = config.get("task"), config.get("heads") or {}
    known = isinstance(task, Mapping) and task.get("name") == "codec"
    targets = [head.get("_target_") for head in heads.values() if isinstance(head, Mapping)]
    return known and all(str(target).startswith(TRUSTED_PREFIX) for target in targets)
