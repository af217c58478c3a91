"""One signal between files and standard input and output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from snac_exp.errors import ConfigError
from snac_exp.release.code_files import MAX_NPZ_BYTES, read_npz, write_npz
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.files.audio import decode_to_files, encode_source, open_pcm, open_source, pcm
from snac_exp.release.files.folders import Settings
from snac_exp.release.waveforms import to_numpy


def reconstruct_pcm(
    codec: ReleasedCodec, source: IO[bytes], target: IO[bytes], pcm_rate: int, settings: Settings
) -> None:
    """Raw PCM in, raw PCM out of the one head of the settings."""
    with open_pcm(source, pcm_rate) as audio:
        # Outside of the block below: a source that breaks is an error, only the reader of the output may leave.
        codes = encode_source(codec, audio, chunk_seconds=settings.chunk_seconds)
    with _until_the_reader_leaves():
        write_pcm(codec, codes, target, settings)


def encode_one(codec: ReleasedCodec, source: str, target: str, pcm_rate: int, chunk_seconds: float) -> None:
    """An audio file or raw PCM (`-`) into an .npz file or standard output (`-`).

    Raises:
        ConfigError: the target is no .npz.
    """
    if target != "-" and Path(target).suffix != ".npz":
        raise ConfigError(f"{target}: codes of one signal go into FILE.npz, FILE.parquet (from a file) or -")
    opened = open_pcm(sys.stdin.buffer, pcm_rate) if source == "-" else open_source(Path(source).expanduser())
    with opened as audio:
        codes = encode_source(codec, audio, chunk_seconds=chunk_seconds)
    with _until_the_reader_leaves():
        write_npz(sys.stdout.buffer if target == "-" else Path(target).expanduser(), codes)


def decode_one(codec: ReleasedCodec, source: str, target: str, settings: Settings) -> None:
    """An .npz file or standard input (`-`) into a WAV file or raw PCM on standard output (`-`)."""
    head = _only_head(settings)
    # Bounded, since a pipe may never end; what is longer is cut off here, and refused as damaged.
    codes = read_npz(sys.stdin.buffer.read(MAX_NPZ_BYTES) if source == "-" else Path(source).expanduser())
    if target == "-":
        with _until_the_reader_leaves():
            write_pcm(codec, codes, sys.stdout.buffer, settings)
        return
    decode_to_files(
        codec,
        codes,
        {head: Path(target).expanduser()},
        seed=settings.seed,
        noise=settings.noise,
        chunk_seconds=settings.chunk_seconds,
    )


def write_pcm(codec: ReleasedCodec, codes: Codes, target: IO[bytes], settings: Settings) -> None:
    """Raw PCM of the first row from the one head of the settings, chunk after chunk."""
    head = _only_head(settings)
    chunks = codec.decode_chunks(
        codes, [head], seed=settings.seed, noise=settings.noise, chunk_seconds=settings.chunk_seconds
    )
    for chunk in chunks:
        target.write(pcm(to_numpy(chunk[head])).tobytes())
        target.flush()  # each chunk can be played as soon as it is decoded


@contextmanager
def _until_the_reader_leaves() -> Iterator[None]:
    """A reader like `head` that has enough is no error; what Python still holds for it goes nowhere."""
    try:
        yield
    except BrokenPipeError:
        # Otherwise the interpreter flushes into the broken pipe at its end, and prints an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _only_head(settings: Settings) -> str:
    if len(settings.heads) != 1:
        listed = ", ".join(settings.heads)
        raise ConfigError(
            f"one file or pipe takes one output, not {listed}; say which: output_heads=[{settings.heads[-1]}]"
        )
    return settings.heads[0]
