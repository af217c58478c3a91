"""Whether the codec and a token model do on the device what they do on a CPU."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu_check.recipes import DEMO_CODEC
from benchmarks.gpu_check.report import Report
from benchmarks.gpu_check.setting import Setting
from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.data.demo.speech import SAMPLE_RATE, synthesize_utterance, voices
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.sampling import Sampling, generate
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.loading import load_codec
from snac_exp.runs.numerics import set_numerics


def _both(setting: Setting) -> Iterator[ReleasedCodec]:
    """The demo codec on a CPU and on the device."""
    set_numerics(num_threads=None, tf32=False, deterministic=False)
    for device in (torch.device("cpu"), setting.device):
        yield load_codec(DEMO_CODEC, device=device)


def _encoded(setting: Setting, codec: ReleasedCodec) -> Codes:
    speech = synthesize_utterance(voices(1, 0, 0)[0], 0, 1.0 if setting.small else 20.0)
    return codec.encode(speech, SAMPLE_RATE)


def tokens(setting: Setting, report: Report) -> None:
    """Tokens of a CPU against those of the device; a sum in another order may choose the neighbour of a rare one."""
    here, there = ([row.cpu() for row in _encoded(setting, codec).tokens] for codec in _both(setting))
    equal = torch.cat([(a == b).flatten() for a, b in zip(here, there, strict=True)])
    report.tell(tokens=len(equal))
    report.expect("share_of_equal_tokens", float(equal.float().mean()), at_least=0.995)


def decoded(setting: Setting, report: Report) -> None:
    """Samples of a CPU against those of the device, of the same tokens with the same noise."""
    here, there = _both(setting)
    codes = _encoded(setting, here)
    waves = [codec.decode(codes, seed=0).cpu() for codec in (here, there)]
    report.expect("largest_difference", float((waves[0] - waves[1]).abs().max()), at_most=1e-3)


def streamed(setting: Setting, report: Report) -> None:
    """Tokens pushed one coarse step at a time give what they give at once."""
    *_, codec = _both(setting)
    codes, geometry = _encoded(setting, codec), codec.geometry
    offline = codec.decode(list(codes.tokens), seed=0).cpu()
    stream, parts = codec.stream(codec.sample_rates[-1], seed=0), []
    for start in range(0, codes.tokens[0].shape[1], geometry.coarse_step):
        pushed = [row[:, geometry.codebook_slice(i, start, geometry.coarse_step)] for i, row in enumerate(codes.tokens)]
        parts.append(stream.push(pushed).cpu())
    online = torch.cat([*parts, stream.finish().cpu()], dim=-1)
    report.tell(samples=offline.shape[-1])
    report.expect("largest_difference", float((offline - online).abs().max()), at_most=1e-4)


def generated(setting: Setting, report: Report) -> None:
    """Frames that a token model writes on a CPU and on the device, from the same draws."""
    layout = FrameLayout.plain((64,) * 3, 11.7)
    settings = LanguageModel("delay", 64, 2, 2, 0.0, 64, "learned", Depth(64, 1, 1))
    torch.manual_seed(0)
    model = TokenTransformer(settings, layout).eval()
    num_frames = 12 if setting.small else 200

    def written(device: torch.device) -> Tensor:
        return generate(model.to(device), num_frames, Sampling(seed=1), batch_size=2).cpu()

    here, there = written(torch.device("cpu")), written(setting.device)
    report.expect("share_of_equal_tokens", float((here == there).float().mean()), at_least=0.9)
