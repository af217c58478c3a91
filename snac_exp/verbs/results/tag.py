"""Tag runs, at any time: words by which status, board and compare find and show them.

usage: snac-exp tag RUN|SWEEP… TAG…                     add tags; a sweep stands for its jobs
       snac-exp tag RUN|SWEEP… remove=TAG|[TAG,TAG]      take tags away
       snac-exp tag RUN|SWEEP…                           print them

Running runs can be tagged too. Tags are stored in labels.json of the run folder. Tags given by tracker.tags can also be
removed here; only those are sent to W&B, at the start. Use add=[TAG,TAG] for tags that are also names of folders.
"""

from collections.abc import Sequence

from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.tracking.labels.shown import config_tags, labels_of, united
from snac_exp.tracking.labels.stored import read_labels, update_labels
from snac_exp.tracking.labels.words import composed
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.arguments import folders_and_words, listed
from snac_exp.verbs.labelled_runs import labelled_runs


def main(arguments: Sequence[str]) -> int:
    """Change the tags of all runs, or of none, and print them."""
    folders, words, options = folders_and_words(arguments, ("add", "remove"))
    runs = labelled_runs("tag", folders)
    given = ([*words, *listed(options.get("add", ""))], listed(options.get("remove", "")))
    add, remove = (list(map(composed, tags)) for tags in given)
    if both := sorted({*add} & {*remove}):
        raise ConfigError(f"{' '.join(both)} is to be added and removed; say one of them")
    if add or remove:
        _try(runs, add, remove)
        for run in runs:
            _change(run, add, remove)
    for run in runs:
        print(f"{run.path}: {' '.join(labels_of(run).tags) or 'no tag'}")
    return 0


def _try(runs: Sequence[RunFolder], add: Sequence[str], remove: Sequence[str]) -> None:
    """Whether all can be done: nothing is written where something cannot.

    Raises:
        ConfigError: a tag is none, no run has one that is to be removed, or a file is damaged.
    """
    known: set[str] = set()
    for run in runs:
        of_config, stored = config_tags(run), read_labels(run)
        stored.tagged(of_config, add, remove)
        known |= {*united(of_config, stored).tags}
    for tag in remove:
        if tag not in known:
            raise ConfigError(f"remove={tag}: no run given here has this tag{nearest(tag, known)}")


def _change(run: RunFolder, add: Sequence[str], remove: Sequence[str]) -> None:
    of_config = config_tags(run)
    update_labels(run, lambda labels: labels.tagged(of_config, add, remove))
