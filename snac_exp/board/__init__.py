"""A page on loopback over all runs and sweeps of a folder, live while they run. It only reads."""
