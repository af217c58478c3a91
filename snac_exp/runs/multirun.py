"""`python train.py -m …`: Hydra expands the sweep, our launchers check all of it, then submit it.

Hydra is used for what it does well, expanding and choosing sweeper and launcher. It never runs a job: a launcher
makes a run folder per job, and every job is the process `resume=RUN_DIR`, from the sweep's snapshot.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import config_dir, explain
from snac_exp.config.structure import nearest, structure
from snac_exp.errors import ConfigError
from snac_exp.runs.jobs import Job, JobChecker, job_table, refuse_doubles
from snac_exp.runs.ledger import Row
from snac_exp.runs.sweep import Question, Sweep, outcome
from snac_exp.runs.terminal import console
from snac_exp.training.stop import EXIT_PREEMPTED, Stopped

# The default launcher and sweeper. Hydra's own ones of the name basic would run jobs in this process.
PARTS = {"hydra/launcher": "one_by_one", "hydra/sweeper": "grid"}
SWITCHES = {"dry_run": False, "wait": True, "again": False}


class Backend(Protocol):
    """Where jobs run; a dataclass whose fields are the keys of its file in conf/hydra/launcher/."""

    def submit(self, sweep: Sweep, rows: Sequence[Row], *, wait: bool) -> None:
        """Run jobs whose folders are there."""


@dataclass
class Session:
    """One `-m` command: what its launcher must know, and what came of it."""

    overrides: list[str]
    dry_run: bool
    wait: bool
    again: bool
    checker: JobChecker = field(default_factory=JobChecker)
    sweep: Sweep | None = None


_session: ContextVar[Session] = ContextVar("session")


def multirun(arguments: Sequence[str]) -> int:
    """Run a sweep; returns 0 when all jobs finished (or were submitted), 1 when not, with the others named."""
    switches, rest = split_switches([item for item in arguments if item not in ("-m", "--multirun")])
    session = Session(with_parts(hydra_overrides(rest)), switches["dry_run"], switches["wait"], switches["again"])
    token = _session.set(session)
    try:
        _hand_over(session.overrides)
    except Stopped:
        return EXIT_PREEMPTED
    finally:
        _session.reset(token)
    if session.sweep is None or not session.wait:
        return 0
    status, text = outcome(session.sweep)
    print(text)
    return status


class SweepLauncher(Launcher):
    """What all our launchers share: compose, prove, store, snapshot, then hand over to a backend.

    Subclasses in hydra_plugins/ name the backend; its fields are the launcher's parameters.
    """

    backend: str

    def __init__(self, **parameters: Any) -> None:
        self.parameters = {
            name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for name, value in parameters.items()
        }
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Keep the composed config; jobs are composed afresh from their overrides."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check every job, then submit; the value of a job is its best metric.

        Raises:
            ConfigError: a job that could not start, before anything is submitted.
        """
        session, config = _session.get(), self.config
        assert config is not None
        backend = open_backend({"target": self.backend, "parameters": self.parameters})
        jobs = _checked(session, job_overrides, initial_job_idx)
        refuse_doubles(jobs)
        if session.dry_run:
            _show(jobs)
            return [_returned(None) for _ in jobs]
        if session.sweep is None:
            kept = {"target": self.backend, "parameters": self.parameters}
            session.sweep = Sweep.create(jobs, _question(config), kept, session.overrides, again=session.again)
            print(f"sweep: {session.sweep.path}", flush=True)
        rows = session.sweep.add(jobs)
        backend.submit(session.sweep, [row for row in rows if row.state != "finished"], wait=session.wait)
        best = {row.hash: row.best for row in session.sweep.refresh()}
        return [_returned(best[job.hash]) for job in jobs]


def open_backend(facts: dict[str, Any]) -> Backend:
    """A backend from its class and parameters, as sweep.json keeps them.

    Raises:
        ConfigError: a parameter it does not have, or of the wrong type.
    """
    module, _, name = str(facts["target"]).rpartition(".")
    opened: Backend = structure(getattr(importlib.import_module(module), name), facts["parameters"], "hydra.launcher")
    return opened


def split_switches(arguments: list[str]) -> tuple[dict[str, bool], list[str]]:
    """Our own keys of a sweep, which are no config of a run."""
    chosen, rest = dict(SWITCHES), []
    for item in arguments:
        name, _, value = item.partition("=")
        if name in SWITCHES:
            if value not in ("true", "false"):
                raise ConfigError(f"{item} is not possible; there is: {name}=true, {name}=false")
            chosen[name] = value == "true"
        else:
            rest.append(item)
    return chosen, rest


def with_parts(overrides: list[str]) -> list[str]:
    """The overrides with our launcher and sweeper where the user chose none.

    Raises:
        ConfigError: a launcher or sweeper that is not ours; it would not check, snapshot or account for the jobs.
    """
    added = []
    for group, default in PARTS.items():
        chosen = [item.partition("=")[2] for item in overrides if item.partition("=")[0] == group]
        ours = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
        for name in chosen:
            if name not in ours:
                raise ConfigError(f"{group}={name} is none of this program's{nearest(name, ours)}")
        if not chosen:
            added.append(f"{group}={default}")
    return [*added, *overrides]


def _hand_over(overrides: list[str]) -> None:
    """Hydra's own entry point; what it writes itself goes to a folder that is thrown away."""

    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
    def never(_: DictConfig) -> None:
        raise AssertionError("jobs are processes of their own; Hydra runs none")

    with (
        tempfile.TemporaryDirectory(prefix="snac-exp-sweep-") as folder,
        _command_line(
            ["-m", *overrides, f"hydra.sweep.dir='{folder}'", "hydra.output_subdir=null", "hydra/hydra_logging=none"]
        ),
    ):
        try:
            never()
        except HydraException as error:
            raise ConfigError(explain(error)) from error


@contextmanager
def _command_line(arguments: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and lets errors through only when asked for all of them."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [before[0], *arguments], "1"
    try:
        yield
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full


def _checked(session: Session, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
    """Compose and prove all jobs. Overrides that do not vary are taken as the user wrote them."""
    parsed = OverridesParser.create().parse_overrides(session.overrides)
    last = {item.get_key_element(): item for item in parsed}
    fixed = {key: str(item.input_line) for key, item in last.items() if not item.is_sweep_override()}
    jobs = []
    for index, overrides in enumerate(job_overrides, start=first):
        named = {item.partition("=")[0]: item for item in overrides}
        varied = [item for key, item in named.items() if key not in fixed]
        kept = [fixed.get(key, item) for key, item in named.items() if not _is_sweep_choice(key)]
        jobs.append(session.checker.check(index, kept, varied))
    return jobs


def _is_sweep_choice(key: str) -> bool:
    return key.lstrip("+") == "sweep"


def _question(config: DictConfig) -> Question:
    """The node `sweep`, set by +sweep=NAME; its metric and name may be overridden."""
    node = OmegaConf.select(config, "sweep")
    if node is None:
        return Question()
    values = OmegaConf.to_container(node, resolve=True)
    if isinstance(values, dict) and values.get("name"):
        values["name"] = f"{OmegaConf.select(config, 'name')}_{values['name']}"
    return structure(Question, values, "sweep")


def _returned(best: float | None) -> JobReturn:
    """Hydra's sweepers raise for failed jobs and stop there; ours is told by the ledger instead."""
    result = JobReturn()
    result.status, result.return_value = JobStatus.COMPLETED, best
    return result


def _show(jobs: Sequence[Job]) -> None:
    console().print(job_table(jobs, "dry run: nothing is submitted"))
