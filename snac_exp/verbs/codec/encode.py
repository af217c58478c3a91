"""Encode audio to codes: one .npz per file, or one Parquet file for all.

usage: snac-exp encode input=FILE|FOLDER|- output=FILE.npz|FILE.parquet|FOLDER|- checkpoint=CODEC [key=value …]

A folder of audio goes into a folder of .npz files, which can be stopped and started again, or into one .parquet file
with a row per file. `-` reads raw PCM (signed 16 bit, little-endian, mono, at `pcm_rate`) and writes an .npz to
standard output. Existing files are never overwritten.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError, DataError
from snac_exp.release.files.job import refuse_existing


@dataclass(frozen=True)
class Options:
    """The keys of conf/encode.yaml."""

    input: str
    output: str
    checkpoint: str
    allow_heads: list[str]
    chunk_seconds: float
    device: str
    pcm_rate: int | None


def main(arguments: Sequence[str]) -> int:
    """Encode a file, a folder or a pipe."""
    options = structure(Options, verb_values("encode", arguments))
    source, output = Path(options.input).expanduser(), Path(options.output).expanduser()
    # Before the codec is loaded, which may be a download.
    if options.input != "-" and not source.exists():
        raise DataError(f"there is no {source}")
    if output.suffix in (".npz", ".parquet"):
        refuse_existing(output)
    if source.is_dir() and (output.suffix == ".npz" or options.output == "-"):
        raise ConfigError(f"a folder of audio does not go into {options.output}: give output=FOLDER or FILE.parquet")
    from snac_exp.release.files import folders, pipes
    from snac_exp.release.loading import load_codec

    codec = load_codec(options.checkpoint, device=options.device, allow_heads=options.allow_heads)
    if options.input != "-" and output.suffix == ".parquet":
        summary = folders.encode_to_parquet(codec, source, output, options.chunk_seconds)
    elif source.is_dir():
        summary = folders.encode_folder(codec, source, output, codec.fingerprint, options.chunk_seconds)
    else:
        pcm_rate = options.pcm_rate or codec.sampling_rate
        pipes.encode_one(codec, options.input, options.output, pcm_rate, options.chunk_seconds)
        return 0
    print("\n".join(summary.lines("encoded", output)))
    summary.refuse_failures()
    return 0
