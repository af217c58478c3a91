"""The runs that folders on the command line name: a sweep stands for its jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snac_exp.config.arguments import unquoted
from snac_exp.report.charts.parallel import short_names
from snac_exp.report.compare.comparison import Source
from snac_exp.report.settings import text_of
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.sweep_folder import SweepFolder


@dataclass(frozen=True)
class RunList:
    """Runs, each once, and the settings of the first sweep among them."""

    sources: list[Source]
    sweep: SweepSettings | None


def runs_of(folders: Sequence[Path]) -> RunList:
    """The runs of folders: a run stands for itself, a sweep for the jobs of its ledger."""
    by_path: dict[Path, Source] = {}
    settings = None
    for folder in folders:
        if SweepFolder(folder).exists:
            sweep = Sweep.open(folder)
            settings = settings or sweep.settings
            sources = _jobs(sweep)
        else:
            sources = [Source(folder, folder.resolve().name)]
        for source in sources:
            # Each run once, under its first name: a sweep and one of its runs may both be given.
            by_path.setdefault(source.path.resolve(), source)
    return RunList(_distinct(list(by_path.values())), settings)


def _jobs(sweep: Sweep) -> list[Source]:
    """The jobs of a sweep, called by what they vary."""
    rows = sweep.look()
    keys = list(dict.fromkeys(item.partition("=")[0] for row in rows for item in row.overrides))
    names = short_names(keys)
    sources = []
    for row in rows:
        pairs = (item.partition("=") for item in row.overrides)
        label = " ".join(f"{names[key]}={_typed(value)}" for key, _, value in pairs)
        sources.append(Source(sweep.run_dir(row), label or row.hash, tuple(row.overrides), row.state, row.error))
    return sources


def _typed(value: str) -> str:
    """The value of an override; small numbers as recipes write them."""
    try:
        # Only what looks like a real number: 8 stays 8, and true stays true.
        return text_of(float(value)) if "e" in value or "." in value else unquoted(value)
    except ValueError:
        return unquoted(value)


def _distinct(sources: list[Source]) -> list[Source]:
    """Labels that tell runs apart: where two are the same, with their folders."""
    labels = [source.label for source in sources]
    return [
        replace(source, label=f"{source.label} ({source.path.parent.name}/{source.path.name})")
        if labels.count(source.label) > 1
        else source
        for source in sources
    ]
