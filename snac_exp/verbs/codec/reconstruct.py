"""Encode and decode audio files with a codec, at all of its output rates.

usage: snac-exp reconstruct input=FILE|FOLDER output=FOLDER checkpoint=RUN|FILE|FOLDER|OWNER/NAME [key=value …]
       snac-exp reconstruct input=- output=- checkpoint=… rates=[48000]      raw PCM through a pipe

Files of any length in bounded memory. Can be stopped and started again: finished files are kept. An output folder with
other contents is refused. Raw PCM is signed 16 bit, little-endian, mono: in at `pcm_rate`, out at the
rate in `rates`, or of the head in `output_heads` where two have that rate.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """The keys of conf/reconstruct.yaml."""

    input: str
    output: str
    checkpoint: str
    allow_heads: list[str]
    rates: list[int] | None
    output_heads: list[str] | None
    seed: int
    noise: bool
    picture: bool
    chunk_seconds: float
    device: str
    pcm_rate: int | None


def main(arguments: Sequence[str]) -> int:
    """Reconstruct a file, a folder or a pipe."""
    options = structure(Options, verb_values("reconstruct", arguments))
    if (options.input == "-") != (options.output == "-"):
        raise ConfigError("a pipe needs both ends: give input=- and output=- together, or neither")
    # After the options: torch takes seconds to import, and a mistyped key is refused before that.
    from snac_exp.release.files.folders import Settings, reconstruct
    from snac_exp.release.files.pipes import reconstruct_pcm
    from snac_exp.release.loading import load_codec
    from snac_exp.release.outputs import chosen_heads

    codec = load_codec(options.checkpoint, device=options.device, allow_heads=options.allow_heads)
    heads = tuple(chosen_heads(codec.heads, options.output_heads, options.rates))
    settings = Settings(heads, options.seed, options.noise, options.picture, options.chunk_seconds)
    if options.input == "-":
        reconstruct_pcm(codec, sys.stdin.buffer, sys.stdout.buffer, options.pcm_rate or codec.sampling_rate, settings)
        return 0
    source, output = Path(options.input).expanduser(), Path(options.output).expanduser()
    # The weights identify the codec: the best model of a run that goes on is another one tomorrow.
    summary = reconstruct(codec, source, output, settings, codec.fingerprint)
    # Before the refusal, so that what was done is told as well.
    print("\n".join(summary.lines("reconstructed", output)))
    summary.refuse_failures()
    return 0
