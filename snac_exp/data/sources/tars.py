"""Tar shards as WebDataset writes them: the files of one key are one row, its audio is read in place.

A key is a member's path up to the first dot of its name. Beside the audio its .json holds columns, its .txt the text.
"""

import json
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snac_exp.data.files.listed_table import Found
from snac_exp.data.files.listing import UNKNOWN_SPEAKER, Listing, listing_of
from snac_exp.data.files.recording import Bytes
from snac_exp.data.files.scan import AUDIO_SUFFIXES
from snac_exp.data.sources.names import Names
from snac_exp.errors import DataError

_MEANINGS = ("speaker", "text", "language", "split")


@dataclass
class _Sample:
    """The members of one key: where its audio lies, and what the others say."""

    file: str
    key: str
    audio: tuple[str, Bytes] | None = None
    columns: dict[str, Any] = field(default_factory=dict)


def read_tars(root: Path, source: str, tars: Sequence[Path], columns: Mapping[str, str]) -> Listing:
    """The rows of tar files below `root`.

    Raises:
        DataError: a tar that is damaged, compressed, or without audio; a .json that is no object.
    """
    # Read twice: a column may come with the last tar, and the samples of one tar alone are in memory.
    there = list(dict.fromkeys(name for tar in tars for sample in _samples(tar, root) for name in sample.columns))
    # What lies in a tar is audio by its ending: a column that names a file is a column like others.
    names = Names.chosen(there, columns, source)
    names = Names({meaning: name for meaning, name in names.of.items() if meaning in _MEANINGS})
    rows = (_row(sample, names, root) for tar in tars for sample in _samples(tar, root))
    return listing_of(root, source, rows, names.lines(there))


def members(tar: Path) -> Iterator[tuple[str, Bytes]]:
    """Names and places of the files in a tar; DataError if it is damaged or compressed."""
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, Bytes(member.offset_data, member.size, member.name)
                archive.members.clear()  # type: ignore[attr-defined] # it would keep all of them, a kilobyte each
            end = archive.offset
        # A tar that was cut off within a member ends the loop like one that is whole.
        if end > tar.stat().st_size:
            raise DataError(f"{tar}: is cut off: {tar.stat().st_size:,} bytes of at least {end:,}; replace it")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{tar}: not readable as a tar ({error}); it must be whole and not compressed, since rows are read in "
            "place: fetch it again, unpack it, or leave it out"
        ) from error


def _samples(tar: Path, root: Path) -> list[_Sample]:
    """Keys with audio, and those of which something else is told, which will be listed as rejected."""
    samples: dict[str, _Sample] = {}
    file = tar.relative_to(root).as_posix()
    for name, place in members(tar):
        key, ending = _key_of(name)
        sample = samples.setdefault(key, _Sample(file, key))
        if ending.lower() in AUDIO_SUFFIXES:
            if sample.audio is not None:
                raise DataError(f"{tar}: {sample.audio[0]} and {name} have one key; a row has one audio file")
            sample.audio = (name, place)
        elif ending == ".json":
            sample.columns = _json(tar, name, place) | sample.columns
        elif ending == ".txt":
            sample.columns["text"] = _content(tar, place).decode("utf-8", errors="replace").strip()
    if not any(sample.audio for sample in samples.values()):
        endings = sorted({_key_of(name)[1] or name for name, _ in members(tar)})[:8]
        raise DataError(f"{tar}: a tar without audio: its files are {', '.join(endings) or 'none'}")
    return [sample for sample in samples.values() if sample.audio or sample.columns]


def _key_of(name: str) -> tuple[str, str]:
    """Key and ending of a member: `a/b.c` and `.wav` of `a/b.c.wav` only where `c.wav` is no ending of audio."""
    folder, last = posixpath.split(name.removeprefix("./"))
    stem, dot, ending = last.partition(".")
    return posixpath.join(folder, stem), f"{dot}{ending}"


def _json(tar: Path, name: str, place: Bytes) -> dict[str, Any]:
    try:
        value = json.loads(_content(tar, place))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{tar}/{name}: not valid JSON ({error}); repair it, or remove its key from the tar") from None
    if not isinstance(value, dict):
        raise DataError(f"{tar}/{name}: JSON, but no object with names and values; repair it, or remove its key")
    return value


def _content(tar: Path, place: Bytes) -> bytes:
    with open(tar, "rb") as file:
        file.seek(place.first)
        return file.read(place.size)


def _row(sample: _Sample, names: Names, root: Path) -> Found:
    name, place = sample.audio or (sample.key, None)
    return Found(
        path=f"{sample.file}/{name.removeprefix('./')}",
        file=None if place is None else os.path.join(root, sample.file),
        within=place,
        fault="its key has no audio file" if place is None else None,
        speaker=names.speaker(sample.columns) or UNKNOWN_SPEAKER,
        split=names.split(sample.columns),
        columns=names.further(sample.columns),
    )
