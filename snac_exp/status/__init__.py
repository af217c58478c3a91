"""How all runs and sweeps stand, and stopping them."""
