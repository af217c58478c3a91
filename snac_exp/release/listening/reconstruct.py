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
)
from snac_exp.release.files.folders import PICTURE_SECONDS
from snac_exp.release.outputs import head_of, labels_of
from snac_exp.system.markup.markdown import plain, table
from snac_exp.tracking.panels import spectrogram_panel


@dataclass(frozen=True)
class Player:
    """One output to listen to: a head of a codec."""

    label: str
    codec: ReleasedCodec
    head: str


@dataclass(frozen=True)
class Reconstructions:
    """Files of one upload in the order of the players, their picture, and a Markdown table of bitrate and speed."""

    outputs: list[Path]
    picture: Path
    table: str


def players_of(tuned: ReleasedCodec, pretrained: ReleasedCodec | None) -> list[Player]:
    """The pretrained codec at its own rate, then every head of the tuned one."""
    players = []
    if pretrained is not None:
        native = head_of(pretrained.heads, None, pretrained.sampling_rate)
        players.append(_player("pretrained", pretrained, native))
    return [*players, *(_player("tuned", tuned, head) for head in tuned.heads)]


def listen(
    path: Path,
    players: list[Player],
    folder: Path,
    *,
    seed: int,
    max_seconds: float,
    advance: Advance = lambda seconds: None,
) -> Reconstructions:
    """Reconstruct one file with every player into `folder`; `advance` is told of every chunk and may raise.

    Raises:
        DataError: it is no audio, or longer than allowed; nothing is decoded then.
    """
    # The header is enough to refuse a long file: nothing has been decoded.
    info = audio_info(path)
    if info.seconds > max_seconds:
        raise DataError(f"{info.seconds:.0f} s of audio are more than the {max_seconds:g} s that this page takes")
    outputs, rows = [], []
    with open_source(path) as source:
        signals = {"input": first_seconds(source.path, PICTURE_SECONDS)}
        for player in players:
            # Reading and writing count too: it is what the listener waits for.
            started = time.perf_counter()
            codes = encode_source(player.codec, source, advance=advance)
            outputs.append(folder / f"{player.label.replace(' ', '_')}.wav")
            decode_to_files(player.codec, codes, {player.head: outputs[-1]}, seed=seed, advance=advance)
            factor = (time.perf_counter() - started) / info.seconds
            rows.append([plain(player.label), f"{player.codec.bitrate / 1000:.2f}", f"{factor:.3f}"])
            signals[player.label] = first_seconds(outputs[-1], PICTURE_SECONDS)
    picture = folder / "spectrograms.png"
    spectrogram_panel(picture, signals, "input and reconstructions")
    return Reconstructions(outputs, picture, table(["output", "kbit/s", "real-time factor"], rows))


def _player(name: str, codec: ReleasedCodec, head: str) -> Player:
    return Player(f"{name} {labels_of(codec.heads)[head]}", codec, head)
