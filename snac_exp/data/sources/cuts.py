"""Lhotse's cuts (.jsonl, .jsonl.gz): through lhotse where it is installed, else the plain MonoCut, which is JSON."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from snac_exp.data.files.listed_table import Found
from snac_exp.data.files.listing import Listing, listing_of
from snac_exp.data.prepared.places import free_name
from snac_exp.data.sources.lists import Rows, list_suffix, read_lines
from snac_exp.data.sources.paths import placed_path
from snac_exp.errors import DataError

_OF_SUPERVISION = ("text", "language", "gender")  # columns, beside the speaker


def are_cuts(rows: Rows) -> bool:
    """Whether the lines of a list are cuts, by the first of them."""
    _, first = next(rows, ("", {}))
    return any(key in first for key in ("recording", "supervisions", "tracks"))


def read_cuts(path: Path, base: Path) -> Listing:
    """Cuts as rows, named by their ids; relative paths of recordings count from `base`.

    Raises:
        DataError: a cut that is not one stretch of one file, as a mixture, or with several supervisions; names it.
    """
    cuts = _through_lhotse(path) if find_spec("lhotse") is not None else (row for _, row in read_lines(path))
    return listing_of(base, str(path), (_row(cut, placed_path(_source(cut, path), base), path) for cut in cuts))


def _through_lhotse(path: Path) -> Iterator[Mapping[str, Any]]:
    from lhotse import CutSet  # type: ignore[import-not-found, import-untyped, unused-ignore]

    try:
        # One after the other where they have a line each; other files are read whole by lhotse.
        read = CutSet.from_jsonl_lazy if list_suffix(path) == ".jsonl" else CutSet.from_file
        cuts = iter(read(path))
        while (cut := next(cuts, None)) is not None:
            yield cut.to_dict()
    # Whatever lhotse raises of a damaged line: its readers have no error of their own.
    except Exception as error:
        raise DataError(f"{path}: lhotse cannot read it as cuts ({type(error).__name__}: {error})") from error


def _source(cut: Mapping[str, Any], path: Path) -> str:
    """The audio file of a cut."""
    name, recording = cut.get("id"), cut.get("recording") or {}
    if cut.get("type", "MonoCut") != "MonoCut":
        raise DataError(f"{path}: {name} is a {cut.get('type')}; only a MonoCut is one stretch of one file")
    if recording.get("transforms"):
        raise DataError(f"{path}: {name} changes its audio ({recording['transforms']}); write it to a file first")
    sources = recording.get("sources") or [{}]
    if len(sources) != 1 or sources[0].get("type") != "file":
        kinds = ", ".join(str(source.get("type")) for source in sources)
        raise DataError(f"{path}: the audio of {name} is no file ({kinds}); write it to one first")
    return str(sources[0]["source"])


def _row(cut: Mapping[str, Any], file: str, path: Path) -> Found:
    name, supervisions = str(cut["id"]), cut.get("supervisions") or []
    if len(supervisions) > 1:
        raise DataError(
            f"{path}: {name} has {len(supervisions)} supervisions; split it (lhotse cut trim-to-supervisions)"
        )
    said = supervisions[0] if supervisions else {}
    further = {key: said.get(key) for key in _OF_SUPERVISION}
    further |= (said.get("custom") or {}) | (cut.get("custom") or {})
    channels = cut["recording"]["sources"][0].get("channels") or [0]
    try:
        offset, duration = float(cut["start"]), float(cut["duration"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: {name} has no start and duration in seconds") from None
    return Found(
        path=name,
        file=file,
        offset=offset,
        duration=duration,
        # Of several channels a cut has one, and rows are the mean of all.
        channel=cut.get("channel", 0) if len(channels) > 1 else None,
        speaker=said.get("speaker"),
        columns={free_name(key): value for key, value in further.items() if value is not None},
    )
