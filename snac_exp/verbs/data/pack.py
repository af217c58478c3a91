"""Pack the audio of a prepared folder into a few large files; the result is used like the prepared folder.

usage: snac-exp pack data=PREPARED output=FOLDER [key=value …]
       snac-exp pack … target_dir=TARGETS                          its targets too, into a folder of that name in FOLDER
       snac-exp pack … shard.index=0 shard.count=4                 one of several jobs, then merge=true once
       snac-exp pack … check=true                                  compare every file with its SHA-256

Can be stopped and started again: finished shards are kept.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.system.remote.urls import is_url
from snac_exp.verbs.prepared import Shard, prepared_and_output

if TYPE_CHECKING:
    from snac_exp.data.packed.folder import PackSummary


@dataclass(frozen=True)
class Options:
    """The keys of conf/pack.yaml."""

    prepared: str | None
    output: str
    audio_root: str | None
    target_dir: str | None
    order: Literal["speaker", "shuffled"]
    seed: int
    audio: Literal["keep", "flac"]
    shard_gb: float
    shard: Shard
    num_readers: int
    merge: bool
    check: bool


def main(arguments: Sequence[str]) -> int:
    """Pack this part of the shards; once all are there, write the manifest."""
    # data is a group of recipes, so Hydra wants another key
    named = [f"prepared={item.removeprefix('data=')}" if item.startswith("data=") else item for item in arguments]
    overrides = hydra_overrides(named, path_keys=("prepared",))
    options = structure(Options, resolved(compose_config("pack", overrides)))
    if options.prepared is None:
        raise ConfigError("data has no value: set it with data=FOLDER, the folder that snac-exp prepare wrote")
    if options.target_dir is not None and is_url(options.target_dir):
        raise ConfigError(f"target_dir={options.target_dir}: targets are packed from a folder here; copy them first")
    from snac_exp.data.packed.folder import pack_folder
    from snac_exp.data.packed.plan import PackOptions
    from snac_exp.data.packed.targets import pack_targets

    prepared, output = prepared_and_output(options.prepared, options.output, "")
    how = PackOptions(options.order, options.seed, int(options.shard_gb * 10**9), options.audio)
    work = partial(
        _packed,
        shard=(options.shard.index, options.shard.count),
        merge=options.merge,
        check=options.check,
        num_readers=options.num_readers,
    )
    summary = work(pack_folder, prepared, output, how, audio_root=options.audio_root)
    if options.target_dir is not None:
        targets = Path(options.target_dir).expanduser()
        work(pack_targets, prepared, targets, output / targets.absolute().name, how)
    if not summary.num_missing:
        print(f"next: snac-exp cache-codes {shlex.quote(f'data={options.output}')} codec=CODEC")
    return 0


def _packed(pack: Callable[..., "PackSummary"], *places: Any, **work: Any) -> "PackSummary":
    summary = pack(*places, **work)
    print("\n".join(summary.lines))
    return summary
