"""Hydra plugins: launchers and the sweeper. Thin; the logic lies in snac_exp.runs."""
