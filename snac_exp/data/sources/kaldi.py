"""Kaldi's data folders: wav.scp, and beside it segments, utt2spk, utt2lang and text where they are there."""

from pathlib import Path

from snac_exp.data.files.listing import Listed, Listing, listing_of
from snac_exp.data.sources.lists import open_text
from snac_exp.data.sources.paths import common_root, placed_path
from snac_exp.errors import DataError

WAV_SCP = "wav.scp"
_COLUMNS = {"text": "text", "language": "utt2lang"}


def read_kaldi(folder: Path, base: Path) -> Listing:
    """Utterances of a folder, named as there; relative paths of wav.scp count from `base`.

    Raises:
        DataError: a command in place of a file, an utterance of a recording that is not listed; names file and line.
    """
    files = {name: _file(folder, name, value, base) for name, value in _table(folder / WAV_SCP).items()}
    root = common_root(base, list(files.values()))
    speakers = _optional(folder / "utt2spk")
    columns = {name: _optional(folder / file) for name, file in _COLUMNS.items()}
    segments = folder / "segments"
    cuts = _segments(segments) if segments.exists() else {name: (name, 0.0, None) for name in files}
    rows = []
    for name, (recording, start, end) in cuts.items():
        if recording not in files:
            raise DataError(f"{segments}: {name} is of {recording}, which {WAV_SCP} does not list")
        rows.append(
            Listed(
                path=name,
                file=files[recording].relative_to(root).as_posix(),
                offset=start,
                duration=None if end is None else end - start,
                speaker=speakers.get(name),
                columns={column: values.get(name) for column, values in columns.items() if values},
            )
        )
    return listing_of(root, str(folder), rows)


def _file(folder: Path, name: str, value: str, base: Path) -> Path:
    if value.rstrip().endswith("|") or not value:
        raise DataError(
            f"{folder / WAV_SCP}: {name} is {'a command' if value else 'nothing'}, not a file; write its audio to a "
            "file and name that"
        )
    return placed_path(value, base)


def _segments(path: Path) -> dict[str, tuple[str, float, float | None]]:
    found: dict[str, tuple[str, float, float | None]] = {}
    for name, value in _table(path).items():
        try:
            recording, start, end = value.split()[:3]
            # An end of -1 means that of the recording.
            found[name] = (recording, float(start), None if float(end) < 0 else float(end))
        except ValueError:
            raise DataError(f"{path}: {name} has {value!r}, not a recording, a start and an end in seconds") from None
    return found


def _optional(path: Path) -> dict[str, str]:
    return _table(path) if path.exists() else {}


def _table(path: Path) -> dict[str, str]:
    """First word of each line -> the rest of it."""
    found: dict[str, str] = {}
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                name, value = [*line.split(maxsplit=1), ""][:2]
                if name in found:
                    raise DataError(f"{path}, line {number}: {name} comes twice; remove one of the two")
                found[name] = value.strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable ({error}); Kaldi's tables are text in UTF-8") from error
    return found
