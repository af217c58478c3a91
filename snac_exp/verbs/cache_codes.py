"""Encode every utterance of a prepared folder once, so that training never runs the encoder.

usage: snac-exp cache-codes data=PREPARED codec=CODEC [codec.path=DIR] [output=FOLDER] [key=value …]

Can be stopped and started again: finished shards are kept. Several processes: shard.index=0 shard.count=4, and so on.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure


@dataclass(frozen=True)
class Shard:
    """Which share of the work."""

    index: int
    count: int


@dataclass(frozen=True)
class Options:
    """The keys of conf/cache_codes.yaml."""

    codec: Codec
    prepared: str
    output: str | None
    device: str
    rows_per_shard: int
    shard: Shard
    max_batch_seconds: float | None
    num_readers: int
    retry_rejected: bool


def main(arguments: Sequence[str]) -> int:
    """Encode this process's share of the shards."""
    named = [f"prepared={item.removeprefix('data=')}" if item.startswith("data=") else item for item in arguments]
    overrides = hydra_overrides(
        named, path_keys=("prepared",)
    )  # data is a group of recipes, so Hydra wants another key
    options = structure(Options, resolved(compose_config("cache_codes", overrides)))
    from snac_exp.data.cache import cache_codes
    from snac_exp.data.manifest import Manifest
    from snac_exp.runs.build import open_codec

    prepared = Path(options.prepared).expanduser()
    output = Path(options.output).expanduser() if options.output else prepared / f"codes_{options.codec.name}"
    summary = cache_codes(
        Manifest.read(prepared),
        open_codec(options.codec),
        output,
        rows_per_shard=options.rows_per_shard,
        shard_index=options.shard.index,
        shard_count=options.shard.count,
        device=options.device,
        max_batch_seconds=options.max_batch_seconds,
        num_readers=options.num_readers,
        retry_rejected=options.retry_rejected,
    )
    print("\n".join(summary.lines))
    cache = shlex.quote(f"data.cache_dir={output}")
    print(f"next: python train.py +experiment=phase12_dual_head codec={options.codec.name} {cache}")
    return 0
