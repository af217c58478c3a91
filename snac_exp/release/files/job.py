"""An output folder that one job fills file by file: it can be stopped and started again, and nothing else is touched.

`job.json` says what the job is, `files.jsonl` has a line for every file that is done. A folder with other contents, or
with another job's, is refused.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from snac_exp.data.files.recording import Recording, recording_of
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.checksums.json_lines import signed_line, sound_lines
from snac_exp.system.files import left_beside, read_json, remove_left, remove_left_in, write_signed_json
from snac_exp.system.folder_lock import locked
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.paths.writing import append_line

JOB_FILE = "job.json"
LEDGER_FILE = "files.jsonl"


class Job:
    """The folder of one job; `settings` are plain values that decide what its outputs are."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        # As they come back from the file: tuples become lists, so that the comparison below holds.
        plain = json.loads(json.dumps(dict(settings)))
        file = folder / JOB_FILE
        if file.is_file():
            _same_job(file, plain)
        elif folder.exists() and (not folder.is_dir() or any(map(_is_of_others, folder.iterdir()))):
            refuse_file(folder, "a folder; choose another one", ConfigError)
            raise ConfigError(f"{folder} exists and holds something else; give a new folder, nothing was touched")
        else:
            write_signed_json(file, plain)
        self._done = _read_ledger(folder / LEDGER_FILE)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the folder against other processes, rid of what a killed one left half-written.

        Raises:
            ConfigError: another process is at work on this job.
        """
        with locked(self.folder):
            remove_left_in(self.folder)
            # Before the ledger is read and written to: another process may have been killed while writing a line.
            _end_last_line(self.folder / LEDGER_FILE)
            self._done = _read_ledger(self.folder / LEDGER_FILE)
            yield

    def output(self, name: str) -> Path:
        """Where the output of this relative name goes; DataError for a name that leads out of the folder."""
        # The name may be safe and still pass through a link that somebody put into the folder.
        path = self.folder / safe_relative(name)
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"{name!r} leads out of {self.folder} through a link; remove the link")
        return path

    def is_done(self, name: str, stamp: str) -> bool:
        """Whether the input of this name, unchanged, is done and its outputs are there."""
        entry = self._done.get(name)
        if entry is None or entry["stamp"] != stamp:
            return False
        return all(self.output(item).is_file() for item in entry["outputs"])

    def record(self, name: str, stamp: str, outputs: list[str]) -> None:
        """Note that an input is done; the note is on the disk when this returns."""
        entry = {"name": name, "stamp": stamp, "outputs": outputs}
        # On the disk before the next file starts: a power cut may cost one file of work, never the list.
        append_line(self.folder / LEDGER_FILE, signed_line(entry), sync=True)
        self._done[name] = entry


def safe_relative(name: str) -> Path:
    """A stored name as a relative path that stays below where it is put.

    Raises:
        DataError: it is empty, absolute, has a drive, `..`, a backslash, a control character or too long a part.
    """
    path = PurePosixPath(name)
    # A colon in the first part is a drive on Windows.
    harmless = name.isprintable() and "\\" not in name and ":" not in path.parts[0] if path.parts else False
    # Most file systems take 255 bytes a name; endings are added.
    long_part = any(len(os.fsencode(part)) > 240 for part in path.parts)
    if not harmless or path.is_absolute() or ".." in path.parts or long_part:
        raise DataError(f"{name!r} is no name for an output file: it must be a plain path below the output folder")
    return Path(path)


def stamp_of(path: Path | Recording) -> str:
    """Size and time of a file, and the place in it: tells whether it is still the recording that was read."""
    recording = recording_of(path)
    try:
        size, mtime_ns = recording.stamp()
    except FileNotFoundError:
        return "gone"  # said of it when its turn comes
    place = [part for part in (recording.within, recording.segment) if part is not None]
    return "/".join(map(str, (size, mtime_ns, *place)))


def refuse_existing(path: Path) -> None:
    """ConfigError if there is something at `path` already; what a killed process left to become it is removed."""
    if path.exists() or path.is_symlink():  # a link to nothing does not exist
        raise ConfigError(f"{path} exists and is not overwritten; move it away or give another output")
    remove_left(left_beside(path))


def _is_of_others(path: Path) -> bool:
    """All but what a kill leaves of a job that had no more than begun."""
    return not path.match(f".{JOB_FILE}.*.tmp")


def _same_job(file: Path, settings: dict[str, Any]) -> None:
    try:
        found = read_json(file)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise ConfigError(f"{file} is damaged ({error}); give a new output folder") from None
    different = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
    if different:
        raise ConfigError(
            f"{file.parent} holds the outputs of another job (other {', '.join(different)}); give a new output folder"
        )


def _end_last_line(path: Path) -> None:
    """So that the next line does not go on from one that was cut off."""
    if path.is_file() and not path.read_bytes().endswith(b"\n"):
        with open(path, "ab") as file:
            file.write(b"\n")


def _read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    """Entries by name; a line that was being written when the process died, or is damaged, does not count."""
    if not path.is_file():
        return {}
    entries = {}
    for entry in sound_lines(path.read_bytes().split(b"\n")):
        if [type(entry.get(key)) for key in ("name", "stamp", "outputs")] == [str, str, list]:
            entries[entry["name"]] = entry
    return entries
