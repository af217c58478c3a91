"""Check a recipe on the real data, train nothing.

usage: snac-exp check [the overrides of train.py] [rows=all]

Loads codec and data, prints plan and parameter groups, and runs the preflight of training: heads start as the recipe
says, codes and audio are aligned at the start and the end of utterances, encoding the audio again gives the cached
codes, and all tokens match their checksums. Exit status 0 if every check passes; otherwise 2, with the reason.

rows=all checks every row instead of a sample: a window of its codes, and its targets. It prints the share of bad rows
and the worst ones, exits with 2 if there are any, and estimates how long it takes. After an interruption the same
command continues; its progress is kept in output_dir/checks.
"""

from collections.abc import Sequence
from pathlib import Path

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.errors import EXIT_USER_ERROR, ConfigError
from snac_exp.system.terminal import Console
from snac_exp.tracking.alerts.alerts import require_address
from snac_exp.tracking.mirrors.packages import require_trackers
from snac_exp.training.plan import unroll
from snac_exp.training.plan_table import epoch_table, group_table, phases_line, silence_line, start_line

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


def main(arguments: Sequence[str]) -> int:
    """Build the parts of the run and check them."""
    all_rows = _all_rows([item for item in arguments if item.startswith("rows=")])
    experiment, _ = compose_experiment(hydra_overrides([item for item in arguments if not item.startswith("rows=")]))
    require_trackers(experiment.tracker)
    require_address(experiment.alerts)
    from snac_exp.training.build import build

    console = Console()
    setup = build(experiment)
    plan = unroll(experiment, setup.geometry).counted(setup.data_module.num_items)
    console.print(epoch_table(plan), group_table(experiment, setup.groups))
    console.print(f"{setup.data_module.described()}, {plan.num_steps} steps")
    loaded = () if setup.warm_start is None else setup.warm_start.lines()
    for line in [*loaded, start_line(experiment), phases_line(experiment), silence_line(experiment)]:
        if line is not None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if all_rows:
        folder = Path(experiment.output_dir).expanduser() / "checks"
        try:
            num_bad = setup.evaluator.check_all_rows(folder, lambda line: print(line, flush=True))
        except KeyboardInterrupt:
            print("stopped; the same command goes on where it was")
            return EXIT_INTERRUPTED
        print("all checks passed" if num_bad == 0 else f"bad rows: {num_bad}; cache or make them again, see above")
        return 0 if num_bad == 0 else EXIT_USER_ERROR
    for line in setup.data_module.check_stored():
        console.print(line)
    setup.evaluator.preflight(console.print)
    console.print("all checks passed")
    return 0


def _all_rows(given: Sequence[str]) -> bool:
    """Whether every row is asked for."""
    if any(item not in ("rows=all", "rows=sample") for item in given):
        raise ConfigError(f"{given[-1]} is not valid; choose one of: rows=sample, rows=all")
    return "rows=all" in given
