"""Encode every utterance of a prepared folder once, so that training never runs the encoder.

usage: snac-exp cache-codes data=PREPARED codec=CODEC [codec.path=DIR] [output=FOLDER] [key=value …]
       snac-exp cache-codes … device=cuda devices=4                        one process per device
       snac-exp cache-codes … shard.index=0 shard.count=4                  one of several jobs, then merge=true once
       snac-exp cache-codes … merge=true                                   check that every row is accounted for
       snac-exp cache-codes upgrade=OLD audio=FOLDER output=FOLDER codec=CODEC   rewrite a first-generation cache

Can be stopped and started again: finished shards are kept.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure
from snac_exp.data.device_pool import device_names, reported, run_on_devices
from snac_exp.errors import ConfigError
from snac_exp.system.progress import progress_display

if TYPE_CHECKING:
    from snac_exp.data.codes.cache import CacheSummary


@dataclass(frozen=True)
class Shard:
    """Which share of the work."""

    index: int
    count: int


@dataclass(frozen=True)
class Options:
    """The keys of conf/cache_codes.yaml."""

    codec: Codec
    prepared: str | None
    output: str | None
    device: str
    devices: int
    rows_per_shard: int
    shard: Shard
    max_batch_seconds: float | None
    num_readers: int
    retry_rejected: bool
    merge: bool
    upgrade: str | None
    audio: str | None
    split: Literal["speaker", "file"]
    verify_rows: int


def main(arguments: Sequence[str]) -> int:
    """Encode this process's share of the shards, verify a cache, or upgrade an old one."""
    # data is a group of recipes, so Hydra wants another key
    named = [f"prepared={item.removeprefix('data=')}" if item.startswith("data=") else item for item in arguments]
    overrides = hydra_overrides(named, path_keys=("prepared", "upgrade", "audio"))
    options = structure(Options, resolved(compose_config("cache_codes", overrides)))
    if options.upgrade is not None:
        return _upgrade(options, Path(options.upgrade).expanduser())
    if options.prepared is None:
        raise ConfigError("data has no value: set it with data=FOLDER, the folder that snac-exp prepare wrote")
    prepared = Path(options.prepared).expanduser()
    output = Path(options.output).expanduser() if options.output else prepared / f"codes_{options.codec.name}"
    if not options.merge:
        print("\n".join(_encode(options, prepared, output)))
    if options.merge or options.shard.count == 1:
        print(_merged(prepared, output))
        _say_next(options, output)
    else:
        print("next: when all shares are done, the same command with merge=true and without shard.*")
    return 0


def encode_share(options: Options, prepared: Path, output: Path, number: int, device: str) -> "CacheSummary":
    """The share of one of this command's devices; runs in a process of its own where there are several."""
    from snac_exp.codec.opening import open_codec
    from snac_exp.data.codes.cache import cache_codes
    from snac_exp.data.prepared.manifest import Manifest

    return cache_codes(
        Manifest.read(prepared),
        open_codec(options.codec),
        output,
        rows_per_shard=options.rows_per_shard,
        shard_index=options.shard.index * options.devices + number,
        shard_count=options.shard.count * options.devices,
        device=device,
        max_batch_seconds=options.max_batch_seconds,
        num_readers=options.num_readers,
        retry_rejected=options.retry_rejected,
        display=progress_display if options.devices == 1 else reported,
    )


def _encode(options: Options, prepared: Path, output: Path) -> list[str]:
    from snac_exp.data.codes.cache import joined
    from snac_exp.data.prepared.manifest import Manifest

    devices = device_names(options.device, options.devices)
    if not 0 <= options.shard.index < options.shard.count:
        raise ConfigError(f"shard.index={options.shard.index} must lie between 0 and {options.shard.count - 1}")
    if len(devices) == 1:
        return encode_share(options, prepared, output, 0, devices[0]).lines
    num_rows = len(Manifest.read(prepared).rows) // options.shard.count
    share = partial(encode_share, options, prepared, output)
    return joined(run_on_devices(share, devices, num_rows, "cache-codes")).lines


def _merged(prepared: Path, output: Path) -> str:
    """Every manifest row is cached or listed as rejected, and the mapped copy for training is there."""
    from snac_exp.data.codes.cache import verify_cache
    from snac_exp.data.codes.table import CodeTable
    from snac_exp.data.prepared.manifest import Manifest

    counts = verify_cache(Manifest.read(prepared), output)
    CodeTable.open(output)
    return f"complete: {counts['cached']} rows cached, {counts['rejected']} rejected, every manifest row accounted for"


def _upgrade(options: Options, old: Path) -> int:
    from snac_exp.codec.opening import open_codec
    from snac_exp.data.codes.first_generation import upgrade_cache
    from snac_exp.data.prepared.manifest import Manifest
    from snac_exp.data.prepared.prepare import prepare

    if options.output is None:
        raise ConfigError("output has no value: set it with output=FOLDER, a new folder for the upgraded cache")
    if (options.prepared is None) == (options.audio is None):
        raise ConfigError(
            "upgrade= needs the audio of the codes: data=FOLDER that snac-exp prepare wrote, or audio=FOLDER"
        )
    output = Path(options.output).expanduser()
    if options.audio is not None:
        prepared = output / "prepared"
        print("\n".join(prepare(options.audio, prepared, split=options.split).lines))
    else:
        prepared = Path(str(options.prepared)).expanduser()
    summary = upgrade_cache(Manifest.read(prepared), open_codec(options.codec), old, output, options.verify_rows)
    print("\n".join(summary.lines))
    print(_merged(prepared, output))
    _say_next(options, output)
    return 0


def _say_next(options: Options, output: Path) -> None:
    cache = shlex.quote(f"data.cache_dir={output}")
    print(f"next: python train.py +experiment=phase12_dual_head codec={options.codec.name} {cache}")
