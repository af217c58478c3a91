"""Import paths that stand in stored configs, checkpoints and ledgers and where their code lies now; later keys.

What was written once stays readable: whoever turns a stored name into code asks `current_name` first. The hash of a
recipe's meaning is taken over the name that a component was first published under (`first_name`), so that moving a
module changes no hash.
"""

from collections.abc import Callable, Mapping
from typing import Any

MOVED = {
    "snac_exp.data.audio_folder.AudioFolder": "snac_exp.data.slices.audio_folder.AudioFolder",
    "snac_exp.data.cached_codes.CachedCodes": "snac_exp.data.slices.cached_codes.CachedCodes",
    "snac_exp.data.demo.DemoSpeech": "snac_exp.data.demo.source.DemoSpeech",
    "snac_exp.data.token_corpus.CodeCacheTokens": "snac_exp.data.tokens.sources.CodeCacheTokens",
    "snac_exp.data.token_corpus.NpqTokens": "snac_exp.data.tokens.sources.NpqTokens",
    "snac_exp.runs.pool.Pool": "snac_exp.sweeps.local_pool.Pool",
    "snac_exp.runs.slurm.Slurm": "snac_exp.sweeps.slurm.Slurm",
}
"""Name as it was first published -> name today."""

ADDED: dict[str, dict[str, Any]] = {
    "trainer": {
        "preflight": ["start", "codes", "sound", "targets"],
        "kernels": "auto",
        "deterministic": False,
        "max_steps": None,
        "validate_every_steps": None,
        "samples_every_steps": None,
        "summary_quality": [],
        "guards": {"silence_db": None},
    },
    "curriculum": {"unit": "epochs"},
    "lr": {"unit": "epochs"},
    "tracker": {"tensorboard": False, "trackio": False},
    "augment": {"equalizer_db": None},
}
"""Keys that came later, by group, with the value that does what was done before; keys within a key stand below it. At
that value they do not count for the hash of a recipe."""

ADDED_OPTIONS: dict[str, dict[str, Any]] = {
    "snac_exp.data.slices.audio_folder.AudioFolder": {"target_delay_seconds": 0.0},
    "snac_exp.data.slices.cached_codes.CachedCodes": {"target_delay_seconds": 0.0},
}
"""The same of a component, by its name today. At that value they do not count for the hash of a recipe."""

ADDED_GROUPS: dict[str, dict[str, Any]] = {
    "alerts": {
        "form": "json",
        "url_variable": None,
        "on": ["failed", "diverged", "preempted", "sweep_finished", "silent_head"],
        "attempts": 5,
        "timeout_seconds": 10.0,
        "limit_seconds": 60.0,
    },
    "start": {"standardise_batches": 0, "autoencoder_steps": 0, "autoencoder_noise": 0.3, "kmeans_batches": 0},
    "quantizer": {"codebooks": "gradient", "decay": 0.98, "restart_below": 0.0, "unit_projections": False},
}
"""Groups that came later, at the value that does what was done before: then they do not count for the hash of a recipe,
and those of alerts never do."""

_FIRST = {today: first for first, today in MOVED.items()}


def current_name(target: str) -> str:
    """Where the class or function of this import path lies today."""
    return MOVED.get(target, target)


def first_name(target: str) -> str:
    """The import path under which a class or function was first published."""
    return _FIRST.get(target, target)


def modern(values: Mapping[str, Any]) -> dict[str, Any]:
    """A stored resolved config in today's form: every `_target_` under its current name, keys that came later at the
    value they came with."""
    renamed = ADDED_GROUPS | _renamed(values, current_name)
    for group, value in renamed.items():
        if isinstance(value, dict):
            renamed[group] = _with_added(_added_to(group, str(value.get("_target_"))), value)
    return renamed


def as_first_published(values: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config in the form it would first have been stored in, which hashes are taken over."""
    first = _renamed(values, first_name)
    there = {group: value for group, value in first.items() if value != ADDED_GROUPS.get(group, ...)}
    return {group: _without_added(group, value) for group, value in there.items()}


def _without_added(group: str, value: Any) -> Any:
    """A group without the keys and options that came later, where they are at the value that they came with."""
    if not isinstance(value, dict):
        return value
    added = _added_to(group, current_name(str(value.get("_target_"))))
    return _left_out(added, value) if added else value


def _added_to(group: str, target: str) -> dict[str, Any]:
    """Keys and options that came later to a group that builds `target`."""
    return ADDED.get(group, {}) | ADDED_OPTIONS.get(target, {})


def _with_added(added: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored, and what it lacks; what is stored wins."""
    within = {key: _with_added(item, value[key]) for key, item in added.items() if _is_within(item, value.get(key))}
    return {**added, **value, **within}


def _left_out(added: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that are as they came."""
    kept = {}
    for key, item in value.items():
        if _is_within(added.get(key), item):
            kept[key] = _left_out(added[key], item)
        elif key not in added or item != added[key]:
            kept[key] = item
    return kept


def _is_within(added: Any, stored: Any) -> bool:
    return isinstance(added, Mapping) and isinstance(stored, Mapping)


def _renamed(values: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    return {
        key: _renamed(value, rename)
        if isinstance(value, Mapping)
        else rename(value)
        if key == "_target_" and isinstance(value, str)
        else value
        for key, value in values.items()
    }
