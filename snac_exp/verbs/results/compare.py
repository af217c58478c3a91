"""Compare runs: a table with differences and intervals, curves, settings against results, audio, also as a blind test.

usage: snac-exp compare RUN|SWEEP… [metric=…] [output=FOLDER] [blind=true] [update=README.md] [key=value …]

A sweep stands for its jobs. Writes a new folder with comparison.html, comparison.md and comparison.parquet; update=
puts the table also between <!-- compare: NAME --> and <!-- /compare --> of a Markdown file.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.arguments import quoted, unquoted
from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.metrics.sides import Goal
from snac_exp.report.compare.comparison import ComparisonSettings, Source
from snac_exp.report.compare.markdown_table import Slot
from snac_exp.verbs.arguments import folders_and_options
from snac_exp.verbs.run_lists import RunList, runs_of

_PATH_KEYS = ("update", "baseline", "table")  # values that Hydra's grammar must not take apart


@dataclass(frozen=True)
class Options:
    """The keys of conf/compare.yaml."""

    metric: str | None
    goal: Goal | None
    baseline: str | None
    columns: list[str]
    output: str | None
    update: str | None
    table: str | None
    blind: bool
    seed: int
    max_megabytes: float


def main(arguments: Sequence[str]) -> int:
    """Compare, write, and say what came of it."""
    folders, given = folders_and_options(arguments, list(Options.__dataclass_fields__))
    options = structure(Options, verb_values("compare", [_typed(item) for item in given]))
    if not folders:
        raise ConfigError("which runs? snac-exp compare RUN RUN, or snac-exp compare SWEEP")
    from snac_exp.report.compare.folder import PAGE_FILE, Sound, write_comparison
    from snac_exp.report.compare.text import markdown_table

    # Before the runs are read: a file without a place for the table is refused at once.
    slot = None if options.update is None else Slot(Path(options.update), options.table)
    runs = runs_of(folders)
    output = _output(options.output, runs.sources)
    sound = Sound(options.blind, options.seed, options.max_megabytes)
    comparison = write_comparison(runs.sources, _settings(options, runs), sound, output)
    print(markdown_table(comparison))
    print(f"\npage: {output / PAGE_FILE}")
    if slot is not None:
        slot.fill(markdown_table(comparison))
        print(f"table: {slot.path}")
    return 0


def _typed(argument: str) -> str:
    key, _, value = argument.partition("=")
    # Quoted: Hydra would take a comma, an equals sign or a brace of a path for its own grammar.
    return f"{key}={quoted(unquoted(value))}" if key in _PATH_KEYS and value not in ("", "null") else argument


def _settings(options: Options, runs: RunList) -> ComparisonSettings:
    """What the command line asks, and where it does not, what the sweep asks."""
    asked = runs.sweep
    metric = options.metric or (asked.metric if asked is not None else None)
    # The sweep's goal belongs to its metric; for another one it may point the wrong way.
    same = asked is not None and metric == asked.metric
    return ComparisonSettings(
        metric=metric,
        goal=options.goal or (asked.goal if asked is not None and same else None),
        baseline=options.baseline,
        columns=tuple(options.columns),
        seed=options.seed,
        text=None if asked is None else asked.question,
    )


def _output(wanted: str | None, sources: Sequence[Source]) -> Path:
    """The folder asked for, or a new name below outputs/comparisons."""
    if wanted is not None:
        return Path(wanted).expanduser()
    # The runs' hash beside the time: two comparisons may begin within one second.
    digest = hashlib.sha256("\n".join(str(source.path.resolve()) for source in sources).encode()).hexdigest()[:6]
    return Path("outputs") / "comparisons" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{digest}"
