"""Publish a W&B workspace for a project: phases, heads, learning rates, audio, sweeps, speed.

usage: snac-exp dashboard project=NAME entity=NAME [key=value …]
       snac-exp dashboard dry_run=true                  print the specification as JSON, connect to nothing

The workspace is code: dashboards/experiments.py lists its panels. It needs the extra [dashboard]. W&B keeps every
published workspace; publishing again makes another one.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snac_exp.config.compose import config_dir, verb_values
from snac_exp.config.limits.wandb import check_name
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.tracking.wandb.key import has_key
from snac_exp.tracking.wandb.workspace import definition, publish, spec_of, workspace


@dataclass(frozen=True)
class Options:
    """The keys of conf/dashboard.yaml."""

    project: str
    entity: str | None
    definition: str
    title: str
    head_names: list[str]
    num_clips: int
    dry_run: bool


def main(arguments: Sequence[str]) -> int:
    """Print or publish the workspace."""
    options = structure(Options, verb_values("dashboard", arguments))
    if options.entity is None and not options.dry_run:
        raise ConfigError("entity has no value: give entity=NAME, the W&B user or team; or look first: dry_run=true")

    for key in ("project", "entity"):
        if getattr(options, key) is not None:
            check_name(key, getattr(options, key))
    sections = definition(dashboards_dir(), options.definition)(options.head_names, options.num_clips)
    built = workspace(options.title, sections, options.project, options.entity or "ENTITY")
    if options.dry_run:
        print(json.dumps(spec_of(built), indent=2, ensure_ascii=False))
        return 0
    # Asked for here: W&B itself would prompt, and a job without a terminal would wait for ever.
    if not has_key():
        raise ConfigError("there is no W&B key on this machine: run `wandb login`, set WANDB_API_KEY, or dry_run=true")
    print(f"published: {publish(built)}")
    return 0


def dashboards_dir() -> Path:
    """The folder of definitions: dashboards/ of the checkout, or its copy inside an installed package."""
    return config_dir().parent / "dashboards"
