"""The names of the files in a sweep's folder; snac_exp.sweeps says what they hold."""

from pathlib import Path

from snac_exp.system.code_version import COMMIT_FILE, DIFF_FILE


class SweepFolder:
    """Paths of a sweep: `output_dir/sweeps/NAME/TIME-HASH`, in which every job has a run folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sweep_file = path / "sweep.json"  # what is asked, where the jobs run, the command
        self.ledger = path / "ledger.jsonl"  # a line per job
        self.ledger_lock = path / ".ledger.lock"
        self.jobs = path / "jobs"  # overrides and config of each job, so that a lost run folder can be made again
        self.code = path / "code"  # the snapshot that the jobs import
        self.commit = path / COMMIT_FILE
        self.diff = path / DIFF_FILE
        self.driver_log = path / "driver.log"  # output of the process that runs the jobs
        self.slurm = path / "slurm"  # submitit's folder: scripts and output of its jobs

    @property
    def exists(self) -> bool:
        """Whether the folder is a sweep's."""
        return self.sweep_file.is_file()
