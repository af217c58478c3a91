"""Arguments of verbs about run folders: `VERB DIR… key=value …`, sweeps standing for their runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snac_exp.config.arguments import unquoted
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.report.charts.parallel import short_names
from snac_exp.report.compare.comparison import Source
from snac_exp.report.settings import text_of
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.sweep_folder import SweepFolder


@dataclass(frozen=True)
class Given:
    """What the folders are: their runs, each once, and what the first sweep among them asks."""

    sources: list[Source]
    question: SweepSettings | None


def split(arguments: Sequence[str], keys: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Folders and `key=value` arguments apart. What has the form of a known key is one, whatever files there are.

    Raises:
        ConfigError: an argument is neither a folder nor one of the keys.
    """
    folders, options = [], []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if equals and name in keys:
            options.append(argument)
        elif Path(argument).expanduser().is_dir():
            folders.append(Path(argument).expanduser())
        elif equals:
            raise ConfigError(f"there is no key '{name}' and no folder '{argument}'{nearest(name, keys)}")
        else:
            raise ConfigError(f"there is no folder {argument}")
    return folders, options


def runs_of(folders: Sequence[Path]) -> Given:
    """The runs of folders: a run stands for itself, a sweep for the jobs of its ledger."""
    found: dict[Path, Source] = {}
    question = None
    for folder in folders:
        if SweepFolder(folder).exists:
            sweep = Sweep.open(folder)
            question = question or sweep.question
            sources = _jobs(sweep)
        else:
            sources = [Source(folder, folder.resolve().name)]
        for source in sources:
            found.setdefault(source.path.resolve(), source)
    return Given(_distinct(list(found.values())), question)


def _jobs(sweep: Sweep) -> list[Source]:
    """The jobs of a sweep, called by what they vary."""
    rows = sweep.refresh()
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
