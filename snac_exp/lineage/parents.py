"""What a path leads to, as a parent of what is made from it: its kind, a digest of its content, and what it says.

Digests are of what a folder says about itself wherever that tells its content: footers of Parquet, headers of token
files, settings of targets. Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snac_exp.config.arguments import is_path_key
from snac_exp.data.checked_parquet import footer_digest
from snac_exp.data.codes.shards import SHARD_NAME, read_metadata
from snac_exp.data.prepared.manifest import MANIFEST_NAME, input_dir_of
from snac_exp.data.targets.names import SETTINGS_NAME
from snac_exp.system.checksums.listed_files import DESCRIPTION_FILE
from snac_exp.system.files import read_json, sha256_of_file
from snac_exp.system.remote.urls import is_url
from snac_exp.tracking.run_folder import RunFolder

GONE = "gone"
TOKENS = "token files"
_NOT_PARENTS = frozenset({"output_dir", "audio_root"})  # of audio the manifest has the checksum of every row
_CODEC_FILES = ("config.json", DESCRIPTION_FILE, "pytorch_model.bin", "model.safetensors")
_HEADER_BYTES = 4096  # of a token file, more than any header has


@dataclass(frozen=True)
class Parent:
    """One thing that something was made from.

    kind: run, code cache, prepared folder, targets, token files, codec, exported codec, file, folder, address, or gone.
    digest: hexadecimal SHA-256 of its content; None where nothing tells it. facts: what it says of itself, in words.
    """

    kind: str
    path: str
    digest: str | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def parents_of(values: Mapping[str, Any]) -> dict[str, Parent]:
    """What the paths in a resolved config lead to, by their keys.

    Raises:
        DataError: a cache or a prepared folder is damaged. OSError: something cannot be read.
    """
    return {key: described(path, tokens=key.endswith("directory")) for key, path in _paths(values)}


def described(path: str, *, tokens: bool = True) -> Parent:
    """What a path, or an address in a store, leads to; errors as `parents_of`.

    tokens: whether to look for token files, at any depth; a folder of audio may have millions of others.
    """
    if is_url(path):
        return Parent("address", path)
    place = Path(path).expanduser()
    if place.is_file():
        return Parent("file", path, sha256_of_file(place))
    if not place.is_dir():
        return Parent(GONE, path)
    # A run first: its folder may hold anything.
    for kind, found in _FOLDERS.items():
        if (digest_and_facts := found(place)) is not None:
            return Parent(kind, path, *digest_and_facts)
    if tokens and (digest_and_facts := _tokens(place)) is not None:
        return Parent(TOKENS, path, *digest_and_facts)
    return Parent("folder", path)


def _paths(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys that hold paths, with these."""
    for key, value in values.items():
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for number, item in items:
            name = f"{prefix}{key}" if number is None else f"{prefix}{key}[{number}]"
            if isinstance(item, Mapping):
                yield from _paths(item, f"{name}.")
            elif isinstance(item, str) and is_path_key(str(key)) and key not in _NOT_PARENTS:
                yield name, item


_Described = tuple[str | None, dict[str, str]]


def _run(folder: Path) -> _Described | None:
    run = RunFolder(folder)
    if not run.exists:
        return None
    facts = {"name": str(run.values().get("name")), "state": str((run.status() or {}).get("state"))}
    return sha256_of_file(run.best_model) if run.best_model.is_file() else None, facts


def _cache(folder: Path) -> _Described | None:
    shards = sorted(path for path in folder.glob("codes-*.parquet") if SHARD_NAME.fullmatch(path.name))
    if not shards:
        return None
    metadata = read_metadata(shards[0])
    facts = {
        "codec": metadata.spec.codec_name,
        "codec_fingerprint": metadata.spec.codec_fingerprint,
        "manifest": metadata.spec.manifest_digest,
        "audio": metadata.spec.audio_root,
        "made_on": ", ".join(metadata.made_on),
    }
    return _digest_of((shard.name, footer_digest(shard)) for shard in shards), facts


def _prepared(folder: Path) -> _Described | None:
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return None
    return footer_digest(manifest), {"audio": str(input_dir_of(manifest))}


def _targets(folder: Path) -> _Described | None:
    settings = folder / SETTINGS_NAME
    if not settings.is_file():
        return None
    values = read_json(settings)
    facts = {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}
    return _digest_of(facts.items()), facts


def _codec(folder: Path) -> _Described | None:
    if not (folder / "config.json").is_file() or (folder / DESCRIPTION_FILE).is_file():
        return None
    return _digest_of(_files_of_codec(folder)), {}


def _exported(folder: Path) -> _Described | None:
    if not (folder / DESCRIPTION_FILE).is_file():
        return None
    return _digest_of(_files_of_codec(folder)), {}


def _tokens(folder: Path) -> _Described | None:
    files = sorted(folder.rglob("*.npq"))
    if not files:
        return None
    return _digest_of((str(path.relative_to(folder)), *_header(path)) for path in files), {"files": str(len(files))}


_FOLDERS: Mapping[str, Callable[[Path], _Described | None]] = {
    "run": _run,
    "code cache": _cache,
    "prepared folder": _prepared,
    "targets": _targets,
    "exported codec": _exported,
    "codec": _codec,
}


def _files_of_codec(folder: Path) -> Iterator[tuple[str, str]]:
    for name in _CODEC_FILES:
        if (folder / name).is_file():
            yield name, sha256_of_file(folder / name)


def _header(path: Path) -> tuple[int, str]:
    """Size and first bytes of a token file, checksums among them."""
    with open(path, "rb") as file:
        return path.stat().st_size, file.read(_HEADER_BYTES).hex()


def _digest_of(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{json.dumps(part)}\n".encode())
    return digest.hexdigest()
