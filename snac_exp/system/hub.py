"""The Hugging Face hub: files of a repository into its local cache, data sets, and an exported folder up to it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from snac_exp.errors import CheckpointError, ConfigError, DataError, SnacExpError

METADATA_TIMEOUT_SECONDS = 10.0

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def is_repo_id(text: str) -> bool:
    """Whether it reads USER/REPO."""
    return bool(_REPO_ID.fullmatch(text)) and ".." not in text


def check_repo_id(repo_id: str) -> None:
    """ConfigError unless it reads USER/REPO."""
    if not is_repo_id(repo_id):
        raise ConfigError(f"push={repo_id!r} is no repository of the hub; write push=USER/REPO")


def download(repo_id: str, *choices: Sequence[str], mend: str, error: type[SnacExpError]) -> Path:
    """The folder of these files in the hub's cache; they are downloaded where they are not there yet.

    Args:
        choices: sets of files, of which one is wanted: the first that is in the cache, else that the repository has.
        mend: what the user does with a folder copied by hand, e.g. "set codec.path=DIR".

    Raises:
        error: the hub is out of reach, or there is no such repository or file; says both ways out.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalEntryNotFoundError

    with hub_access(repo_id, " or ".join(map(", ".join, choices)), mend=mend, error=error):
        for files in choices:
            with suppress(LocalEntryNotFoundError):
                return _folder_of(repo_id, files, local_files_only=True)
        # Fails at once where a download would retry for half a minute.
        found = HfApi().model_info(repo_id, timeout=METADATA_TIMEOUT_SECONDS).siblings or ()
        there = {item.rfilename for item in found}
        return _folder_of(repo_id, next((files for files in choices if there.issuperset(files)), choices[0]))


def has_file(repo_id: str, name: str) -> bool:
    """Whether a repository has a file: by the local cache, then by the hub; False where neither can say."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repo_id, name), str):
        return True
    try:
        return bool(HfApi().file_exists(repo_id, name))
    except _hub_errors():
        return False  # whoever asked downloads something next, and that says what is wrong


@contextmanager
def hub_access(repo_id: str, what: str, *, mend: str, error: type[SnacExpError]) -> Iterator[None]:
    """Around whatever downloads: says in one line what could not be had, why, and the two ways out.

    Raises:
        error: in place of what the hub's client raised.
    """
    try:
        yield
    except _hub_errors() as cause:
        raise error(
            f"cannot get {what} of '{repo_id}' from the hub ({_first_line(cause)}): check the name, the network "
            f"and HF_HOME, or run 'hf download {repo_id} --local-dir DIR' where there is a network, copy DIR here "
            f"and {mend}"
        ) from None


@contextmanager
def dataset_access(name: str) -> Iterator[None]:
    """Around whatever `datasets` gets of a data set; DataError in place of what it and its client raised."""
    from datasets.exceptions import DatasetsError  # type: ignore[import-not-found, import-untyped, unused-ignore]

    try:
        yield
    # ValueError too: it has no such configuration or split.
    except (DatasetsError, *_hub_errors()) as error:
        raise DataError(
            f"cannot get the data set '{name}' from the hub ({_first_line(error)}): check the name, "
            "hub.config, hub.split, the network and HF_HOME, or run 'hf download --repo-type dataset "
            f"{name} --local-dir DIR' where there is a network, copy DIR here and set input=DIR"
        ) from error


def dataset_commit(name: str, revision: str | None) -> str:
    """The commit that a branch or tag of a data set is at now, null: its newest; what the client raises if unknown."""
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(name, revision=revision, timeout=METADATA_TIMEOUT_SECONDS).sha)


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
    except _hub_errors() as error:
        raise CheckpointError(
            f"cannot upload to '{repo_id}' ({_first_line(error)}): log in with 'hf auth login' or set HF_TOKEN, check "
            "the network, and give the same command again"
        ) from None
    return str(commit)


def _folder_of(repo_id: str, files: Sequence[str], local_files_only: bool = False) -> Path:
    from huggingface_hub import hf_hub_download

    paths = [hf_hub_download(repo_id=repo_id, filename=name, local_files_only=local_files_only) for name in files]
    return Path(paths[-1]).parent


def _hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises when the hub is out of reach or refuses."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # The bases are the HTTP library's own errors, whichever library this version of the client uses.
    http_errors = cast(tuple[type[Exception], ...], HfHubHTTPError.__bases__)
    return (OSError, ValueError, EntryNotFoundError, *http_errors)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
