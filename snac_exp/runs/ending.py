"""What a webhook is told of a run: that a head has fallen silent, and how it ended."""

from snac_exp.config.schema import Experiment
from snac_exp.config.schema.alerts import Event
from snac_exp.errors import DivergenceError
from snac_exp.tracking.alerts.alerts import Alerts
from snac_exp.tracking.run_folder import RunFolder, SilentRunFolder
from snac_exp.tracking.run_state import run_state

REQUEUED_BY = "SIGUSR2"  # a time limit of SLURM, after which the queue begins the run again


def tell_ending(experiment: Experiment, folder: RunFolder, failure: BaseException | None = None) -> None:
    """Alert as the recipe asks, by what the run has noted of itself; rank 0 speaks for all."""
    status = folder.status() or {}
    if isinstance(folder, SilentRunFolder) or (failure is None and status.get("stopped_by") == REQUEUED_BY):
        return
    now = run_state(status, None)
    alerts = Alerts(experiment.alerts)
    if failure is not None:
        kind = type(failure).__name__
        event: Event = "diverged" if isinstance(failure, DivergenceError) else "failed"
        alerts.send(event, experiment.name, now.error or kind, folder.path)
    elif now.state == "pruned":
        pass  # its search tells of all its trials
    elif now.state == "finished":
        alerts.send("finished", experiment.name, f"step {status.get('step')}", folder.path)
    else:
        text = f"stopped by {status.get('stopped_by')}; go on with: python train.py resume={folder.path}"
        alerts.send("preempted", experiment.name, text, folder.path)
    alerts.close()


def tell_silent_head(experiment: Experiment, folder: RunFolder, alerts: Alerts, head: str, text: str) -> None:
    """Alert that a head has fallen silent, where the recipe asks for it; once in a run, over its resumes too."""
    known = list((folder.status() or {}).get("silent_heads", ()))
    if isinstance(folder, SilentRunFolder) or not alerts.asked_for("silent_head") or head in known:
        return
    folder.set_status("running", silent_heads=[*known, head])
    alerts.send("silent_head", experiment.name, text, folder.path)
