"""The hub: uploading an exported folder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from snac_exp.errors import CheckpointError, ConfigError

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def check_repo_id(repo_id: str) -> None:
    """ConfigError unless it reads USER/REPO."""
    if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id:
        raise ConfigError(f"push={repo_id!r} is no repository of the hub; write push=USER/REPO")


def upload(directory: Path, files: Sequence[str], repo_id: str, *, private: bool, message: str) -> str:
    """Create the repository if need be and upload these files of `directory` in one commit; returns its address.

    Raises:
        CheckpointError: the hub is out of reach or refuses; nothing is half uploaded, a commit is whole or absent.
    """
    from huggingface_hub import HfApi

    check_repo_id(repo_id)
    api = HfApi()
    try:
        api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=str(directory),
            repo_type="model",
            allow_patterns=list(files),
            commit_message=message,
        )
    except hub_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"cannot upload to '{repo_id}' ({reason}): log in with 'hf auth login' or set HF_TOKEN, check the network, "
            "and give the same command again"
        ) from None
    return str(commit)


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises when the hub is out of reach or refuses."""
    from huggingface_hub.errors import HfHubHTTPError

    # The bases are the HTTP library's own errors, whichever library this version of the client uses.
    http_errors = cast(tuple[type[Exception], ...], HfHubHTTPError.__bases__)
    return (OSError, ValueError, HfHubHTTPError, *http_errors)
