"""The model that the benchmarks of the released codec run on."""

import torch
from snac import SNAC

from snac_exp.codec.checkpoint import LoadedCodec, config_of
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.release.loading import open_model

SNAC_24KHZ = {
    "sampling_rate": 24000,
    "encoder_dim": 48,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 1024,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 4096,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
}


def open_or_random(checkpoint: str | None) -> MultiRateSnac:
    """A checkpoint as trained, or random weights in the shape of snac_24khz with outputs at 24 and 48 kHz."""
    if checkpoint is not None:
        return open_model(checkpoint).model
    torch.manual_seed(0)
    snac = SNAC(**SNAC_24KHZ).eval()
    codec = LoadedCodec(snac, Geometry.from_config(SNAC_24KHZ), "", "snac_24khz", config_of(snac))
    return MultiRateSnac.from_codec(codec, {"head_24k": NativeHead, "head_48k": UpsampleHead}).eval()
