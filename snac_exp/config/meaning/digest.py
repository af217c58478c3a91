"""What a resolved config means, as a digest: keys that change no result are left out."""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from snac_exp.config.moved import as_first_published

# Keys that change where or how fast a run happens, not what it computes.
NOT_MEANING = (
    "name",
    "output_dir",
    "tracker",
    "alerts",
    "checkpoint",
    "trainer.accelerator",
    "trainer.num_workers",
    "trainer.num_threads",
    "trainer.kernels",
    "trainer.deterministic",
    "trainer.log_every_steps",
    "trainer.num_sample_clips",
    "trainer.preflight",
    "trainer.samples_every_epochs",
    "trainer.samples_every_steps",
    "trainer.prefetch",
    "trainer.quiet",
    "task.sample_frames",
    "task.sample_temperature",
)
NUM_DIGITS = 6  # in the names of folders


def meaning_digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of what a resolved config means: the same recipe has the same digest wherever it runs."""
    meaning = deepcopy(dict(values))  # keys are taken out of nested dictionaries
    for key in NOT_MEANING:
        node, *rest = key.split(".")
        if rest:
            meaning.get(node, {}).pop(rest[0], None)
        else:
            meaning.pop(node, None)
    # Moving a class to another module must not change what a recipe means.
    meaning = as_first_published(meaning)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def meaning_hash(values: Mapping[str, Any]) -> str:
    """The first six hexadecimal digits of it, which the name of a run folder ends with."""
    return meaning_digest(values)[:NUM_DIGITS]
