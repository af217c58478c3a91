"""Generate audio with a token model, unconditionally or as the continuation of a recording.

usage: snac-exp generate RUN|CHECKPOINT output=FILE.wav|FOLDER [seconds=10] [prompt=FILE] [num=N] [key=value …]

Uses the weights of best_model.pt in the run folder (averaged weights, if the run kept an average). A prompt of any
sample rate and channel layout is encoded by the codec whose tokens the model was trained on; the same codec decodes the
result. The same seed gives the same audio. Beyond its context, a model with rotary positions attends to the most recent
context window; one with learned positions restarts from the more recent half of its context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from snac_exp.config.arguments import is_path
from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure

if TYPE_CHECKING:
    from snac_exp.data.tokens.codecs import TokenCodec
    from snac_exp.release.token_model import TokenModel


@dataclass(frozen=True)
class Options:
    """The keys of conf/generate.yaml."""

    checkpoint: str
    output: str
    seconds: float
    num: int
    prompt: str | None
    prompt_seconds: float | None
    keep_prompt: bool
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int
    codec_path: str | None
    device: str
    decode_device: str


def main(arguments: Sequence[str]) -> int:
    """Write one file or several."""
    options = structure(Options, verb_values("generate", _named(arguments), ("prompt",)))
    from snac_exp.lm.sampling import Sampling
    from snac_exp.release.generation import Request, generate_audio, output_paths, read_prompt, write_waveforms
    from snac_exp.release.token_model import load_token_model

    sampling = Sampling(options.temperature, options.top_k, options.top_p, options.seed)
    request = Request(options.seconds, options.num, sampling, options.keep_prompt)
    # Before the model is loaded and writes for minutes: a path that is taken is refused at once.
    paths = output_paths(Path(options.output).expanduser(), options.num)
    opened = load_token_model(Path(options.checkpoint).expanduser(), options.device)
    codec = _codec(opened, options)
    prompt = None
    if options.prompt is not None:
        prompt = read_prompt(codec, Path(options.prompt).expanduser(), options.prompt_seconds)
    waveforms = generate_audio(opened.model, codec, request, prompt)
    write_waveforms(paths, waveforms, codec.sampling_rate)
    for path, waveform in zip(paths, waveforms, strict=True):
        print(f"{path}: {len(waveform) / codec.sampling_rate:.2f} s")
    return 0


def _codec(opened: "TokenModel", options: Options) -> "TokenCodec":
    from snac_exp.data.tokens.codecs import listening_codec

    # Elsewhere than the run had it, but the same one: its fingerprint is compared.
    settings = opened.codec if options.codec_path is None else replace(opened.codec, path=options.codec_path)
    return listening_codec(
        settings, opened.model.layout, device=options.decode_device, fingerprint=opened.codec_fingerprint
    )


def _named(arguments: Sequence[str]) -> list[str]:
    """The arguments with the one that is no key=value, or that exists as a path, as `checkpoint=`."""
    return [f"checkpoint={item}" if is_path(item) else item for item in arguments]
