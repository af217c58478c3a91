"""What came of a sweep, in words and as an exit status."""

from snac_exp.config.schema.alerts import Alerts as Settings
from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.sweep import Sweep
from snac_exp.tracking.alerts.alerts import Alerts
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.run_state import DONE


def outcome(sweep: Sweep) -> tuple[int, str]:
    """Exit status and last words: 0 when all jobs are finished or pruned, else 1 with each of the others named."""
    rows = sweep.refresh()
    unfinished = [row for row in rows if row.state not in DONE]
    num_pruned = sum(row.state == "pruned" for row in rows)
    counted = f"{len(rows) - len(unfinished) - num_pruned} of {len(rows)} jobs finished"
    lines = [f"{counted}{f', {num_pruned} pruned' if num_pruned else ''}: {sweep.ledger}"]
    lines += [f"{row.title} {row.state}: {row.error or 'no error'}; see {sweep.run_dir(row)}" for row in unfinished]
    # A search makes its jobs one after the other, so its ledger may still be short of them.
    num_trials = len(rows) if sweep.search is None else int(sweep.search["num_trials"])
    if num_trials > len(rows):
        lines.append(f"{num_trials - len(rows)} of {num_trials} trials are not begun")
    is_done = not unfinished and num_trials <= len(rows)
    if not is_done:
        lines.append(f"run what is missing or failed: snac-exp sweep resume={sweep.path}")
    lines += _best_line(sweep, rows, all_finished=not unfinished)
    text = "\n".join(lines)
    _alert(sweep, rows, text)
    return (0 if is_done else 1), text


def _alert(sweep: Sweep, rows: list[Row], text: str) -> None:
    """Tell a webhook, as the first job's config asks: also of jobs that were killed and could tell nothing."""
    folders = [folder for row in rows if (folder := RunFolder(sweep.run_dir(row))).config.exists()]
    if not folders:
        return
    try:
        settings = structure(Settings, folders[0].values().get("alerts") or {}, "alerts")
    except ConfigError as error:  # what came of the sweep is said all the same
        print(f"no alert of the sweep: {error}")
        return
    alerts = Alerts(settings)
    alerts.send("sweep_finished", f"sweep {sweep.path.parent.name}", text, sweep.path)
    alerts.close()


def _best_line(sweep: Sweep, rows: list[Row], *, all_finished: bool) -> list[str]:
    best, metric = sweep.best(), sweep.settings.metric
    if best is not None:
        return [f"best {metric}: {best.best:.6g} by {best.title}"]
    # Only at the end: a run that goes on may log it yet.
    if all_finished and any(RunFolder(sweep.run_dir(row)).metrics.exists() for row in rows):
        return [f"no run has logged {metric}; the next sweep needs another sweep.metric"]
    return []
