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
from pathlib import Path
from typing import Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure
from snac_exp.data.packed.names import local_pack
from snac_exp.errors import ConfigError
from snac_exp.verbs.prepared import Shard, prepared_and_output


@dataclass(frozen=True)
class Options:
    """The keys of conf/cache_codes.yaml."""

    codec: Codec
    prepared: str | None
    audio_root: str | None
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
    """Encode this process's shards, verify a cache, or upgrade an old one."""
    # data is a group of recipes, so Hydra wants another key
    named = [f"prepared={item.removeprefix('data=')}" if item.startswith("data=") else item for item in arguments]
    overrides = hydra_overrides(named, path_keys=("prepared", "upgrade", "audio"))
    options = structure(Options, resolved(compose_config("cache_codes", overrides)))
    if options.upgrade is not None:
        return _upgrade(options, Path(options.upgrade).expanduser())
    if options.prepared is None:
        raise ConfigError("data has no value: set it with data=FOLDER, the folder that snac-exp prepare wrote")
    prepared, output = prepared_and_output(options.prepared, options.output, f"codes_{options.codec.name}")
    if not options.merge:
        _encode(options, prepared, output)
    # A shard alone cannot tell whether all rows are there.
    if options.merge or options.shard.count == 1:
        _verify(options, prepared, output)
    else:
        print("next: when all shards are done, the same command with merge=true and without shard.*")
    return 0


def _encode(options: Options, prepared: Path, output: Path) -> None:
    from snac_exp.data.codes.device_pool import CacheJob, encode

    job = CacheJob(
        prepared,
        output,
        audio_root=options.audio_root,
        codec=options.codec,
        device=options.device,
        num_devices=options.devices,
        shard_index=options.shard.index,
        shard_count=options.shard.count,
        rows_per_shard=options.rows_per_shard,
        max_batch_seconds=options.max_batch_seconds,
        num_readers=options.num_readers,
        retry_rejected=options.retry_rejected,
    )
    print("\n".join(encode(job).lines))


def _verify(options: Options, prepared: Path, output: Path) -> None:
    from snac_exp.data.codes.device_pool import verified

    print(verified(prepared, output))
    cache = shlex.quote(f"data.cache_dir={output}")
    print(f"next: python train.py +experiment=phase12_spectral codec={options.codec.name} {cache}")


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
    # Audio that was never prepared: its manifest is made first, since old caches have none.
    if options.audio is not None:
        prepared = output / "prepared"
        print("\n".join(prepare(options.audio, prepared, split=options.split).lines))
    else:
        prepared = local_pack(str(options.prepared))
    manifest = Manifest.with_audio(prepared, options.audio_root)
    summary = upgrade_cache(manifest, open_codec(options.codec), old, output, options.verify_rows)
    print("\n".join(summary.lines))
    _verify(options, prepared, output)
    return 0
