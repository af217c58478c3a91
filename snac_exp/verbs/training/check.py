"""Check a recipe on the real data, train nothing.

usage: snac-exp check [the overrides of train.py]

Loads codec and data, prints plan and parameter groups, and runs the preflight of training: the heads start where the
recipe says, codes and audio line up at the start and at the end of utterances, cached codes come back when encoded
again; all tokens are compared with their checksums. Exit status 0 when every check passes, 2 with the reason when one
does not.
"""

from collections.abc import Sequence

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.system.terminal import Console
from snac_exp.training.plan import unroll
from snac_exp.training.plan_table import epoch_table, group_table


def main(arguments: Sequence[str]) -> int:
    """Build the parts of the run and check them."""
    experiment, _ = compose_experiment(hydra_overrides(arguments))
    from snac_exp.training.build import build

    console = Console()
    setup = build(experiment)
    plan = unroll(experiment, setup.geometry)
    console.print(epoch_table(plan), group_table(experiment, setup.groups))
    console.print(f"{setup.data_module.described()}, {plan.num_steps(setup.data_module.num_items)} steps")
    for line in setup.data_module.check_stored():
        console.print(line)
    setup.evaluator.preflight(console.print)
    console.print("all checks passed")
    return 0
