"""A page to listen: drop a file or record, hear input and reconstructions side by side.

usage: snac-exp serve checkpoint=CODEC [pretrained=CODEC] [port=7860] [key=value …]

Needs snac_exp[serve]. Serves this machine alone unless host= says otherwise; uploads are limited in size and duration,
lie in a temporary folder and go when the page does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """The keys of conf/serve.yaml."""

    checkpoint: str
    pretrained: str | None
    host: str
    port: int
    max_seconds: float
    max_megabytes: float
    seed: int
    device: str


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted."""
    options = structure(Options, verb_values("serve", arguments))
    if options.max_seconds <= 0 or options.max_megabytes <= 0:
        raise ConfigError("max_seconds and max_megabytes must be greater than 0")
    from snac_exp.release.page import PageSettings, serve
    from snac_exp.release.sources import load_codec

    tuned = load_codec(options.checkpoint, device=options.device)
    pretrained = None if options.pretrained is None else load_codec(options.pretrained, device=options.device)
    settings = PageSettings(options.host, options.port, options.max_seconds, options.max_megabytes, options.seed)
    print(f"http://{options.host}:{options.port}  (stop with Ctrl-C)", flush=True)
    serve(tuned, pretrained, settings)
    return 0
