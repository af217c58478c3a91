"""What our launchers share: compose every job, check it, make the sweep's folder, then hand over to a backend."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from snac_exp.config.instantiate import imported
from snac_exp.config.moved import current_name
from snac_exp.config.source_code import find_definition, module_file
from snac_exp.config.structure import structure
from snac_exp.config.trusted_code import check_trusted
from snac_exp.errors import ConfigError
from snac_exp.sweeps.jobs import Job, JobChecker, job_table, refuse_doubles
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.terminal import console


class Backend(Protocol):
    """Where jobs run; a dataclass whose fields are the keys of its file in conf/hydra/launcher/."""

    def submit(self, sweep: Sweep, rows: Sequence[Row], *, wait: bool) -> None:
        """Run jobs whose folders are there."""


@dataclass
class Session:
    """One `-m` command: what its launcher and sweeper must know, and what came of it."""

    overrides: list[str]
    dry_run: bool
    wait: bool
    again: bool
    checker: JobChecker = field(default_factory=JobChecker)
    sweep: Sweep | None = None

    def fixed(self) -> dict[str, str]:
        """The overrides that are in all jobs, by key, as the user wrote them."""
        parsed = OverridesParser.create().parse_overrides(self.overrides)
        # Of a key that is given twice the last one counts, as in Hydra.
        last = {item.get_key_element(): item for item in parsed}
        return {key: str(item.input_line) for key, item in last.items() if not item.is_sweep_override()}

    def checked(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Compose and check jobs.

        Raises:
            ConfigError: a job that could not start, or two that mean the same.
        """
        fixed, jobs = self.fixed(), []
        for index, overrides in enumerate(job_overrides, start=first):
            named = {item.partition("=")[0]: item for item in overrides}
            varied = [item for key, item in named.items() if key not in fixed]
            # The text of the user, since Hydra writes overrides anew and loses quotes.
            kept = [fixed.get(key, item) for key, item in named.items() if not is_of_the_sweep(key)]
            jobs.append(self.checker.check(index, kept, varied))
        refuse_doubles(jobs)
        return jobs


# Hydra makes launcher and sweeper itself, so what they need of the command comes through the context.
session: ContextVar[Session] = ContextVar("session")


class SweepLauncher(Launcher):
    """The base of our launchers.

    Subclasses in hydra_plugins/ name the backend; its fields are the launcher's parameters.
    """

    backend: str

    def __init__(self, **parameters: Any) -> None:
        plain = {
            name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for name, value in parameters.items()
        }
        self.backend_spec: dict[str, Any] = {"target": self.backend, "parameters": plain}
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        """Keep the composed config; jobs are composed afresh from their overrides."""
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check every job, then submit; the value of a job is its best metric.

        Raises:
            ConfigError: a job that could not start, before anything is submitted.
        """
        command, settings = session.get(), self.sweep_settings()
        # Before the jobs, whose check may take minutes: a wrong parameter of the launcher is refused at once.
        backend = open_backend(self.backend_spec)
        jobs = command.checked(job_overrides, initial_job_idx)
        if command.dry_run:
            console().print(job_table(jobs, "dry run: nothing is submitted"))
            return [_returned(None) for _ in jobs]
        sweep = Sweep.create(jobs, settings, self.backend_spec, command.overrides, again=command.again)
        command.sweep = sweep
        print(f"sweep: {sweep.path}", flush=True)
        # Folders and rows first: a process that is started finds its config, whatever becomes of this one.
        backend.submit(sweep, sweep.rows(), wait=command.wait)
        best = {row.hash: row.best for row in sweep.refresh()}
        return [_returned(best[job.hash]) for job in jobs]

    def sweep_settings(self) -> SweepSettings:
        """The node `sweep`, set by +sweep=NAME and sweep.metric=…

        Raises:
            ConfigError: a key it does not have.
        """
        assert self.config is not None
        node = OmegaConf.select(self.config, "sweep")
        if node is None:
            return SweepSettings()
        values = OmegaConf.to_container(node, resolve=True)
        # After the recipe, so that the same sweep of two recipes makes two folders.
        if isinstance(values, dict) and values.get("name"):
            values["name"] = f"{OmegaConf.select(self.config, 'name')}_{values['name']}"
        return structure(SweepSettings, values, "sweep")


def open_backend(spec: dict[str, Any]) -> Backend:
    """A backend from its class and parameters, as sweep.json keeps them.

    Raises:
        ConfigError: it is no backend, has no such parameter, or one of another type.
    """
    if not isinstance(spec.get("target"), str) or not isinstance(spec.get("parameters"), dict):
        raise ConfigError("a backend has a target and parameters; restore sweep.json, or begin the sweep anew")
    target = current_name(str(spec["target"]))
    # Looked at as source before it is imported, since an import runs it.
    definition = find_definition(target, "hydra.launcher")
    check_trusted(definition.module, module_file(definition.module), f"hydra.launcher: {target}")
    if "submit" not in definition.methods:
        raise ConfigError(f"hydra.launcher: {target} is no backend: it has no method submit")
    opened: Backend = structure(imported(target), spec["parameters"], "hydra.launcher")
    return opened


def is_of_the_sweep(key: str) -> bool:
    """Whether a key is about the sweep, not about its jobs: sweep, sweep.metric, sweep.goal, …"""
    return key.lstrip("+").partition(".")[0] == "sweep"


def _returned(best: float | None) -> JobReturn:
    """Hydra's sweepers raise for failed jobs and stop there; ours reads the ledger instead."""
    result = JobReturn()
    result.status, result.return_value = JobStatus.COMPLETED, best
    return result
