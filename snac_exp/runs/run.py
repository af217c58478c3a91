"""One run from its first to its last line: build, preflight, train, evaluate, and record how it ended."""

import traceback
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from io import StringIO
from typing import Any

from rich.console import Console as RichConsole

from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.codec.fast.cuda.choice import LACKING, choose_kernels, kernels_in_use
from snac_exp.config.schema import Experiment
from snac_exp.errors import SnacExpError
from snac_exp.lineage.meaning import note_meaning
from snac_exp.report.run.page import write_report
from snac_exp.runs import ranks
from snac_exp.runs.ending import tell_ending, tell_silent_head
from snac_exp.runs.numerics import set_numerics
from snac_exp.runs.rendezvous import RanksMissingError, launched_fabric, leave
from snac_exp.runs.sources import measured_of_sources
from snac_exp.system.code_version import code_version
from snac_exp.system.environment import environment
from snac_exp.system.files import write_signed_json
from snac_exp.system.stop_request import EXIT_PREEMPTED, Stopped, StopRequest
from snac_exp.tracking.alerts.alerts import Alerts
from snac_exp.tracking.console import Console
from snac_exp.tracking.run_folder import RunFolder, SilentRunFolder
from snac_exp.tracking.silent import SilentConsole, SilentTracker
from snac_exp.tracking.tracker import Tracker
from snac_exp.training.build import build
from snac_exp.training.loop import Trainer
from snac_exp.training.plan import unroll
from snac_exp.training.plan_table import epoch_table, group_table, phases_line, start_line
from snac_exp.training.setup import TrainingSetup
from snac_exp.training.task import Judge


def start(experiment: Experiment, values: Mapping[str, Any], overrides: list[str]) -> int:
    """Make a new run folder and train in it; returns the exit status. What fails before there is a plan leaves none."""
    folder = RunFolder.create(values, overrides)
    try:
        return _run(experiment, folder, resuming=False)
    except (SnacExpError, OSError) as error:
        if _leaves_nothing(folder, error):
            folder.remove()
        raise


def _leaves_nothing(folder: RunFolder, error: BaseException) -> bool:
    """Whether the user has something to mend and the folder could tell nothing that the command does not; which ranks
    did not come is told to who looks from elsewhere, too, and of a defect every trace is kept."""
    to_mend = isinstance(error, (SnacExpError, OSError)) and not isinstance(error, RanksMissingError)
    return to_mend and folder.has_nothing()


def resume(experiment: Experiment, folder: RunFolder, judge: Judge | None = None) -> int:
    """Go on with the run in a folder, from its stored config and newest checkpoint; returns the exit status, which is 0
    also where `judge`, of a search that prunes, ended it."""
    return _run(experiment, folder, judge, resuming=True)


def _run(experiment: Experiment, folder: RunFolder, judge: Judge | None = None, *, resuming: bool) -> int:
    devices = experiment.trainer.devices
    ranks.check_started(devices)
    if ranks.global_rank(devices) > 0:
        folder = SilentRunFolder(folder.path)
    try:
        # Signals first: waiting for the lock of a former start may take a minute and a half.
        with StopRequest() as stop, folder.locked():
            return _run_locked(experiment, folder, stop, judge, resuming=resuming)
    except Stopped as stopped:
        print(f"{stopped}: left before anything was begun, or after its end; see: snac-exp status {folder.path}")
        return EXIT_PREEMPTED


def _run_locked(
    experiment: Experiment, folder: RunFolder, stop: StopRequest, judge: Judge | None, *, resuming: bool
) -> int:
    folder.begin()
    try:
        with ranks.companions(
            folder.path, experiment.trainer.devices, lambda why: folder.set_status("failed", error=why)
        ):
            finished = _train(experiment, folder, stop, judge, resuming=resuming)
    except Stopped as stopped:
        print(f"{stopped}: left at once, nothing was unsaved; go on with: python train.py resume={folder.path}")
        finished = False
    # Also a second Ctrl-C and SystemExit: a run that ends without a word looks lost.
    except BaseException as error:
        if resuming or not _leaves_nothing(folder, error):
            _tell_failure(folder, error)
            _report(folder)
            tell_ending(experiment, folder, error)
        raise
    finally:
        leave()
    state = _set_ending(folder, stop, finished=finished)
    _report(folder)
    tell_ending(experiment, folder)
    return EXIT_PREEMPTED if state == "preempted" else 0


def _set_ending(folder: RunFolder, stop: StopRequest, *, finished: bool) -> str:
    """Note how a run that did not fail has ended; returns its state."""
    if finished or stop.pruned is None:
        state = "finished" if finished else "preempted"
        folder.set_status(state, stopped_by=stop.signal_name)
        return state
    # A search has what it wanted to know: whatever else asked to stop in the same moment, nobody goes on by himself.
    folder.set_status("pruned", stopped_by=None, step=stop.pruned.step, pruned=asdict(stop.pruned))
    return "pruned"


def _train(
    experiment: Experiment, folder: RunFolder, stop: StopRequest, judge: Judge | None, *, resuming: bool
) -> bool:
    """Build everything and fit; whether the run came to its end."""
    settings = experiment.trainer
    set_numerics(num_threads=settings.num_threads, tf32=settings.tf32, deterministic=settings.deterministic)
    fabric = launched_fabric(settings)
    with fabric.rank_zero_first():  # data that is made on first use is made once
        setup = build(experiment)
    plan = unroll(experiment, setup.geometry, fabric.world_size).counted(setup.data_module.num_items)
    store = _store(experiment, folder, remove_leftovers=resuming and fabric.is_global_zero)
    saved = store.load_latest() if resuming else None
    fabric.barrier()  # all ranks have looked for a checkpoint before rank 0 writes the first one
    console = (Console if fabric.is_global_zero else SilentConsole)(
        folder.path, num_epochs=plan.num_epochs, num_steps=plan.num_steps, quiet=settings.quiet
    )
    alerts = Alerts(experiment.alerts, partial(console.note, source="alerts", level="warning"))
    try:
        with _tracker(experiment, folder, saved, console, resuming=resuming) as tracker:
            trainer = Trainer(
                experiment,
                plan,
                setup.task,
                setup.groups,
                setup.data_module,
                setup.evaluator,
                fabric,
                folder,
                tracker,
                console,
                store,
                setup.provenance,
                partial(tell_silent_head, experiment, folder, alerts),
                stop=stop,
                judge=judge if fabric.is_global_zero else None,
            )
            # Before the checkpoint: the preflight proves how the recipe starts, which trained weights no longer show.
            _prepare(trainer, setup)
            if saved is not None:
                trainer.saver.restore(saved)
            elif resuming:
                console.note("no checkpoint was written before this run ended: it begins at step 0")
            finished = trainer.fit()
            _note_progress(trainer, finished=finished)
            if finished and fabric.is_global_zero:
                _conclude(trainer, setup)
        return finished
    finally:
        alerts.close()
        console.end()


def _note_progress(trainer: Trainer, *, finished: bool) -> None:
    """Where it ended: the last heartbeat may be ten seconds old."""
    step = trainer.state.step
    left = 0.0 if finished else trainer.console.seconds_left(step)
    trainer.folder.heartbeat(0.0, step=step, num_steps=trainer.plan.num_steps, seconds_left=left)


def _store(experiment: Experiment, folder: RunFolder, *, remove_leftovers: bool) -> CheckpointStore:
    settings = experiment.checkpoint
    store = CheckpointStore(folder.checkpoints, settings.keep_epochs, settings.keep_intermediate)
    if remove_leftovers:
        store.remove_leftovers()
    return store


def _prepare(trainer: Trainer, setup: TrainingSetup) -> None:
    """Show the plan, check on the real data that the recipe holds, and move the task to its device."""
    # A token model has none of the layers that the kernels are for.
    setting = trainer.experiment.trainer.kernels if setup.codec is not None else "none"
    choose_kernels(setting, trainer.fabric.device)
    _announce(trainer, setup)
    attempt = int((trainer.folder.status() or {}).get("attempts", 1))
    setup.evaluator.preflight(partial(trainer.console.note, source="preflight", level="ok"), attempt)
    # After the proofs, which compute on the CPU.
    trainer.fabric.to_device(setup.task)
    if trainer.average is not None:
        trainer.average.to(trainer.fabric.device)
    if trainer.experiment.trainer.compile:
        # Last: shapes that only the proofs use would be compiled as well.
        setup.task.compile_model()


def _conclude(trainer: Trainer, setup: TrainingSetup) -> None:
    """Evaluate the averaged weights, unless the recipe wants no summary, and tell where everything lies."""
    if trainer.experiment.trainer.summary_utterances != 0:
        with trainer.averaged(), trainer.gradients.compiler.eager():
            sources = measured_of_sources(trainer.folder, trainer.rows_seen.counts)
            setup.evaluator.sum_up(trainer.fabric, trainer.folder, trainer.console.result, sources)
    for line in _results(trainer):
        trainer.console.result(line)


def _tell_failure(folder: RunFolder, failure: BaseException) -> None:
    """Note why a run failed; where even that cannot be written, say so, and let the failure itself come to light."""
    try:
        folder.set_status("failed", error="".join(traceback.format_exception(failure)))
    except OSError as error:
        print(f"the failure is not noted either ({error})", flush=True)


def _report(folder: RunFolder) -> None:
    """Write report.html; what a run achieved or why it failed is not lost over a page that could not be written."""
    if isinstance(folder, SilentRunFolder):
        return
    try:
        print(f"report:     {write_report(folder.path)}", flush=True)
    except (Exception, Stopped) as error:
        print(f"no report ({error}); try again with: snac-exp report {folder.path}", flush=True)


def _tracker(
    experiment: Experiment, folder: RunFolder, saved: Checkpoint | None, console: Console, *, resuming: bool
) -> Tracker:
    """metrics.jsonl, cut back to the checkpoint when resuming so that no step is missing or doubled."""
    if isinstance(console, SilentConsole):
        return SilentTracker()
    begun = 0 if saved is None else saved.state.metrics_position
    tell = partial(console.note, source="tracker", level="warning")
    return Tracker.of_run(
        folder.path, experiment.tracker, folder.values(), resume_at=begun if resuming else None, tell=tell
    )


def _announce(trainer: Trainer, setup: TrainingSetup) -> None:
    """Store and show what is about to happen."""
    settings, folder, num_items = trainer.experiment.trainer, trainer.folder, setup.data_module.num_items
    # The plan and the environment are the same on all ranks.
    if not trainer.fabric.is_global_zero:
        return
    sizes = {"num_items": [num_items(epoch) for epoch in trainer.plan.epochs], "num_steps": trainer.plan.num_steps}
    used = kernels_in_use()
    # Before the plan: what cannot be read leaves no folder.
    note_meaning(folder)
    write_signed_json(folder.plan, trainer.plan.to_json() | sizes | {"kernels": used})
    run = (settings.precision, trainer.fabric.world_size, settings.compile, used)
    described = environment(trainer.fabric.device, *run)
    codec = {"codec": setup.provenance["name"], "codec_fingerprint": setup.provenance["fingerprint"]}
    write_signed_json(folder.environment, described | codec | {"code": code_version().as_dict()})
    text = StringIO()
    RichConsole(file=text, width=120).print(epoch_table(trainer.plan), group_table(trainer.experiment, setup.groups))
    trainer.console.begin(f"run folder: {folder.path}\n{text.getvalue()}")
    trainer.console.note(f"{setup.data_module.described()}, {trainer.plan.num_steps} steps")
    for line in filter(None, (start_line(trainer.experiment), phases_line(trainer.experiment))):
        trainer.console.note(line)
    if used.startswith(LACKING):
        trainer.console.note(f"kernels: {used}", source="kernels", level="warning")
    else:
        trainer.console.note(f"kernels: {used}")
    if setup.warm_start is not None:
        setup.warm_start.write(folder.path)
        for line in setup.warm_start.lines():
            trainer.console.note(line)


def _results(trainer: Trainer) -> list[str]:
    """Where everything lies."""
    lines = [f"checkpoint: {trainer.folder.best_model}"]
    folders = trainer.folder.sample_folders()[-1:]  # none where trainer.num_sample_clips is 0
    lines += [f"listen:     {path}" for folder in folders for path in sorted(folder.glob("*.wav"))]
    return lines + [f"look:       {path}" for folder in folders for path in sorted(folder.glob("*.png"))]
