"""Make or check the 48 kHz targets of a prepared folder.

usage: snac-exp targets data=PREPARED kind=native|resample|sidon [output=FOLDER] [key=value …]

native    writes no audio: lists files that are not really wide-band (upsampled, hiss) in not_wide_band.parquet
resample  writes 48 kHz files without content above the band of the source: for tests and baselines, not for training
sidon     restores each file with Sidon v0.1 (pip install 'snac_exp[sidon]')

Can be stopped and started again: finished targets are kept. Several processes: shard.index=0 shard.count=4, and so on.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.verbs.prepared import Shard, prepared_and_output


@dataclass(frozen=True)
class Native:
    """From where on a file counts as wide-band."""

    min_cutoff_hz: float
    min_hf_energy_ratio: float
    min_hf_dynamics_db: float


@dataclass(frozen=True)
class SidonOptions:
    """The restoration model."""

    path: str | None
    hub_id: str | None
    front_end: str
    device: str
    chunk_seconds: float
    max_batch_chunks: int
    max_batch_seconds: float
    restore_level: bool


@dataclass(frozen=True)
class Options:
    """The keys of conf/targets.yaml."""

    prepared: str
    audio_root: str | None
    kind: Literal["native", "resample", "sidon"]
    output: str | None
    rate: int
    format: Literal["flac", "wav"]
    num_workers: int | None
    retry_rejected: bool
    shard: Shard
    native: Native
    sidon: SidonOptions


def main(arguments: Sequence[str]) -> int:
    """Check or make the targets of one kind."""
    # data is a group of recipes, so Hydra wants another key.
    named = [f"prepared={item.removeprefix('data=')}" if item.startswith("data=") else item for item in arguments]
    overrides = hydra_overrides(named, path_keys=("prepared", "front_end"))
    options = structure(Options, resolved(compose_config("targets", overrides)))
    prepared, output = prepared_and_output(options.prepared, options.output, f"targets_{options.kind}")
    lines = {"native": _native, "resample": _resample, "sidon": _sidon}[options.kind](options, prepared, output)
    print("\n".join(lines))
    return 0


def _native(options: Options, prepared: Path, output: Path) -> list[str]:
    from snac_exp.data.prepared.manifest import Manifest
    from snac_exp.data.targets.wideband import NOT_WIDE_NAME, WideBand, check_native

    # One list of all files is written, so shards would overwrite each other's.
    if (options.shard.index, options.shard.count) != (0, 1):
        raise ConfigError("kind=native works in one process; leave out shard.index and shard.count")
    manifest = Manifest.with_audio(prepared, options.audio_root)
    counts = check_native(manifest, output, WideBand(options.rate, **asdict(options.native)), options.num_workers)
    kinds = ", ".join(f"{kind} {num}" for kind, num in counts.items() if kind != "wide_band") or "none"
    return [
        f"{counts['wide_band']} of {len(manifest.rows)} files are wide-band",
        f"not wide-band: {kinds} ({output / NOT_WIDE_NAME})",
        "next: leave data.target_dir=null, the files are their own targets; take out or restore those that are not"
        if counts["wide_band"]
        else "next: none can be a target; restore them with kind=sidon, or train 24 kHz alone (phase10_decoder_only)",
    ]


def _resample(options: Options, prepared: Path, output: Path) -> list[str]:
    from snac_exp.data.prepared.manifest import Manifest
    from snac_exp.data.targets.wideband import resample_targets

    summary = resample_targets(
        Manifest.with_audio(prepared, options.audio_root),
        output,
        rate=options.rate,
        file_format=options.format,
        shard=(options.shard.index, options.shard.count),
        num_workers=options.num_workers,
        retry_rejected=options.retry_rejected,
    )
    note = "these hold nothing above half the sources' own rate: a head trained on them learns no higher band"
    return [*summary.lines, note, _next(output)]


def _sidon(options: Options, prepared: Path, output: Path) -> list[str]:
    from snac_exp.data.prepared.manifest import Manifest
    from snac_exp.data.targets.sidon import OUTPUT_RATE
    from snac_exp.data.targets.sidon_folder import load_sidon, sidon_targets

    if options.rate != OUTPUT_RATE:
        raise ConfigError(f"rate={options.rate}: Sidon makes {OUTPUT_RATE} Hz only")
    settings = asdict(options.sidon)
    # Not of the model: it decides how many files go through it at once, not what comes out.
    max_batch_seconds = settings.pop("max_batch_seconds")
    manifest = Manifest.with_audio(prepared, options.audio_root)
    sidon, models = load_sidon(**settings)
    summary = sidon_targets(
        manifest,
        output,
        sidon,
        models,
        file_format=options.format,
        shard=(options.shard.index, options.shard.count),
        max_batch_seconds=max_batch_seconds,
        retry_rejected=options.retry_rejected,
    )
    return [*summary.lines, _next(output)]


def _next(output: Path) -> str:
    return f"next: train with {shlex.quote(f'data.target_dir={output}')}"  # quoted, as the user has to type it
