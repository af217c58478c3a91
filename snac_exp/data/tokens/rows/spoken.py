"""The speech of rows of ids, whoever wrote them: where each stands, the codes of it, and its true length."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snac_exp.codec.checkpoint import LoadedCodec, codebooks_fingerprint
from snac_exp.config.schema import TokenLayout
from snac_exp.data.codes.shards import SHARD_NAME
from snac_exp.data.tokens.rows.files import EXPORT_FILE, TokenRow, read_rows, row_files
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.reading import Mode, Reading
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.system.files import read_json, sha256_of_file

NO_SPLIT = "all"
_SPLIT = re.compile(r"(.+)-\d{5}-of-\d{5}")


@dataclass(frozen=True)
class Spoken:
    """The speech of a row. num_samples: at the codec's rate. problem: why there is none, with `resync`."""

    name: str
    split: str
    speaker: str | None
    reading: Reading
    num_samples: int
    problem: str | None = None


def files_of(source: Path) -> list[Path]:
    """The files of rows that a file or folder names; DataError where there are none."""
    if not source.exists():
        raise DataError(f"input: there is no {source}; give a file of rows of ids, or a folder of them")
    if source.is_dir() and any(SHARD_NAME.fullmatch(path.name) for path in source.iterdir()):
        raise DataError(f"input: {source} is a code cache and holds no ids; give cache={source}, or rows made of it")
    return row_files(source) if source.is_dir() else [source]


def split_of(path: Path) -> str:
    """Of the rows of a file: SPLIT-00000-of-00001.jsonl, or the folder of SPLIT/data-…; `all` where neither says it."""
    found = _SPLIT.fullmatch(path.stem)
    name = path.stem if found is None else found[1]
    if path.suffix == ".arrow":
        return path.parent.name if name == "data" else NO_SPLIT
    return NO_SPLIT if found is None else name


def spoken_rows(source: Path, layout: Layout, mode: Mode) -> Iterator[Spoken]:
    """All rows, in order.

    Raises:
        DataError: nothing to read, a damaged file, a name that comes twice; `strict`: ids that do not fit, no speech,
            or a length of audio that is not that of its frames; names file and row.
    """
    seen = set[str]()
    for path in files_of(source):
        for number, row in enumerate(read_rows(path, layout)):
            name = name_of(row, len(seen))
            try:
                if name in seen:
                    raise DataError(f"{name} comes twice; import the files one by one, or fix path")
                seen.add(name)
                yield _spoken(row, name, split_of(path), layout, mode)
            except DataError as error:
                raise DataError(f"{path}, row {number}: {error}") from None


def _spoken(row: TokenRow, name: str, split: str, layout: Layout, mode: Mode) -> Spoken:
    reading = read_ids([row.input_ids], layout, mode)
    problem = problem_of(reading) if mode == "resync" else None
    num_samples = 0 if problem else samples_of(row, reading, mode)
    return Spoken(name, split, row.speaker, reading, num_samples, problem)


def name_of(row: TokenRow, number: int) -> str:
    """Its path, or its number among all rows."""
    return row.path or f"row_{number:05d}"


def problem_of(reading: Reading) -> str | None:
    """Why these codes are no audio."""
    if not reading.num_frames:
        layout, text = reading.layout, len(reading.text_ids)
        return (
            f"there is no whole frame of codes in it, and {text} ids are text for layout {layout.name}; "
            "choose the layout that wrote it"
        )
    step = reading.layout.geometry.coarse_step
    if reading.num_frames % step:
        return f"{reading.num_frames} frames are no multiple of {step}, which codec {reading.layout.codec_name} decodes"
    return None


def samples_of(row: TokenRow, reading: Reading, mode: Mode) -> int:
    """Samples of a row's audio at the codec's rate: those that its seconds say, else those of its frames.

    Raises:
        DataError: `strict`, and there is no audio in it, or its frames are not as long as its seconds say.
    """
    geometry, problem = reading.layout.geometry, problem_of(reading)
    if problem is not None:
        raise DataError(problem)
    given = row.seconds if row.seconds is not None and math.isfinite(row.seconds) else -1.0
    true = round(given * geometry.sampling_rate)
    if true > 0 and geometry.coarse_tokens_of(true) == reading.num_frames:
        return true
    if row.seconds is not None and mode == "strict":
        raise DataError(
            f"{row.seconds} seconds are not what its {reading.num_frames} frames hold, {reading.seconds:.3f}; fix or "
            "leave out seconds, or mode=resync to take the frames"
        )
    return reading.num_frames * geometry.coarse_hop


def require_same_origin(source: Path, options: TokenLayout, codec: LoadedCodec) -> None:
    """ConfigError where rows of an exported folder are read by another layout or codec than its export.json names."""
    record = _record(source) or {}
    layout, cache = ({} if not isinstance(item, dict) else item for item in map(record.get, ("layout", "cache")))
    given = asdict(options)
    different = [key for key in layout if layout[key] != given.get(key)]
    if different:
        key = "name" if "name" in different else different[0]
        mend = f"layout={layout[key]}" if key == "name" else f"layout.{key}={layout[key]}"
        raise ConfigError(f"{source} holds ids of another layout, says its {EXPORT_FILE}; set {mend}")
    name, codebooks = cache.get("codec_name", codec.name), record.get("codebooks")
    # A decoder may have been trained on, tokens being what they were. Older exports do not say which codebooks.
    own = codebooks_fingerprint(codec.model.quantizer)
    is_other = name != codec.name and cache.get("codec_fingerprint") != codec.fingerprint
    if codebooks != own if codebooks is not None else is_other:
        mend = f"set codec={name}" if name != codec.name else "set codec.path to the codec that they were made with"
        raise ConfigError(f"{source} holds codes of codec {name} with other codebooks, says its {EXPORT_FILE}; {mend}")


def require_listed(source: Path) -> None:
    """DataError where the files of an exported folder are not those of its export.json."""
    for problem in unlisted(source).values():
        raise DataError(problem)


def unlisted(source: Path) -> dict[str, str]:
    """Files of an exported folder that are not as its export.json lists them: name -> what is wrong, for people."""
    record = _record(source)
    if record is None:
        return {}
    try:
        listed = {name: values["sha256"] for name, values in record["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{source / EXPORT_FILE} is damaged ({error!r}); export again") from None
    names = {path.relative_to(source).as_posix(): path for path in files_of(source)}
    missing = {name: f"{source} lacks {name}, which {EXPORT_FILE} lists; export again" for name in {*listed} - {*names}}
    wrong = {
        name: f"{path}: not as {EXPORT_FILE} lists it, damaged or of another export; export again"
        for name, path in names.items()
        if listed.get(name) != sha256_of_file(path)
    }
    return dict(sorted((missing | wrong).items()))


def _record(source: Path) -> Mapping[str, Any] | None:
    """What an export says of itself, where the source is its folder."""
    path = source / EXPORT_FILE
    if not path.is_file():
        return None
    try:
        found = read_json(path)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); export again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged (no mapping); export again")
    return found
