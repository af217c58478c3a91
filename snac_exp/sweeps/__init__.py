"""Sweeps: jobs, ledger, launchers, search."""
