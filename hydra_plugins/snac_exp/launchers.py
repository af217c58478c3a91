"""Launchers, by where their jobs run. Hydra imports this at every start, so nothing here may be slow to import."""

from snac_exp.sweeps.launcher import SweepLauncher


class BasicLauncher(SweepLauncher):
    """One job after the other, shown on this terminal."""

    backend = "snac_exp.sweeps.local_pool.Pool"


class LocalProcessesLauncher(SweepLauncher):
    """Several jobs at once on this machine, one per device."""

    backend = "snac_exp.sweeps.local_pool.Pool"


class SlurmLauncher(SweepLauncher):
    """An array of SLURM jobs."""

    backend = "snac_exp.sweeps.slurm.Slurm"
