"""From a folder of audio to a manifest with splits; what cannot be used is listed with its reason.

usage: snac-exp prepare input=FOLDER output=FOLDER [key=value …]

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
class Options:
    """The keys of conf/prepare.yaml."""

    input: str
    output: str
    split: Literal["speaker", "file"]
    speaker_level: int | None
    train_ratio: float
    validation_speakers: list[str] | None
    seed: int
    min_seconds: float
    silence_db: float
    num_workers: int | None


def main(arguments: Sequence[str]) -> int:
    """Measure, accept or reject, and split all files below `input`."""
    options = structure(Options, resolved(compose_config("prepare", hydra_overrides(arguments))))
    from snac_exp.data.prepared.prepare import prepare

    settings = asdict(options)
    summary = prepare(settings.pop("input"), settings.pop("output"), **settings)
    print("\n".join(summary.lines))
    print(f"next: snac-exp cache-codes {shlex.quote(f'data={options.output}')} codec=CODEC")
    return 0
