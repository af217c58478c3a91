"""A page to listen: drop a file or record, hear input and reconstructions side by side.

usage: snac-exp serve checkpoint=CODEC [pretrained=CODEC] [port=7860] [key=value …]

Needs snac_exp[serve]. Serves this machine alone unless host= says otherwise; uploads are limited in size and duration,
lie in a temporary folder and go when the page does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import CodecError, ConfigError

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
    seed: int
    device: str


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted."""
    options = structure(Options, verb_values("serve", arguments))
    if min(options.max_seconds, options.max_megabytes, options.max_connections, options.header_seconds) <= 0:
        raise ConfigError("max_seconds, max_megabytes, max_connections and header_seconds must be greater than 0")
    from snac_exp.release.codec import ReleasedCodec
    from snac_exp.release.listening.page import PageSettings, serve
    from snac_exp.release.loading import open_model

    opened = open_model(options.checkpoint, options.allow_heads)
    tuned = ReleasedCodec(opened.model, opened.blueprint, device=options.device)
    # Loaded before the page opens: the first listener does not wait, and a mistake shows here.
    pretrained = _pretrained(options, opened)
    limits = (options.max_seconds, options.max_megabytes, options.seed, options.max_connections, options.header_seconds)
    settings = PageSettings(options.host, options.port, *limits)
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
