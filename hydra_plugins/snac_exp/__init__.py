"""Hydra plugins: launchers and the sweeper. Thin; the logic is in snac_exp.sweeps."""
