"""Make a manifest with splits from a source of audio; unusable files are listed with the reason.

usage: snac-exp prepare input=FOLDER output=FOLDER [key=value …]
       snac-exp prepare input=LIST.jsonl output=FOLDER 'columns={audio: clip}'   files or segments: .jsonl, .csv, .tsv
       snac-exp prepare input=SHARDS output=FOLDER             tar shards, or a data set of Parquet or Arrow files
       snac-exp prepare input=hf://OWNER/NAME output=FOLDER [hub.split=train] [hub.stream=true]    one of the hub

Any path works: spaces, commas, quotes, non-Latin letters. Run it again after adding files: known ones are not read
twice.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.structure import structure


@dataclass(frozen=True)
class Hub:
    """Which part of a data set of the hub."""

    config: str | None
    split: str | None
    revision: str | None
    stream: bool


@dataclass(frozen=True)
class Columns:
    """What a list or table calls its columns."""

    audio: str | None
    offset: str | None
    duration: str | None
    end: str | None
    speaker: str | None
    text: str | None
    language: str | None
    split: str | None


@dataclass(frozen=True)
class Options:
    """The keys of conf/prepare.yaml."""

    input: str
    output: str
    split: Literal["speaker", "file", "given"]
    speaker_level: int | None
    train_ratio: float
    validation_speakers: list[str] | None
    seed: int
    min_seconds: float
    silence_db: float
    max_peak: float
    min_mix: float
    num_workers: int | None
    columns: Columns
    audio_root: str | None
    hub: Hub


def main(arguments: Sequence[str]) -> int:
    """Measure, accept or reject, and split all audio of `input`."""
    overrides = hydra_overrides(arguments, addresses=("input=hf://",))
    options = structure(Options, resolved(compose_config("prepare", overrides)))
    from snac_exp.data.prepared.prepare import prepare
    from snac_exp.data.sources.hub import HubOptions
    from snac_exp.data.sources.opening import SourceOptions

    settings = asdict(options)
    columns = {meaning: name for meaning, name in settings.pop("columns").items() if name is not None}
    source = SourceOptions(columns, settings.pop("audio_root"), HubOptions(**settings.pop("hub")))
    summary = prepare(settings.pop("input"), settings.pop("output"), options=source, **settings)
    print("\n".join(summary.lines))
    print(f"next: snac-exp cache-codes {shlex.quote(f'data={options.output}')} codec=CODEC")
    return 0
