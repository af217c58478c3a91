"""Check, convert and make token files; exchange token ids with speech language models; token statistics.

usage: snac-exp tokens check input=FOLDER [codec=CODEC layout=orpheus]
       snac-exp tokens convert input=FOLDER output=FOLDER
       snac-exp tokens encode input=AUDIO_FOLDER output=FOLDER codec=CODEC [encoder=dac] [key=value …]
       snac-exp tokens encode cache_dir=CACHE output=FOLDER codec=CODEC
       snac-exp tokens export cache=CACHE output=FOLDER codec=CODEC layout=orpheus [format=jsonl|hf] [texts=FILE.jsonl]
       snac-exp tokens export … shard.index=0 shard.count=4               one of several jobs, then merge=true once
       snac-exp tokens import input=FILE|FOLDER output=FILE.parquet codec=CODEC layout=orpheus [mode=resync]
       snac-exp tokens stats cache=CACHE|input=ROWS codec=CODEC [layout=orpheus] [output=FOLDER]

check lists every unusable token file, or row of ids, with the reason (exit status 2 if there is one), and the share of
each codebook's entries in use. convert rewrites files with older headers as NPQ1. encode can be stopped and started
again: existing files are kept. export writes the codes of a cache as rows of input_ids for training in other programs;
they are read back and compared, and an interrupted export continues. import reads such rows, a list of ids in a .json,
or <custom_token_N> in the lines of a .txt, into a file of codes for snac-exp decode. stats reports, for a cache or rows
of ids, how tokens are used, how they repeat and follow each other, and which utterances are in two splits; with output=
also as tokens.json and tokens.png.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.schema import Codec, TokenLayout
from snac_exp.config.structure import nearest, structure
from snac_exp.errors import ConfigError
from snac_exp.system.files import remove_left_in, write_json
from snac_exp.system.paths.writing import require_writable
from snac_exp.system.terminal import console
from snac_exp.verbs.prepared import Shard

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec
    from snac_exp.data.codes.table import CodeTable
    from snac_exp.data.tokens.encoding import TokenSummary
    from snac_exp.data.tokens.rows.check import RowsReport
    from snac_exp.lm.layouts.layout import Layout

ACTIONS = ("check", "convert", "encode", "export", "import", "stats")
STATS_FILES = ("tokens.json", "tokens.png")
EXIT_BAD_FILES = 2  # as for any command with something to mend


@dataclass(frozen=True)
class Options:
    """The keys of conf/tokens.yaml."""

    codec: Codec
    layout: TokenLayout
    input: str | None
    output: str | None
    cache_dir: str | None
    encoder: Literal["snac", "dac"]
    frames: Literal["coarse", "repeated"]
    dac_model: str
    device: str
    chunk_seconds: float
    context_seconds: float
    overwrite: bool
    format: Literal["parquet", "jsonl", "hf"]
    texts: str | None
    tokenizer: str | None
    prompt: str
    max_tokens: int | None
    too_long: Literal["drop", "split"]
    drop_repeated_frames: bool
    rows_per_shard: int
    shard: Shard
    merge: bool
    mode: Literal["strict", "resync"]
    ngram_utterances: int


def main(arguments: Sequence[str]) -> int:
    """Do one of these."""
    action, *rest = arguments or ("",)
    if not action:
        raise ConfigError(f"snac-exp tokens needs an action: {', '.join(ACTIONS)}")
    if action not in ACTIONS:
        raise ConfigError(f"snac-exp tokens '{action}' is not valid{nearest(action, ACTIONS)}")
    rest = [f"cache_dir={item.removeprefix('cache=')}" if item.startswith("cache=") else item for item in rest]
    # A hub id or a path may hold what Hydra's grammar takes apart, and a template does.
    overrides = hydra_overrides(rest, path_keys=("dac_model", "texts", "tokenizer", "prompt"))
    options = structure(Options, resolved(compose_config("tokens", overrides)))
    if action == "check":
        return _check(options, _folder("input", options.input))
    if action == "stats":
        return _stats(options)
    output = _folder("output", options.output)
    if action == "import":
        return _import(options, output)
    remove_left_in(output)
    if action == "export":
        return _export(options, output)
    if action == "convert":
        from snac_exp.data.tokens.encoding import convert_folder

        return _report(convert_folder(_folder("input", options.input), output, options.overwrite))
    return _report(_encode(options, output))


def _check(options: Options, path: Path) -> int:
    from snac_exp.data.tokens.check import TokenReport, check_files
    from snac_exp.data.tokens.rows.files import holds_rows

    report: TokenReport | RowsReport = _checked_rows(options, path) if holds_rows(path) else check_files(path)
    print("\n".join(report.lines))
    return EXIT_BAD_FILES if report.rejected else 0


def _checked_rows(options: Options, path: Path) -> "RowsReport":
    from snac_exp.data.tokens.rows.check import check_rows

    _, layout = _opened(options, path)
    return check_rows(path, layout)


def _encode(options: Options, output: Path) -> "TokenSummary":
    import numpy as np

    from snac_exp.codec.opening import open_codec
    from snac_exp.data.tokens.encoding import encode_folder, export_cache

    if options.cache_dir is not None:
        from snac_exp.data.slices.cached_codes import open_table
        from snac_exp.data.tokens.files import CachedTokens

        table = open_table(options.cache_dir, open_codec(options.codec))
        # The cache's own split goes on, so that no speaker changes sides.
        validation = {int(row) for row in table.rows_of("validation")}
        tokens = CachedTokens(table, np.arange(len(table)), options.frames)
        return export_cache(tokens, validation, output, options.overwrite)
    from snac_exp.data.tokens.codecs import DacTokens, SnacTokens, TokenCodec

    codec: TokenCodec = (
        DacTokens(options.dac_model, options.device)
        if options.encoder == "dac"
        else SnacTokens(open_codec(options.codec), options.frames, options.device)
    )
    return encode_folder(
        codec,
        _folder("input", options.input),
        output,
        chunk_seconds=options.chunk_seconds,
        context_seconds=options.context_seconds,
        overwrite=options.overwrite,
    )


def _export(options: Options, output: Path) -> int:
    from snac_exp.codec.opening import open_codec
    from snac_exp.data.slices.cached_codes import open_table
    from snac_exp.data.tokens.rows.export import Share, export_rows
    from snac_exp.data.tokens.rows.options import ExportOptions
    from snac_exp.data.tokens.rows.texts import texts_for

    cache = _cache(options)
    wanted = ExportOptions(
        format=options.format,
        rows_per_shard=options.rows_per_shard,
        max_tokens=options.max_tokens,
        too_long=options.too_long,
        drop_repeated_frames=options.drop_repeated_frames,
        prompt=options.prompt,
        tokenizer=options.tokenizer,
    )
    share = Share(options.shard.index, options.shard.count, options.merge)
    codec = open_codec(options.codec)
    table = open_table(cache, codec)
    summary = export_rows(
        table, codec, options.layout, output, wanted, texts=texts_for(table, options.texts), share=share
    )
    print("\n".join(summary.lines))
    return 0


def _stats(options: Options) -> int:
    from snac_exp.data.tokens.statistics.measure import measure_tokens
    from snac_exp.report.tokens.picture import statistics_picture
    from snac_exp.report.tokens.tables import statistics_tables

    if options.ngram_utterances < 1:
        raise ConfigError(f"ngram_utterances={options.ngram_utterances} must be at least 1")
    files = [] if options.output is None else [Path(options.output).expanduser() / name for name in STATS_FILES]
    there = [path for path in files if path.exists() and not options.overwrite]
    if there:
        raise ConfigError(f"{there[0]} is there already; name another output, or set overwrite=true")
    if files:
        require_writable(files[0].parent)
    table, layout = _tokens(options)
    found = measure_tokens(table, layout, options.ngram_utterances)
    console().print(statistics_tables(found))
    if files:
        write_json(files[0], found.as_json)
        statistics_picture(files[1], found)
    return 0


def _tokens(options: Options) -> "tuple[CodeTable, Layout]":
    """What is counted: a cache, or rows of ids."""
    from snac_exp.codec.opening import open_codec
    from snac_exp.data.slices.cached_codes import open_table
    from snac_exp.data.tokens.rows.table import table_of_rows
    from snac_exp.lm.layouts.layout import layout_of

    if options.input is not None and options.cache_dir is not None:
        raise ConfigError("cache and input are given to tokens stats; give one of them")
    if options.input is None:
        table = open_table(_cache(options, " or input=ROWS"), open_codec(options.codec))
        spec = table.spec
        return table, layout_of(options.layout, spec.codec_name, spec.geometry, spec.codebook_size)
    path = _folder("input", options.input)
    codec, layout = _opened(options, path)
    return table_of_rows(path, layout, codec, options.mode), layout


def _opened(options: Options, rows: Path) -> "tuple[LoadedCodec, Layout]":
    """The codec and the layout of rows of ids; refused where they are of others."""
    from snac_exp.codec.opening import open_codec
    from snac_exp.data.tokens.rows.spoken import require_same_origin
    from snac_exp.lm.layouts.layout import layout_of

    codec = open_codec(options.codec)
    require_same_origin(rows, options.layout, codec)
    return codec, layout_of(options.layout, codec.name, codec.geometry, int(codec.model.codebook_size))


def _cache(options: Options, other: str = "") -> str:
    from snac_exp.data.tokens.rows.files import EXPORT_FILE

    if options.cache_dir is None:
        raise ConfigError(
            f"cache has no value: set it with cache=FOLDER, the codes that snac-exp cache-codes wrote{other}"
        )
    if (Path(options.cache_dir).expanduser() / EXPORT_FILE).is_file():
        raise ConfigError(
            f"cache={options.cache_dir} holds rows of ids; give input={options.cache_dir} to check, stats or import"
        )
    return options.cache_dir


def _import(options: Options, output: Path) -> int:
    from snac_exp.codec.opening import open_codec
    from snac_exp.release.files.id_rows import import_rows

    codec = open_codec(options.codec)
    summary = import_rows(_folder("input", options.input), output, options.layout, codec, options.mode)
    print("\n".join(summary.lines))
    return EXIT_BAD_FILES if summary.rejected else 0


def _report(summary: "TokenSummary") -> int:
    print("\n".join(summary.lines))
    return EXIT_BAD_FILES if summary.rejected else 0


def _folder(key: str, value: str | None) -> Path:
    if value is None:
        raise ConfigError(f"{key} has no value: set it with {key}=FOLDER")
    return Path(value).expanduser()
