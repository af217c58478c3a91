"""Measure rows that are bytes of a file or segments of one: a file is decoded once for all rows that lie in it.

This module imports no torch: the worker processes of `prepare` start in a fraction of a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snac_exp.data.files.decoding import decoded_blocks, open_audio
from snac_exp.data.files.levels import Levels
from snac_exp.data.files.listing import Listed
from snac_exp.data.files.recording import Recording, Segment, sha1_of_segment
from snac_exp.data.files.scan import FileMeasurement, stamp
from snac_exp.errors import DataError

TOLERANCE_SECONDS = 0.01  # durations in lists are rounded: within it of the file's end, a row ends there


@dataclass(frozen=True, slots=True)
class _Measured:
    """An audio file and its rows: the samples [start, stop) of each, or why it has none, and their levels."""

    rate: int
    channels: int
    num_samples: int
    parts: list[tuple[int, int] | str]
    levels: list[Levels]
    sha1: str


def measure_rows(root: Path, rows: Sequence[Listed]) -> list[FileMeasurement]:
    """Measure the rows of one audio file; errors become part of the measurements."""
    recording = rows[0].recording(root)
    # Before reading: a file that changes meanwhile is measured again next time.
    size_bytes, mtime_ns = stamp(recording.path)
    begun = [FileMeasurement(row.path, size_bytes, mtime_ns, asked=row.asked) for row in rows]
    if not recording.path.exists():
        # With its path: the name of a row need not be that of its file.
        return [replace(one, error=f"no such file: {recording.path}") for one in begun]
    try:
        found = _measured(recording, rows)
    except (DataError, OSError) as error:
        reason = str(error).removeprefix(f"{recording}: ")
        return [replace(one, error=reason) for one in begun]
    return [_of_row(one, found, number) for number, one in enumerate(begun)]


def _measured(recording: Recording, rows: Sequence[Listed]) -> _Measured:
    """One pass over the file.

    Raises:
        DataError: it is no audio, not whole, or cannot be decoded. OSError: it cannot be read.
    """
    with open_audio(recording) as file:
        rate, total, channels = int(file.samplerate), int(file.frames), int(file.channels)
        parts = [_part(row, rate, total, channels) for row in rows]
        levels, place = [Levels() for _ in rows], 0
        for block in decoded_blocks(file, recording):
            for number, part in enumerate(parts):
                if not isinstance(part, str) and part[0] < place + len(block) and part[1] > place:
                    first = max(part[0] - place, 0)
                    inside = Levels.of(block[first : part[1] - place], place + first - part[0])
                    levels[number] = levels[number].joined(inside)
            place += len(block)
    return _Measured(rate, channels, place, parts, levels, recording.sha1())


def _part(row: Listed, rate: int, total: int, channels: int) -> tuple[int, int] | str:
    """Samples [start, stop) of a row, or why there are none."""
    if row.channel is not None and channels > 1:
        return f"is of channel {row.channel} of {channels}, and the mean of all is what is read; split the file"
    start = round(row.offset * rate)
    stop = total if row.duration is None else start + round(row.duration * rate)
    tolerance = TOLERANCE_SECONDS * rate
    if start >= 0 and stop > start and abs(stop - total) <= tolerance and (start == 0 or stop > total):
        stop = total
    if row.duration is not None and round(row.duration * rate) == 0:
        return f"a segment of {row.duration:g} s has no audio; give its length, or leave the row out"
    if not 0 <= start < stop <= total:
        end = "its end" if row.duration is None else f"{row.offset + row.duration:g} s"
        return f"from {row.offset:g} s to {end} is not within the {total / rate:g} s that the file has"
    return start, stop


def _of_row(begun: FileMeasurement, found: _Measured, number: int) -> FileMeasurement:
    part, levels = found.parts[number], found.levels[number]
    if isinstance(part, str):
        return replace(begun, error=part)
    start, stop = part
    segment = None if (start, stop) == (0, found.num_samples) else Segment(start, stop, found.num_samples)
    return replace(
        begun,
        rate=found.rate,
        channels=found.channels,
        num_samples=stop - start,
        sha1=found.sha1 if segment is None else sha1_of_segment(found.sha1, segment),
        levels=levels,
        segment=None if segment is None else (start, stop, found.num_samples),
    )
