"""Decode codes to audio, at all output rates of the codec.

usage: snac-exp decode input=FILE.npz|FILE.parquet|FOLDER|- output=FILE.wav|FOLDER|- checkpoint=CODEC [key=value …]

One .npz goes into FILE.wav, at one rate; a folder of .npz files or a Parquet file goes into a folder, and can be
stopped and started again. `-` reads an .npz from standard input and writes raw PCM (signed 16 bit, little-endian,
mono) to standard output. Existing files are never overwritten, and no stored name leads out of the output folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.release.files.job import refuse_existing


@dataclass(frozen=True)
class Options:
    """The keys of conf/decode.yaml."""

    input: str
    output: str
    checkpoint: str
    allow_heads: list[str]
    rates: list[int] | None
    output_heads: list[str] | None
    seed: int
    noise: bool
    chunk_seconds: float
    device: str


def main(arguments: Sequence[str]) -> int:
    """Decode a file, a folder or a pipe."""
    options = structure(Options, verb_values("decode", arguments))
    source, output = Path(options.input).expanduser(), Path(options.output).expanduser()
    from snac_exp.release.files import folders, pipes

    to_one = options.output == "-" or output.suffix == ".wav"
    if to_one and (source.suffix == ".parquet" or source.is_dir()):
        raise ConfigError(f"input={options.input} may hold codes of many files: give output=FOLDER for them")
    # A folder is not refused: a job that was stopped goes on in it.
    if to_one and options.output != "-":
        refuse_existing(output)
    from snac_exp.release.loading import load_codec
    from snac_exp.release.outputs import chosen_heads

    codec = load_codec(options.checkpoint, device=options.device, allow_heads=options.allow_heads)
    # One file takes one output: the widest, unless another is asked for. A folder takes all of them.
    rates = options.rates or (list(codec.sample_rates[-1:]) if to_one else None)
    heads = tuple(chosen_heads(codec.heads, options.output_heads, rates))
    settings = folders.Settings(heads, options.seed, options.noise, False, options.chunk_seconds)
    if to_one:
        pipes.decode_one(codec, options.input, options.output, settings)
        return 0
    summary = folders.decode_folder(codec, source, output, settings, codec.fingerprint)
    print("\n".join(summary.lines("decoded", output)))
    summary.refuse_failures()
    return 0
