"""What the page to listen computes for one upload; knows nothing of the page."""

import time
from dataclasses import dataclass
from pathlib import Path

from snac_exp.data.files.reading import audio_info
from snac_exp.errors import DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.files.audio import (
    Advance,
    decode_to_files,
    encode_source,
    first_seconds,
    open_source,
    rate_label,
)
from snac_exp.release.files.folders import PICTURE_SECONDS
from snac_exp.tracking.panels import spectrogram_panel


@dataclass(frozen=True)
class Voice:
    """One thing to hear: a codec at one of its rates."""

    label: str
    codec: ReleasedCodec
    rate: int


@dataclass(frozen=True)
class Heard:
    """Files of one upload in the order of the voices, their picture, and a Markdown table of figures."""

    outputs: list[Path]
    picture: Path
    facts: str


def voices_of(tuned: ReleasedCodec, pretrained: ReleasedCodec | None) -> list[Voice]:
    """The pretrained codec at its own rate, then the tuned one at every rate."""
    first = [] if pretrained is None else [_voice("pretrained", pretrained, pretrained.sampling_rate)]
    return [*first, *(_voice("tuned", tuned, rate) for rate in tuned.sample_rates)]


def listen(
    path: Path,
    voices: list[Voice],
    folder: Path,
    *,
    seed: int,
    max_seconds: float,
    advance: Advance = lambda seconds: None,
) -> Heard:
    """Reconstruct one file with every voice into `folder`; `advance` is told of every chunk and may raise.

    Raises:
        DataError: it is no audio, or longer than allowed; nothing is decoded then.
    """
    info = audio_info(path)
    if info.seconds > max_seconds:
        raise DataError(f"{info.seconds:.0f} s of audio are more than the {max_seconds:g} s that this page takes")
    outputs, rows = [], ["| output | kbit/s | real-time factor |", "|---|---|---|"]
    with open_source(path) as source:
        signals = {"input": first_seconds(source.path, PICTURE_SECONDS)}
        for voice in voices:
            started = time.perf_counter()
            codes = encode_source(voice.codec, source, advance=advance)
            outputs.append(folder / f"{voice.label.replace(' ', '_')}.wav")
            decode_to_files(voice.codec, codes, {voice.rate: outputs[-1]}, seed=seed, advance=advance)
            factor = (time.perf_counter() - started) / info.seconds
            rows.append(f"| {voice.label} | {voice.codec.bitrate / 1000:.2f} | {factor:.3f} |")
            signals[voice.label] = first_seconds(outputs[-1], PICTURE_SECONDS)
    picture = folder / "spectrograms.png"
    spectrogram_panel(picture, signals, "input and reconstructions")
    return Heard(outputs, picture, "\n".join(rows))


def _voice(name: str, codec: ReleasedCodec, rate: int) -> Voice:
    return Voice(f"{name} {rate_label(rate)}", codec, rate)
