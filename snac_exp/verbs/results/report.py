"""One page per run: metrics, curves, spectrograms and sound, plan, checks, config. Also while it runs.

usage: snac-exp report RUN|SWEEP… [max_megabytes=24]

Writes RUN/report.html, a single file that needs no network; a run writes it by itself when it ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from snac_exp.config.compose import verb_values
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.verbs.arguments import folders_and_options
from snac_exp.verbs.run_lists import runs_of


@dataclass(frozen=True)
class Options:
    """The keys of conf/report.yaml."""

    max_megabytes: float


def main(arguments: Sequence[str]) -> int:
    """Write the reports and say where they lie."""
    folders, given = folders_and_options(arguments, list(Options.__dataclass_fields__))
    options = structure(Options, verb_values("report", given))
    if not folders:
        raise ConfigError("which run? snac-exp report RUN")
    # matplotlib and its fonts are imported only once there is something to draw.
    from snac_exp.report.run.page import write_report

    for source in runs_of(folders).sources:
        path = write_report(source.path, options.max_megabytes)
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0
