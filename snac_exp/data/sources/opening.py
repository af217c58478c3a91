"""Which kind of source an input is, told by what lies there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snac_exp.data.files.listing import Listing, WholeFiles
from snac_exp.data.files.scan import find_audio, find_files
from snac_exp.data.measuring.journal import JOURNAL_NAME
from snac_exp.data.prepared.manifest import MANIFEST_NAME, is_manifest
from snac_exp.data.sources.cuts import are_cuts, read_cuts
from snac_exp.data.sources.hub import SCHEME, HubOptions, read_hub
from snac_exp.data.sources.kaldi import WAV_SCP, read_kaldi
from snac_exp.data.sources.lists import DELIMITERS, JSON_LINES, list_suffix, read_lines, read_list
from snac_exp.data.sources.tables import TABLES, read_tables
from snac_exp.data.sources.tars import read_tars
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.paths.kind import kind_of_file

KINDS = (
    "a list (.jsonl, .csv, .tsv), tar shards, a data set of Parquet or Arrow files, a folder of Kaldi with wav.scp, or "
    "hf://OWNER/NAME"
)


@dataclass(frozen=True)
class SourceOptions:
    """How an input is read: names of its columns (meaning -> name), the folder that paths of lists count from (null:
    the list's own), and which part of a data set of the hub."""

    columns: Mapping[str, str] = field(default_factory=dict)
    audio_root: str | None = None
    hub: HubOptions = field(default_factory=HubOptions)

    def to_json(self) -> dict[str, object]:
        """Those that are set."""
        hub = {f"hub.{key}": value for key, value in vars(self.hub).items() if value is not None}
        own = {"columns": dict(self.columns), "audio_root": self.audio_root}
        return {key: value for key, value in {**own, **hub}.items() if value}


def source_name(source: str) -> str:
    """An input as it is remembered: its absolute path, or its address on the hub.

    Raises:
        DataError: there is no such input.
    """
    if source.startswith(SCHEME):
        return source
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise DataError(f"{path}: no such folder or file; input= names a folder of audio, {KINDS}")
    return str(path)


def open_source(source: str, options: SourceOptions, output_dir: Path) -> Listing:
    """The rows of an input, named as `source_name` does; nothing below `output_dir` is part of it.

    Raises:
        ConfigError: options that this kind of input does not have. DataError: there is no such input, or it is of a
        kind that is not read; says what it is.
    """
    if source.startswith(SCHEME):
        _refuse(options, "a data set of the hub", audio_root=True)
        return read_hub(source, options.hub, options.columns, output_dir)
    if options.hub != HubOptions():
        raise ConfigError(
            "hub.config, hub.split, hub.revision and hub.stream belong to input=hf://OWNER/NAME; leave them out"
        )
    path = Path(source)
    return _of_folder(path, options, output_dir) if path.is_dir() else _of_file(path, options, output_dir)


def _of_folder(path: Path, options: SourceOptions, output_dir: Path) -> Listing:
    if (path / WAV_SCP).is_file():
        _refuse(options, "a folder of Kaldi", columns=True)
        return read_kaldi(path, _base(path, options))
    found = find_audio(path, skip=output_dir)
    if found:
        _refuse(options, "a folder of audio files", columns=True, audio_root=True)
        told = tuple(f"{item} is not read, though it may list the files: input={item}" for item in _lists(path)[:1])
        return Listing(path, str(path), WholeFiles(found), told=told)
    _refuse_prepared(path / MANIFEST_NAME)
    _refuse(options, "a folder of shards", audio_root=True)
    tables = [file for file in find_files(path, output_dir, TABLES) if not file.name.startswith("cache-")]
    tars = find_files(path, output_dir, (".tar",))
    if tables and tars:
        raise DataError(
            f"{path}: holds {tables[0].name} and {tars[0].name}; put tables and tars in folders of their own"
        )
    if tables:
        return read_tables(path, str(path), tables, options.columns, output_dir)
    if tars:
        return read_tars(path, str(path), tars, options.columns)
    raise DataError(
        f"{path}: no audio files below it (wav, flac, ogg, opus, mp3, aiff), nor shards (parquet, arrow, tar)"
        f"{_what_else(path)}; name the folder that holds them"
    )


def _of_file(path: Path, options: SourceOptions, output_dir: Path) -> Listing:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        _refuse_prepared(path)
        _refuse(options, "a table", audio_root=True)
        return read_tables(path.parent, str(path), [path], options.columns, output_dir)
    if suffix == ".tar":
        _refuse(options, "a tar", audio_root=True)
        return read_tars(path.parent, str(path), [path], options.columns)
    if list_suffix(path) in (*DELIMITERS, *JSON_LINES):
        base = _base(path.parent, options)
        # Cuts and lists have one ending: the first line tells.
        if list_suffix(path) in JSON_LINES and are_cuts(read_lines(path)):
            _refuse(options, "a list of cuts", columns=True)
            return read_cuts(path, base)
        return read_list(path, options.columns, base)
    unpacked = " that is compressed: unpack it first" if list_suffix(path) == ".tar" or suffix == ".tgz" else ""
    raise DataError(f"{path} is {kind_of_file(path)}{unpacked}, not a folder of audio; input= names one, or {KINDS}")


def _base(folder: Path, options: SourceOptions) -> Path:
    """The folder that relative paths count from."""
    if options.audio_root is None:
        return folder
    base = Path(options.audio_root).expanduser().resolve()
    if not base.is_dir():
        raise DataError(f"audio_root: no folder {base}; it names the folder that paths of the list count from")
    return base


def _refuse(options: SourceOptions, what: str, *, columns: bool = False, audio_root: bool = False) -> None:
    """ConfigError for options that mean nothing for this kind of input."""
    given = {"columns": columns and bool(options.columns), "audio_root": audio_root and options.audio_root is not None}
    for key, wrong in given.items():
        if wrong:
            raise ConfigError(f"{key} means nothing for {what}; leave it out")


def _what_else(path: Path) -> str:
    """Lists that lie in a folder, which may be what was meant."""
    lists = _lists(path)
    return f"; {lists[0].name} there may be a list of them: input={lists[0]}" if lists else ""


def _lists(folder: Path) -> list[Path]:
    found = sorted(item for item in folder.iterdir() if list_suffix(item) in (*DELIMITERS, *JSON_LINES))
    return [item for item in found if item.name != JOURNAL_NAME]


def _refuse_prepared(manifest: Path) -> None:
    """DataError for what `snac-exp prepare` or `pack` wrote, where a source is meant."""
    if manifest.name == MANIFEST_NAME and manifest.is_file() and is_manifest(manifest):
        raise DataError(
            f"{manifest.parent} is prepared already: go on with snac-exp cache-codes data={manifest.parent}, or name "
            "the source that it was made of"
        )
