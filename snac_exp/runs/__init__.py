"""Floor 4: run folders and launching."""
