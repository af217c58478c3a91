"""Floor 3: plan, task, loop, checkpoints, preflight."""
