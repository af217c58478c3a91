"""Which audio file goes into which packed shard: a function of the manifest, the files' sizes and the options alone."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from snac_exp.config.seeding import generator
from snac_exp.errors import ConfigError

Int64Array = npt.NDArray[np.int64]
Order = Literal["speaker", "shuffled"]


@dataclass(frozen=True)
class PackOptions:
    """What decides where the bytes lie.

    order: speaker by speaker, or shuffled by the seed. shard_bytes: a shard takes files until it has so many. audio:
    keep the bytes, or make FLAC of what is PCM.
    """

    order: Order = "speaker"
    seed: int = 0
    shard_bytes: int = 10**9
    audio: Literal["keep", "flac"] = "keep"

    def __post_init__(self) -> None:
        if self.order not in ("speaker", "shuffled"):
            raise ConfigError(f"order={self.order} is not valid; choose one of: speaker, shuffled")
        if self.audio not in ("keep", "flac"):
            raise ConfigError(f"audio={self.audio} is not valid; choose one of: keep, flac")
        if self.shard_bytes <= 0:
            raise ConfigError("shard_gb must be above 0")


@dataclass(frozen=True)
class ShardPlan:
    """order (files,): numbers of the files as they will lie; firsts (shards + 1,): where in it each shard begins.

    digest: of names, sizes and options; another one is another packing.
    """

    order: Int64Array
    firsts: Int64Array
    digest: str

    @property
    def num_shards(self) -> int:
        """How many files of about shard_bytes there will be."""
        return len(self.firsts) - 1

    def files(self, shard: int) -> list[int]:
        """Numbers of the files of a shard, in their order."""
        found: list[int] = self.order[self.firsts[shard] : self.firsts[shard + 1]].tolist()
        return found


def plan_shards(names: Sequence[str], speakers: Sequence[str], sizes: Int64Array, options: PackOptions) -> ShardPlan:
    """Files by name, speaker and size in bytes, in shards."""
    if options.order == "shuffled":
        order = np.asarray(generator(options.seed, "pack").permutation(len(names)), dtype=np.int64)
    else:
        order = np.array(sorted(range(len(names)), key=lambda i: (speakers[i], names[i])), dtype=np.int64)
    before = np.cumsum(sizes[order]) - sizes[order]
    shards = before // options.shard_bytes
    # A file larger than a shard is one by itself; numbers that it passes over are not given.
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(shards)) + 1, [len(order)]]).astype(np.int64)
    return ShardPlan(order, firsts, _digest(names, sizes, options))


def _digest(names: Sequence[str], sizes: Int64Array, options: PackOptions) -> str:
    digest = hashlib.sha256(json.dumps(_plain(options), sort_keys=True).encode())
    for name in names:
        digest.update(f"{name}\0".encode())
    digest.update(sizes.astype("<i8").tobytes())
    return digest.hexdigest()


def _plain(options: PackOptions) -> dict[str, Any]:
    return asdict(options)
