"""Experiments on the SNAC neural audio codec: from a folder of speech to a published model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snac_exp.release.loading import load_codec as load_codec

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`snac_exp.load_codec`, imported when it is first asked for: importing this package must not import torch."""
    if name == "load_codec":
        from snac_exp.release.loading import load_codec

        return load_codec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
