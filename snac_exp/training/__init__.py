"""Plan, task, loop, checkpoints, preflight."""
