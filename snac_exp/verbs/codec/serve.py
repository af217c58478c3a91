"""A web page to compare input and output of a codec by ear; or (api=true) a service that decodes tokens to audio.

usage: snac-exp serve checkpoint=CODEC [pretrained=CODEC] [port=7860] [key=value …]
       snac-exp serve checkpoint=CODEC api=true [layout=orpheus] [service.max_streams=64] [key=value …]

Needs snac_exp[serve]. Reachable from this machine alone, unless host= opens it to others; they need the key in the
environment variable SNAC_EXP_API_KEY. Uploads are limited in size and duration, and are deleted with their temporary
folder when the page is stopped. api=true decodes the tokens of speech language models, for whole utterances or while
they are generated, with all clients in a common batch; see docs/speech_llm.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snac_exp.config.compose import verb_values
from snac_exp.config.schema import TokenLayout
from snac_exp.config.structure import structure
from snac_exp.errors import CodecError, ConfigError
from snac_exp.release.listening.address import key_of_environment
from snac_exp.release.service.bounds import Bounds

if TYPE_CHECKING:
    from snac_exp.release.codec import ReleasedCodec
    from snac_exp.release.loading import Opened

AUTO = "auto"  # the codec that the run was trained from


@dataclass(frozen=True)
class Options:
    """The keys of conf/serve.yaml."""

    checkpoint: str
    allow_heads: list[str]
    pretrained: str | None
    host: str
    port: int
    max_seconds: float
    max_megabytes: float
    max_connections: int
    header_seconds: float
    body_seconds: float
    seed: int
    device: str
    api: bool
    layout: TokenLayout
    service: Bounds
    threads: int


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted."""
    options = structure(Options, verb_values("serve", arguments))
    for key in ("max_seconds", "max_megabytes", "max_connections", "header_seconds", "body_seconds"):
        # NaN is none either.
        if not getattr(options, key) > 0:
            raise ConfigError(f"{key}={getattr(options, key)} must be greater than 0")
    if options.threads < 1:
        raise ConfigError(f"threads={options.threads} must be at least 1")
    return _serve_api(options) if options.api else _serve_page(options)


def _serve_api(options: Options) -> int:
    """Tokens to audio."""
    key = key_of_environment(options.host)
    try:
        from snac_exp.release.service.server import Address, serve
    except ImportError as error:
        if (error.name or "").startswith("snac_exp"):
            raise
        raise ConfigError(f"the service needs {error.name}: pip install 'snac_exp[serve]'") from None
    import torch

    from snac_exp.lm.layouts.layout import layout_of
    from snac_exp.release.loading import load_codec
    from snac_exp.release.service.shared import Service

    torch.set_num_threads(options.threads)
    codec = load_codec(options.checkpoint, device=options.device, allow_heads=options.allow_heads)
    layout = layout_of(options.layout, codec.name, codec.geometry, codec.codebook_sizes[0])
    address = Address(options.host, options.port, options.max_connections, options.header_seconds, key)
    serve(Service(codec, layout, options.service), address)
    return 0


def _serve_page(options: Options) -> int:
    from snac_exp.release.codec import ReleasedCodec
    from snac_exp.release.listening.page import PageSettings, serve
    from snac_exp.release.loading import open_model

    opened = open_model(options.checkpoint, options.allow_heads)
    tuned = ReleasedCodec(opened.model, opened.blueprint, device=options.device)
    # Loaded before the page opens: the first listener does not wait, and a mistake shows here.
    pretrained = _pretrained(options, opened)
    settings = PageSettings(
        options.host,
        options.port,
        options.max_seconds,
        options.max_megabytes,
        options.seed,
        options.max_connections,
        options.header_seconds,
        options.body_seconds,
    )
    serve(tuned, pretrained, settings)
    return 0


def _pretrained(options: Options, opened: "Opened") -> "ReleasedCodec | None":
    """The codec to hear beside it; where `auto` finds none, that is said."""
    from snac_exp.release.codec_before import codec_before
    from snac_exp.release.loading import load_codec

    if options.pretrained is None:
        return None
    if options.pretrained != AUTO:
        return load_codec(options.pretrained, device=options.device)
    try:
        return codec_before(opened, options.device)
    # The page is of use without it, so this is no error.
    except CodecError as error:
        print(f"no pretrained codec beside it: {error}", flush=True)
        return None
